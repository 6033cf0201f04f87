"""Prefixes and units: the one place where a datasheet's ``TB/s`` becomes SI base units.

Six public tools hold six different "H100"; two of them are 9-11 % off because a binary prefix was read
as a decimal one. Decimal prefixes are powers of ten here, ``Ki Mi Gi`` powers of two, and nothing else.
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
"""Suffixes of a bare count: ``10B`` is ten billion tokens, ``10Ki`` is 10,240 tokens."""

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
"""Factor that turns a catalog value of this unit into SI base units."""

_COUNT = re.compile(r"([+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?)\s*([A-Za-z]*)")
_SECONDS = {"s": 1.0, "ms": MILLI, "us": MICRO, "ns": NANO, "min": MINUTE, "h": 3600.0}


def parse_count(text: str) -> float:
    """Read a count with an optional decimal or binary suffix.

    Raises
    ------
    ValueError
        When the text is no number or the suffix is unknown.

    Examples
    --------
    >>> parse_count("10B"), parse_count("10Ki"), parse_count("2.5e3")
    (10000000000.0, 10240.0, 2500.0)
    """
    match = _COUNT.fullmatch(text.strip())
    if match is None or match[2] not in PREFIXES:
        raise ValueError(f"{text!r} is no count; write for example 512, 10K, 10Ki, 50B")
    return float(match[1]) * PREFIXES[match[2]]


def parse_seconds(text: str) -> float:
    """Read a duration such as ``30ms``; a bare number is seconds.

    Examples
    --------
    >>> parse_seconds("30ms"), parse_seconds("1.5")
    (0.03, 1.5)
    """
    match = _COUNT.fullmatch(text.strip())
    if match is None or (match[2] or "s") not in _SECONDS:
        raise ValueError(f"{text!r} is no duration; write for example 30ms, 0.03s")
    return float(match[1]) * _SECONDS[match[2] or "s"]
