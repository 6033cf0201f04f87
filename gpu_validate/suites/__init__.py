"""Suites of cases: kernels, collectives, steps, cycles, decoding, model pairs and trained models."""
