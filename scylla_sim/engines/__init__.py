"""Serving engines: readers of their logs, their flags, and fits of their overheads."""
