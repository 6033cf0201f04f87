"""One law of one object: the error that names the law and the first example that breaks it."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

TOLERANCE = 1e-9
"""Relative difference that rounding may cause where a law compares two numbers."""


def require(subject: str, law: str, holds: ArrayLike, **example: Any) -> None:
    """Raise an error unless a law holds everywhere.

    Parameters
    ----------
    subject
        What is checked, for example ``hardware h100-sxm``.
    law
        The law as a sentence.
    holds
        Whether it holds, one element for each example.
    **example
        Values of the examples, in the shape of ``holds`` or one for all.

    Raises
    ------
    AssertionError
        The message has the subject, the law and the first example that breaks it.

    Examples
    --------
    >>> require("clock x", "time never runs backwards", [True, False], start=[1.0, 2.0], end=[3.0, 1.0])
    Traceback (most recent call last):
        ...
    AssertionError: clock x: time never runs backwards; broken at start=2, end=1
    """
    kept = np.asarray(holds, dtype=np.bool_)
    if kept.all():
        return
    at = tuple(int(index[0]) for index in np.nonzero(~kept)) if kept.ndim else ()
    shown = ", ".join(f"{name}={_text(value, kept.shape, at)}" for name, value in example.items())
    raise AssertionError(f"{subject}: {law}" + (f"; broken at {shown}" if shown else ""))


def _text(value: Any, shape: tuple[int, ...], at: tuple[int, ...]) -> str:
    """Return the element of an example as text."""
    if isinstance(value, str):
        return value
    try:
        one = np.broadcast_to(np.asarray(value), shape)[at]
    except ValueError:
        return str(value)
    return f"{one:g}" if isinstance(one, float | int | np.number) else str(one)


def never_below(larger: ArrayLike, smaller: ArrayLike) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return where one quantity is at least another one, up to rounding.

    Examples
    --------
    >>> never_below([1.0, 2.0], [1.0, 2.1]).tolist()
    [True, False]
    """
    one, other = np.asarray(larger, dtype=np.float64), np.asarray(smaller, dtype=np.float64)
    return np.asarray(one >= other - TOLERANCE * np.abs(other))


def close(one: ArrayLike, other: ArrayLike, tolerance: float = TOLERANCE) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """Return where two quantities agree up to a relative difference."""
    return np.asarray(np.isclose(one, other, rtol=tolerance, atol=0.0))
