"""Serving engines: their logs and metrics, their command-line options, and fits of their overheads."""
