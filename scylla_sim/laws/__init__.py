"""Acceptance laws: the theorems of the paper, their rivals, and least-squares fits of laws to data."""
