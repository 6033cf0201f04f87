"""JSON and TOML of users, with limits on depth, numbers and names.

The parsers of the standard library accept more than the formats allow, and pass on values that fail later: NaN,
numbers beyond float64, whole numbers of thousands of digits, and keys that appear twice. `parse_json` and
`parse_toml` refuse them with one line. In files of other programs NaN and infinity become ``None``.
"""

from __future__ import annotations

import math
import tomllib
from json import JSONDecoder
from typing import Any

from scylla_sim.checks import InputError, fail

MAX_DIGITS = 300
"""Digits of the longest whole number; longer ones exceed float64."""


def _refuse(text: str) -> float:
    raise InputError(f"{text} is not a number of JSON")


def _whole(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise InputError(f"a whole number of {len(text)} digits is too large")
    return int(text)


def _real(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise InputError(f"{text[:20]} must be a finite number")
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object from its pairs; a key that appears twice is an error."""
    value = dict(pairs)
    if len(value) != len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise InputError(f"the key {twice[:40]!r} appears twice in one object")
    return value


def _finite(text: str) -> float | None:
    value = float(text)
    return value if math.isfinite(value) else None


STRICT_JSON = JSONDecoder(parse_constant=_refuse, parse_int=_whole, parse_float=_real, object_pairs_hook=_once)
"""Decoder of our own files."""

LENIENT_JSON = JSONDecoder(
    parse_constant=lambda text: None,
    parse_int=_whole,
    parse_float=_finite,
)
"""Decoder of files of other programs, with ``None`` for NaN, infinity and numbers beyond float64."""


def parse_json(text: str, name: str, *, option: str = "file", hint: str = "", lenient: bool = False) -> Any:
    """Return the value of a JSON text.

    Parameters
    ----------
    name, option
        Name of the file, and the option that gave it, for error messages.
    hint
        Advice for a text that is not JSON.
    lenient
        Whether the file is one of another program: NaN, infinity and keys that appear twice are then no error.

    Raises
    ------
    InputError
        If the text is not JSON, is nested too deeply, or has NaN, a number beyond float64 or a key twice.

    Examples
    --------
    >>> parse_json('{"a": 1, "a": 2}', "a.json")
    Traceback (most recent call last):
        ...
    scylla_sim.checks.InputError: file='a.json' is not JSON (the key 'a' appears twice in one object)
    """
    try:
        return (LENIENT_JSON if lenient else STRICT_JSON).decode(text.removeprefix("\ufeff"))
    except RecursionError:
        raise fail(option, name, "is not JSON that can be read (nested too deeply)", hint) from None
    except ValueError as error:  # InputError and JSONDecodeError are among them
        raise fail(option, name, f"is not JSON ({error})", hint) from None


def parse_toml(text: str, name: str, *, option: str = "file", hint: str = "") -> dict[str, Any]:
    """Return the tables of a TOML text.

    Parameters
    ----------
    name, option
        Name of the file, and the option that gave it, for error messages.
    hint
        Advice for a text that is not TOML.

    Raises
    ------
    InputError
        If the text is not TOML, is nested too deeply, or has NaN or a number beyond float64.

    Examples
    --------
    >>> parse_toml("a = nan", "a.toml")
    Traceback (most recent call last):
        ...
    scylla_sim.checks.InputError: file='a.toml' is not TOML (nan must be a finite number)
    """
    try:
        value = tomllib.loads(text.removeprefix("\ufeff"), parse_float=_real)
        _check_whole(value)
    except RecursionError:
        raise fail(option, name, "is not TOML (nested too deeply)", hint) from None
    except ValueError as error:
        raise fail(option, name, f"is not TOML ({error})", hint) from None
    return value


def _check_whole(value: Any) -> None:
    """Check the whole numbers of a TOML value, which its parser does not limit."""
    pending = [value]
    while pending:
        item = pending.pop()
        if isinstance(item, dict | list):
            pending += item.values() if isinstance(item, dict) else item
        elif isinstance(item, int) and abs(item) >= 10**MAX_DIGITS:
            raise InputError(f"a whole number of more than {MAX_DIGITS} digits is too large")
