"""Prefixes and units, and their conversion to SI base units.

Decimal prefixes (k, M, G, T) are powers of ten, binary prefixes (Ki, Mi, Gi) are powers of two.
"""

from __future__ import annotations

import re

KILO, MEGA, GIGA, TERA = 1e3, 1e6, 1e9, 1e12
KIBI, MEBI, GIBI = 2.0**10, 2.0**20, 2.0**30
MILLI, MICRO, NANO = 1e-3, 1e-6, 1e-9
MINUTE = 60.0

PREFIXES = {
    "": 1.0,
    "k": KILO,
    "K": KILO,
    "M": MEGA,
    "G": GIGA,
    "B": GIGA,
    "T": TERA,
    "Ki": KIBI,
    "Mi": MEBI,
    "Gi": GIBI,
}
"""Suffix of a count -> factor; ``10B`` is ten billion, ``10Ki`` is 10,240."""

UNITS = {
    "count": 1.0,
    "B": 1.0,
    "GB": GIGA,
    "MiB": MEBI,
    "GiB": GIBI,
    "GB/s": GIGA,
    "TB/s": TERA,
    "TFLOP/s": TERA,
    "PFLOP/s": 1e15,
    "GFLOP/s": GIGA,
    "Hz": 1.0,
    "GHz": GIGA,
    "W": 1.0,
    "s": 1.0,
    "ms": MILLI,
    "us": MICRO,
    "ns": NANO,
    "tokens": 1.0,
    "fraction": 1.0,
}
"""Unit of a catalog value -> factor to SI base units."""

_COUNT = re.compile(r"([+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?)\s*([A-Za-z]*)")
_SECONDS = {"s": 1.0, "ms": MILLI, "us": MICRO, "ns": NANO, "min": MINUTE, "h": 3600.0}


def parse_count(text: str) -> float:
    """Return the number that a count with an optional suffix denotes.

    Raises
    ------
    ValueError
        If the text is not a number or its suffix is unknown.

    Examples
    --------
    >>> parse_count("10B"), parse_count("10Ki"), parse_count("2.5e3")
    (10000000000.0, 10240.0, 2500.0)
    """
    match = _COUNT.fullmatch(text.strip())
    if match is None or match[2] not in PREFIXES:
        raise ValueError(f"{text!r} is not a count such as 512, 10K, 10Ki or 50B")
    return float(match[1]) * PREFIXES[match[2]]


def parse_seconds(text: str) -> float:
    """Return the seconds of a duration such as ``30ms``.

    A bare number is refused, because milliseconds are easily taken for seconds.

    Raises
    ------
    ValueError
        If the text is not a number with a known unit.

    Examples
    --------
    >>> parse_seconds("30ms"), parse_seconds("1.5s")
    (0.03, 1.5)
    """
    match = _COUNT.fullmatch(text.strip())
    if match is not None and not match[2]:
        raise ValueError(f"{text!r} must have a unit, such as {text.strip()}ms or {text.strip()}s")
    if match is None or match[2] not in _SECONDS:
        raise ValueError(f"{text!r} is not a duration such as 30ms or 0.03s")
    return float(match[1]) * _SECONDS[match[2]]


def parse_rate(text: str) -> float:
    """Return the events per second of a rate such as ``5/s`` or ``90/min``.

    Raises
    ------
    ValueError
        If the text is not a count, a slash and a unit of time.

    Examples
    --------
    >>> parse_rate("5/s"), parse_rate("90/min")
    (5.0, 1.5)
    """
    count, slash, unit = text.strip().partition("/")
    match = _COUNT.fullmatch(count.strip())
    if not slash or unit.strip() not in _SECONDS or match is None or match[2] not in PREFIXES:
        raise ValueError(f"{text!r} is not a rate such as 5/s or 90/min")
    return float(match[1]) * PREFIXES[match[2]] / _SECONDS[unit.strip()]
