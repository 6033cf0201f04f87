"""Text for a terminal: rounded numbers, tables and charts of at most 100 columns."""
