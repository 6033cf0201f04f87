"""Acceptance laws: Theorems 1.1 to 1.3, the rival law SDSL, and least-squares fits of laws to data."""
