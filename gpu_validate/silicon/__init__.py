"""Kernel timings that others measured, from the package aiconfigurator-core."""
