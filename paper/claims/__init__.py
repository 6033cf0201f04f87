"""Claims of the paper, one rule each; `paper.claims.index` lists them by text."""
