"""Text tables for a terminal: at most 100 columns wide, with a value and its interval in one column.

Files (JSON, CSV) keep all columns and all digits; see `scylla_sim.records`. This module imports neither numpy nor
tabulate, so printing costs nothing at the start of a command.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

from scylla_sim.text.digits import WIDTH, interval, number, wrapped

GAP = "  "
"""Space between two columns of a table."""
ENDS, ENDS_S = ("lower", "upper"), ("lower_s", "upper_s")
"""Keys of the ends of an interval in rows that have only one."""
MIN_TEXT = 12
"""Narrowest width to which the cells of a text column are wrapped."""


@dataclass(frozen=True)
class Column:
    """One column of a text table.

    Attributes
    ----------
    key
        Key of the rows.
    title
        Heading. Default: the key.
    ends
        Keys of the lower and of the upper end of the value's interval, printed as ``1.65 [1.40-1.85]``.
    scale
        Factor of the value and of its ends, for example 1000 from seconds to milliseconds.
    decimals
        Most decimals, for example 2 for a speed-up. Default: as many as three significant digits need.
    unit
        Text behind every number, for example ``" %"``.
    optional
        Whether a table that is too wide omits the column before others.
    fold
        Whether a value that is the same in all rows moves from the table into its caption.
    right
        Whether cells are aligned to the right. Default: columns with numbers are.
    """

    key: str
    title: str = ""
    ends: tuple[str, str] | None = None
    scale: float = 1.0
    decimals: int | None = None
    unit: str = ""
    optional: bool = False
    fold: bool = False
    right: bool | None = None

    @property
    def heading(self) -> str:
        """Text above the column."""
        return self.title or self.key

    def cell(self, row: Mapping[str, Any]) -> str:
        """Return the text of the column in one row."""
        value = self._scaled(row.get(self.key))
        if self.ends is None:
            text = number(value, decimals=self.decimals)
        else:
            lower, upper = (self._scaled(row.get(end)) for end in self.ends)
            text = interval(value, lower, upper, decimals=self.decimals)
        return text if text == "-" else text + self.unit

    def _scaled(self, value: Any) -> Any:
        scalable = self.scale != 1.0 and isinstance(value, Real) and not isinstance(value, bool)
        return float(value) * self.scale if scalable else value


def automatic_columns(rows: Sequence[Mapping[str, Any]], keys: Iterable[str] | None = None) -> list[Column]:
    """Return columns of the keys of rows: ends beside their value, and text that is constant in the caption.

    The ends of ``tau`` are ``tau_lower`` and ``tau_upper``, those of ``step_s`` are ``step_lower_s`` and
    ``step_upper_s``. Those of ``predicted`` and ``value`` are ``lower`` and ``upper``; those of ``predicted_s`` are
    ``lower_s`` and ``upper_s``.

    Parameters
    ----------
    rows
        Rows of the table.
    keys
        Keys to print, in this order. Default: all keys.

    Examples
    --------
    >>> [column.key for column in automatic_columns([{"tau": 2.0, "tau_lower": 1.9, "tau_upper": 2.1}])]
    ['tau']
    """
    names = list(dict.fromkeys(key for row in rows for key in row) if keys is None else keys)
    pairs = {
        name: ends
        for name, ends in (("predicted", ENDS), ("predicted_s", ENDS_S), ("value", ENDS))
        if {name, *ends} <= set(names)
    }
    for name in names:
        stem, unit = (name[:-2], "_s") if name.endswith("_s") else (name, "")
        ends = (f"{stem}_lower{unit}", f"{stem}_upper{unit}")
        if set(ends) <= set(names):
            pairs[name] = ends
    inside = {end for ends in pairs.values() for end in ends}
    texts = {name for name in names if all(isinstance(row.get(name), str | None) for row in rows)}
    return [Column(name, ends=pairs.get(name), fold=name in texts) for name in names if name not in inside]


def fold(rows: Sequence[Mapping[str, Any]], columns: Sequence[Column]) -> tuple[list[Column], list[str]]:
    """Return the columns of the table, and ``title value`` of each column that moves into the caption.

    Only columns with ``fold`` move, and only if all rows have the same value. One column always stays. A column
    that is empty in all rows is not named.

    Examples
    --------
    >>> rows = [{"tp": 2, "batch": 1}, {"tp": 2, "batch": 8}]
    >>> kept, caption = fold(rows, [Column("tp", fold=True), Column("batch", fold=True)])
    >>> [column.key for column in kept], caption
    (['batch'], ['tp 2'])
    """
    same = [column for column in columns if column.fold and len({column.cell(row) for row in rows}) == 1]
    if len(same) == len(columns):
        same = same[:-1]
    kept = [column for column in columns if column not in same]
    return kept, [f"{column.heading} {text}" for column in same if (text := column.cell(rows[0])) != "-"]


def text_table(
    rows: Sequence[Mapping[str, Any]],
    columns: Sequence[Column | str] | None = None,
    *,
    width: int = WIDTH,
    caption: bool = True,
) -> str:
    """Return rows as a text table of at most ``width`` columns; numbers are aligned to the right.

    A table that is too wide wraps its headings, then its text cells, then omits columns from the right, optional
    ones first. The omitted ones are named under the table.

    Parameters
    ----------
    rows
        Rows to print.
    columns
        Columns, or keys of `automatic_columns`. Default: all keys.
    width
        Largest width of a line.
    caption
        Whether the line ``all rows: ...`` names the columns that `fold` moves out of the table. Without it, the
        caller prints them.

    Examples
    --------
    >>> print(text_table([{"name": "a", "seconds": 0.12345}, {"name": "b", "seconds": None}]), end="")
    name  seconds
    a       0.123
    b           -
    """
    kept, same = fold(rows, _columns(rows, columns)) if rows else (_columns(rows, columns), [])
    table, omitted = _fitted(rows, kept, width)
    lines = [table]
    if caption and same:
        lines.append(wrapped(f"all rows: {', '.join(same)}", width=width))
    if omitted:
        lines.append(wrapped(f"not shown: {', '.join(omitted)} (--format csv has them)", width=width))
    return "".join(lines)


def _columns(rows: Sequence[Mapping[str, Any]], columns: Sequence[Column | str] | None) -> list[Column]:
    """Return columns, with those that are given by their key."""
    if columns is None:
        return automatic_columns(rows)
    named = {column.key: column for column in automatic_columns(rows, [c for c in columns if isinstance(c, str)])}
    return [
        column if isinstance(column, Column) else named[column]
        for column in columns
        if isinstance(column, Column) or column in named
    ]


def _fitted(rows: Sequence[Mapping[str, Any]], columns: Sequence[Column], width: int) -> tuple[str, list[str]]:
    """Return a table that fits into a width, and the headings of the columns that it omits."""
    shown, omitted = list(columns), list[Column]()
    while True:
        headings = [column.heading for column in shown]
        cells = [[column.cell(row) for row in rows] for column in shown]
        right = [_is_right(column, rows) for column in shown]
        optional = [column for column in shown if column.optional]
        widths = _widths(headings, cells, right, width, break_words=not optional)
        if widths is not None:
            left_out = [column.heading for column in columns if column in omitted]
            return _lines(headings, cells, right, widths), left_out
        omitted.append((optional or shown)[-1])
        shown.remove(omitted[-1])


def _is_right(column: Column, rows: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether a column is aligned to the right."""
    values = [row.get(column.key) for row in rows]
    numeric = any(isinstance(value, Real) and not isinstance(value, bool) for value in values)
    return numeric if column.right is None else column.right


def _widths(
    headings: Sequence[str], cells: Sequence[Sequence[str]], right: Sequence[bool], width: int, *, break_words: bool
) -> list[int] | None:
    """Return the width of each column, or ``None`` if the table can't be as narrow as ``width``.

    Lines of a cell break between words, and inside words only with ``break_words`` and if that is needed.
    """
    content = [max(map(len, column), default=0) for column in cells]
    widths = [max(len(heading), most) for heading, most in zip(headings, content)]
    room = width - len(GAP) * (len(headings) - 1)
    if sum(widths) <= room:
        return widths
    parts = [max(map(len, _heading_parts(heading))) for heading in headings]
    words = [max((len(word) for text in column for word in text.split(" ")), default=0) for column in cells]
    for longest in (words, [MIN_TEXT] * len(words)) if break_words else (words,):
        floors = [
            max(part, most if aligned else min(most, word))
            for part, most, aligned, word in zip(parts, content, right, longest)
        ]
        if sum(floors) <= room:
            break
    else:
        return [room] if len(headings) == 1 else None
    while sum(widths) > room:
        widest = max(
            range(len(widths)), key=lambda i: (widths[i] > max(floors[i], content[i]), widths[i] - floors[i])
        )
        widths[widest] -= 1
    return widths


def _heading_parts(heading: str) -> list[str]:
    r"""Return the parts of a heading between which a line may break: words, and parts of a key.

    Examples
    --------
    >>> _heading_parts("speed-up [90 %]"), _heading_parts("tokens_per_s")
    (['speed-up', '[90\xa0%]'], ['tokens_', 'per_', 's'])
    """
    joined = heading.replace(" %", "\xa0%")
    return re.findall(r"[^ _]+_*" if "_" in joined else r"[^ ]+", joined) or [heading]


def _wrapped_heading(heading: str, width: int) -> list[str]:
    """Return the lines of a heading; a part that is too long breaks."""
    if len(heading) <= width:
        return [heading]
    glue = "" if "_" in heading else " "
    lines = [""]
    for part in _heading_parts(heading):
        longer = f"{lines[-1]}{glue}{part}" if lines[-1] else part
        lines = [*lines[:-1], longer] if len(longer) <= width else [*lines, part]
    pieces = [line[at : at + width] for line in lines for at in range(0, len(line), width)]
    return [piece.replace("\xa0", " ") for piece in pieces]


def _wrapped_cell(text: str, width: int) -> list[str]:
    """Return the lines of a cell; a word that is too long breaks."""
    return textwrap.wrap(text, width, break_on_hyphens=False) or [""] if len(text) > width else [text]


def _lines(
    headings: Sequence[str], cells: Sequence[Sequence[str]], right: Sequence[bool], widths: Sequence[int]
) -> str:
    """Return the lines of a table; a cell of several lines continues below."""
    if not headings:
        return ""
    titles = [_wrapped_heading(heading, width) for heading, width in zip(headings, widths)]
    height = max(map(len, titles))
    blocks = [[[""] * (height - len(title)) + title for title in titles]]
    blocks += [[_wrapped_cell(text, width) for text, width in zip(row, widths)] for row in zip(*cells)]
    lines = []
    for block in blocks:
        for i in range(max(map(len, block))):
            texts = [lines_of[i] if i < len(lines_of) else "" for lines_of in block]
            padded = (t.rjust(w) if r else t.ljust(w) for t, w, r in zip(texts, widths, right))
            lines.append(GAP.join(padded).rstrip() + "\n")
    return "".join(lines)
