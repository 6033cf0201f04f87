"""Whole numbers as users give them: one value or a list."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scylla_sim.checks import fail, number, whole


def count(name: str, value: int) -> int:
    """Return one whole number of at least 1."""
    return int(number(name, whole(name, value, 1)))


def counts(name: str, value: int | Sequence[int], low: int = 1) -> list[int]:
    """Return one or several whole numbers as a list."""
    found = np.atleast_1d(whole(name, value, low))
    if found.ndim > 1 or not found.size:
        raise fail(name, value, "must be one value or a list with at least one value")
    return [int(item) for item in found]


def optional_counts(name: str, value: int | Sequence[int] | None, low: int = 1) -> list[int] | list[None]:
    """Return whole numbers as a list; a list of ``None`` for an option that is not given."""
    return [None] if value is None else counts(name, value, low)
