"""Measured records, and their rows as CSV."""
