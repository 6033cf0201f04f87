"""Kernel timings and serving runs that NVIDIA published in the package aiconfigurator-core."""
