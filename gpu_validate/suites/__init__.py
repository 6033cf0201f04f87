"""Measurement suites: the cases of each suite, and the runner that times them."""
