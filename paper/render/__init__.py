"""Rendering of tables and figures."""
