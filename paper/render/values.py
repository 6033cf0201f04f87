"""Means, and numbers as text."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence


def mean(values: Sequence[float]) -> float:
    """Return the arithmetic mean of at least one value."""
    return sum(values) / len(values)


def percent(fraction: float, digits: int = 1) -> str:
    """Return a fraction as a percentage.

    Examples
    --------
    >>> percent(0.0216)
    '2.2 %'
    """
    return f"{100 * fraction:.{digits}f} %"


def span(values: Iterable[float], digits: int = 2) -> str:
    """Return the smallest and the largest value, or one number if both print alike.

    Examples
    --------
    >>> span([3.0, 1.25, 2.0]), span([1.0, 1.001])
    ('1.25 to 3.00', '1.00')
    """
    known = list(values)
    low, high = f"{min(known):.{digits}f}", f"{max(known):.{digits}f}"
    return low if low == high else f"{low} to {high}"


def significant(number: float, digits: int) -> str:
    """Return a number with ``digits`` significant digits and no exponent.

    Examples
    --------
    >>> significant(154.4, 2), significant(0.002275, 2)
    ('154', '0.0023')
    """
    if number == 0:
        return "0"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(number))))
    return f"{number:.{decimals}f}"


def joined(facts: Mapping[str, str]) -> str:
    """Return ``column: level`` pairs for the evidence line of a table.

    Examples
    --------
    >>> joined({"reported": "published", "predicted": "theory"})
    'reported: published; predicted: theory'
    """
    return "; ".join(f"{name}: {level}" for name, level in facts.items())
