"""Measurements of kernels, decoder steps and speculative decoding, on a GPU or on a plain CPU.

The timing imports nothing but numpy; suites import torch when they are asked for. A measurement never sees a
prediction: nothing here imports the simulator's kernels, steps, acceptance or laws.
"""
