"""The device under test: facts, clocks, timing statistics, state and power."""
