"""Acceptance rates from an option value or from a JSON file such as ``scylla-sim ingest`` writes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from scylla_sim.acceptance import profiles
from scylla_sim.acceptance.draft_shape import MAX_DRAFT_LEN
from scylla_sim.checks import FloatArray, InputError, fail, in_range, one_of, whole
from scylla_sim.records import read_json

KINDS = ("conditional", "cumulative")
"""Kinds of acceptance rates; see `scylla_sim.acceptance.profiles`."""
_TAU_HINT = "a mean acceptance length goes to predict or schedule: --tokens-per-cycle 2.1 --measured-draft-len 3"


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


def holds_rates(path: str) -> bool:
    """Return whether a file is a JSON file of rates, by its first characters; false if it cannot be read.

    Examples
    --------
    >>> holds_rates("no such file")
    False
    """
    try:
        with Path(path).open("rb") as file:
            start = file.read(1 << 16).lstrip(b"\xef\xbb\xbf \t\r\n") if Path(path).is_file() else b""
    except (OSError, ValueError):
        return False
    return start.startswith(b"{") and b'"acceptance_rate"' in start


def _number(content: Mapping[str, Any], key: str, low: float, high: float = np.inf) -> float:
    """Return a number of a file of rates."""
    value = content[key]
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise fail(key, value, "must be one number")
    return float(in_range(key, value, low, high))


def read_content(path: str) -> dict[str, Any]:
    """Return the content of a JSON file of rates.

    Raises
    ------
    InputError
        If the file cannot be read, or has no list of rates with their kind.
    """
    try:
        value: dict[str, Any] = read_json(path)
    except InputError as error:
        rule = "must be rates such as 0.7 or 0.76,0.74, or a file that ingest reads"
        raise fail("acceptance", path, rule, str(error)) from None
    if not isinstance(value.get("acceptance_rate"), list):
        raise fail("acceptance", path, "must hold a list named acceptance_rate")
    if "kind" not in value:
        raise fail("acceptance", path, "must state the kind of its rates", f"add kind: one of {', '.join(KINDS)}")
    return value


def rates_of(content: Mapping[str, Any]) -> FloatArray:
    """Return the conditional rates of a file of rates, shape (positions,).

    Raises
    ------
    InputError
        For an unknown kind, and for values that are not rates.
    """
    given = content["acceptance_rate"]
    for value in given:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise fail("acceptance_rate", value, "must be a number in [0, 1]")
    if not 0 < len(given) <= MAX_DRAFT_LEN:
        raise fail("acceptance_rate", len(given), f"must have 1 to {MAX_DRAFT_LEN} rates")
    return conditional_rates(in_range("acceptance_rate", given, 0, 1), one_of("kind", str(content["kind"]), KINDS))


def conditional_rates(rates: ArrayLike, kind: str) -> FloatArray:
    """Return acceptance rates of one of `KINDS` as conditional rates, shape (positions,).

    Raises
    ------
    InputError
        For an unknown kind, a rate outside [0, 1], or cumulative rates that rise.
    """
    one_of("acceptance_kind", kind, KINDS)
    found = np.atleast_1d(in_range("acceptance", rates, 0, 1, hint=_TAU_HINT))
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
    rates = rates_of(read_content(text)) if numbers is None else conditional_rates(numbers, kind)
    return rates, rates.size == 1


def measured_tau(content: Mapping[str, Any]) -> tuple[float, int] | None:
    """Return tau and draft length of a file whose rates follow from its tau by a law over positions.

    ``scylla-sim ingest`` marks such a file by the key ``position_law``. ``None`` for rates that were measured by
    position.

    Examples
    --------
    >>> measured_tau({"kind": "conditional", "acceptance_rate": [0.8, 0.5]}) is None
    True
    """
    if "position_law" not in content:
        return None
    if "tokens_per_cycle" not in content:
        raise fail("tokens_per_cycle", None, "must be given beside position_law")
    length = len(content["acceptance_rate"])
    return _number(content, "tokens_per_cycle", 1, length + 1), length


def longest_draft(content: Mapping[str, Any]) -> int | None:
    """Return the positions of the longest draft, if the drafts of a file vary in length.

    Examples
    --------
    >>> longest_draft({"draft_len_max": 24}), longest_draft({})
    (24, None)
    """
    if content.get("draft_len_max") is None:
        return None
    return int(whole("draft_len_max", _number(content, "draft_len_max", 1, MAX_DRAFT_LEN)))


def spread_of(content: Mapping[str, Any]) -> tuple[float, float] | None:
    """Return the relative interval of the accepted tokens per cycle of a file of rates.

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
    >>> spread_of({"tokens_per_cycle": 3.0, "tokens_per_cycle_lower": 2.0, "tokens_per_cycle_upper": 4.0})
    (0.5, 1.5)
    """
    names = [f"tokens_per_cycle{end}" for end in ("", "_lower", "_upper")]
    if not all(name in content for name in names):
        return None
    tau, lower, upper = (_number(content, name, 1) for name in names)
    if not lower <= tau <= upper:
        raise fail("tokens_per_cycle", tau, f"must lie between its ends {lower:g} and {upper:g}")
    return ((lower - 1) / (tau - 1), (upper - 1) / (tau - 1)) if tau > 1 else None
