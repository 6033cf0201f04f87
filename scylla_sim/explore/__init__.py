"""The explorer: one page that draws predictions and recomputes them while sliders move.

Python sends seconds on a grid of batch and context for one deployment (`grid`). The page computes tokens per cycle,
speed-up, intervals, crossover and schedule from them, so a slider needs no request. The page that the server sends
and the exported file are the same.
"""
