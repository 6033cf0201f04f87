"""Numbers and sentences as text: three significant digits, a value beside its interval, lines of 100 columns."""

from __future__ import annotations

import math
import textwrap
from numbers import Integral, Real
from typing import Any

WIDTH = 100
"""Columns of a terminal that every table, footer and note fits into."""
DIGITS = 3
"""Significant digits of a printed number."""
THIN_SPACE = "\u2009"
"""Separator of thousands."""
PLAIN_SIGNS = str.maketrans({THIN_SPACE: " ", "█": "#", "░": ".", "─": "-", "┊": ":"})
"""Sign of a table or chart -> sign that every encoding has."""


def number(value: Any, *, decimals: int | None = None) -> str:
    r"""Return a value as the text of a table cell.

    A float has three significant digits, rounded once, and thin spaces between thousands. Whole numbers keep all
    digits. A missing or empty value is ``-``.

    Parameters
    ----------
    value
        Number, text, truth value or ``None``.
    decimals
        Most decimals of a float.

    Examples
    --------
    >>> [number(value) for value in (1.6549, 12.0, 0.98, 3127.4, 1024, 43210, None, True, "eagle3", 1.234e-5)]
    ['1.65', '12.0', '0.980', '3\u2009130', '1024', '43\u2009210', '-', 'yes', 'eagle3', '1.23e-05']
    >>> number(0.984, decimals=2)
    '0.98'
    """
    if value is None or value == "" or (isinstance(value, float) and math.isnan(value)):
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, Integral):
        return _thousands(f"{int(value)}", from_digits=5)
    if isinstance(value, Real):
        return _rounded(float(value), _place(float(value), decimals))
    return str(value)


def interval(value: Any, lower: Any, upper: Any, *, decimals: int | None = None) -> str:
    """Return a value with its interval, all rounded at the same place: that of the value, or of the ends of zero.

    An end that is text, such as ``never``, is printed unchanged, and a missing one as ``?``. A value without ends
    stands alone.

    Examples
    --------
    >>> interval(1.6549, 1.4012, 1.8494), interval(293, 206, "never"), interval(-0.1, -0.3, 0.1)
    ('1.65 [1.40-1.85]', '293 [206-never]', '-0.100 [-0.300 to 0.100]')
    >>> interval(0.0, 0.0, 0.4251)
    '0 [0-0.425]'
    """
    if lower is None and upper is None:
        return number(value, decimals=decimals)
    size = value or max((abs(float(end)) for end in (lower, upper) if isinstance(end, Real)), default=0.0)
    place = _place(float(size), decimals) if isinstance(value, float) else None
    texts = [
        _rounded(float(end), place)
        if place is not None and isinstance(end, Real)
        else number(end, decimals=decimals)
        for end in (lower, upper)
    ]
    ends = [{"-": "?"}.get(text, text) if end != 0.0 else "0" for text, end in zip(texts, (lower, upper))]
    joint = " to " if any(end[0] == "-" or "e-" in end or "e+" in end for end in ends) else "-"
    return f"{number(value, decimals=decimals)} [{joint.join(ends)}]"


def _place(value: float, decimals: int | None) -> int | None:
    """Return the decimals that show three significant digits of a float; ``None`` for the scientific notation."""
    if not math.isfinite(value) or value == 0.0:
        return 0 if decimals is None else decimals
    exponent = int(f"{value:.{DIGITS - 1}e}".partition("e")[2])  # after rounding: 9.996 has the exponent of 10
    place = DIGITS - 1 - exponent
    if decimals is not None:
        return min(place, decimals)
    return place if -4 <= exponent <= 6 else None


def _rounded(value: float, place: int | None) -> str:
    """Return a float with so many decimals; a negative number rounds to tens, hundreds and so on."""
    if not math.isfinite(value):
        return str(value)
    if place is None:
        return f"{value:.{DIGITS - 1}e}"
    return _thousands(f"{round(value, place):.{max(place, 0)}f}", from_digits=4)


def _thousands(text: str, *, from_digits: int) -> str:
    """Return a number with thin spaces between thousands if its whole part has so many digits."""
    whole, point, rest = text.partition(".")
    if len(whole.lstrip("-")) < from_digits:
        return text
    return f"{int(whole):,}".replace(",", THIN_SPACE) + point + rest


def wrapped(text: str, *, width: int = WIDTH, indent: str = "") -> str:
    r"""Return lines of prose, broken between words at ``width``; continued lines start with ``indent``.

    A word longer than a line, such as a path, stays whole.

    Examples
    --------
    >>> wrapped("note: a b c", width=8, indent="  ")
    'note: a\n  b c\n'
    """
    return "".join(
        textwrap.fill(line, width, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False) + "\n"
        for line in text.splitlines()
    )


def encodable(text: str, encoding: str) -> str:
    r"""Return text as it is, or with plain signs where an encoding lacks some of its signs.

    Examples
    --------
    >>> encodable("3\u2009130", "latin-1"), encodable("3130", "ascii")
    ('3 130', '3130')
    """
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.translate(PLAIN_SIGNS).encode(encoding, errors="replace").decode(encoding)
    return text
