"""The device under test: its facts, clocks, timer and power."""
