"""Figures, one function each; `paper.figures.index` lists them by name."""
