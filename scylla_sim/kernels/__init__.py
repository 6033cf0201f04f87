"""Seconds of one kernel: one module per operation, with its formula, parameters, priors and columns."""
