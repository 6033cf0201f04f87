"""Output formats of tables and figures."""
