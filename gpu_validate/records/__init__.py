"""Measured records: writing, checking and reading them."""
