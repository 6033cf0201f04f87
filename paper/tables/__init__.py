"""Tables, one function each; `paper.tables.index` lists them by name."""
