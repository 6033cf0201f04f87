"""Readers of result files, of GPU records and of published numbers."""
