"""Acceptance rates from an option value or from a JSON file such as ``scylla-sim ingest`` writes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from scylla_sim.acceptance import profiles
from scylla_sim.checks import FloatArray, InputError, fail, in_range, one_of
from scylla_sim.records import read_json

KINDS = ("conditional", "cumulative")
"""Kinds of acceptance rates; see `scylla_sim.acceptance.profiles`."""


def _numbers(text: str) -> list[float] | None:
    """Return comma-separated numbers; ``None`` if the text is something else, such as a path."""
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        return None


def is_file(text: str) -> bool:
    """Return whether an option value names a file instead of listing rates.

    Examples
    --------
    >>> is_file("0.76,0.74"), is_file("acceptance.json")
    (False, True)
    """
    return _numbers(text) is None


def _read_file(path: str) -> tuple[list[float], str]:
    """Return the rates and their kind from a JSON file with the keys ``acceptance_rate`` and ``kind``."""
    try:
        value: dict[str, Any] = read_json(path)
    except InputError as error:
        rule = "must be rates such as 0.7 or 0.76,0.74, or a JSON file"
        raise fail("acceptance", path, rule, str(error)) from None
    if not isinstance(value.get("acceptance_rate"), list):
        raise fail("acceptance", path, "must hold a list named acceptance_rate")
    if "kind" not in value:
        raise fail("acceptance", path, "must state the kind of its rates", f"add kind: one of {', '.join(KINDS)}")
    return value["acceptance_rate"], one_of("kind", str(value["kind"]), KINDS)


def conditional_rates(rates: ArrayLike, kind: str) -> FloatArray:
    """Return acceptance rates of one of `KINDS` as conditional rates, shape (positions,).

    Raises
    ------
    InputError
        For an unknown kind, a rate outside [0, 1], or cumulative rates that rise.
    """
    one_of("acceptance_kind", kind, KINDS)
    found = np.atleast_1d(in_range("acceptance", rates, 0, 1))
    if found.ndim > 1:
        raise fail("acceptance", rates, "must be one rate, or one rate per position")
    return profiles.to_conditional(found) if kind == "cumulative" else found


def read_rates(text: str, kind: str) -> tuple[FloatArray, bool]:
    """Return conditional acceptance rates from an option value.

    Parameters
    ----------
    text
        One rate (``0.7``), one rate per position (``0.76,0.74``), or the path of a JSON file.
    kind
        Kind of rates in ``text``, one of `KINDS`. A file states its own kind.

    Returns
    -------
    rates
        Conditional rates, shape (positions,), in [0, 1].
    same_everywhere
        Whether one rate holds for all positions.

    Raises
    ------
    InputError
        For an unreadable file, a rate outside [0, 1], or cumulative rates that rise.

    Examples
    --------
    >>> read_rates("0.8,0.4", "cumulative")
    (array([0.8, 0.5]), False)
    """
    one_of("acceptance_kind", kind, KINDS)
    numbers = _numbers(text)
    if numbers is None:
        numbers, kind = _read_file(text)
    rates = conditional_rates(numbers, kind)
    return rates, rates.size == 1


def read_measured(text: str) -> tuple[float, int] | None:
    """Return tau and draft length of a file whose rates follow from its tau by a law over positions.

    ``scylla-sim ingest`` marks such a file, made from an SGLang log, by the key ``position_law``. ``None`` for
    rates that were measured by position.

    Examples
    --------
    >>> read_measured("0.8,0.5") is None
    True
    """
    if not is_file(text):
        return None
    file = read_json(text)
    if "position_law" not in file:
        return None
    if "tokens_per_cycle" not in file:
        raise fail("acceptance", text, "must hold tokens_per_cycle beside position_law")
    length = len(_read_file(text)[0])
    return float(in_range("tokens_per_cycle", file["tokens_per_cycle"], 1, length + 1)), length


def read_spread(text: str) -> tuple[float, float] | None:
    """Return the relative interval of the accepted tokens per cycle from a rates file.

    ``scylla-sim ingest`` writes this interval. Rates on the command line have none.

    Returns
    -------
    tuple of float, or None
        Lower and upper end of the accepted tokens per cycle (tau - 1), divided by their mean. ``None`` without an
        interval.

    Raises
    ------
    InputError
        For an interval that does not contain its value.

    Examples
    --------
    >>> read_spread("0.8,0.5") is None
    True
    """
    if not is_file(text):
        return None
    file = read_json(text)
    names = [f"tokens_per_cycle{end}" for end in ("", "_lower", "_upper")]
    if not all(name in file for name in names):
        return None
    tau, lower, upper = (float(in_range(name, file[name], 1)) for name in names)
    if not lower <= tau <= upper:
        raise fail("tokens_per_cycle", tau, f"must lie between its ends {lower:g} and {upper:g} in {text}")
    return ((lower - 1) / (tau - 1), (upper - 1) / (tau - 1)) if tau > 1 else None
