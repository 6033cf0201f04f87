"""Numbers in CSV columns, with one wording for every bad cell.

`scylla_sim.records.read_columns` reads a CSV file into columns of text. `parse_numbers` turns such a column into an
array. The error for a bad cell names the column, the cell, the rule, the line and the file.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scylla_sim.checks import FloatArray, InputError, fail
from scylla_sim.units import parse_count

MAX_SIZE = 1e60
"""Largest magnitude of a cell, and the inverse of the smallest but 0; products of a few stay within float64."""


def in_bounds(values: FloatArray) -> NDArray[np.bool_]:
    """Return whether each value is finite, and 0 or of a magnitude in [1 / `MAX_SIZE`, `MAX_SIZE`].

    Examples
    --------
    >>> in_bounds(np.array([0.0, -1e300, 5e-324, np.nan, 2.0])).tolist()
    [True, False, False, False, True]
    """
    size = np.abs(values)
    return np.asarray((size <= MAX_SIZE) & ((size >= 1.0 / MAX_SIZE) | (size == 0.0)))


@dataclass(frozen=True)
class NumberRule:
    """Bounds of the numbers in a column.

    Attributes
    ----------
    low, high
        Smallest and largest number.
    above
        Whether ``low`` itself is excluded.
    whole
        Whether the numbers must be whole.

    Examples
    --------
    >>> str(NumberRule(1.0, whole=True)), str(NumberRule(0.0, 1.0))
    ('a whole number of at least 1', 'a number in [0, 1]')
    """

    low: float = -np.inf
    high: float = np.inf
    above: bool = False
    whole: bool = False

    def holds(self, values: FloatArray) -> NDArray[np.bool_]:
        """Return whether each value is finite and obeys the rule."""
        with np.errstate(invalid="ignore"):
            good = in_bounds(values) & (values > self.low if self.above else values >= self.low)
            good &= values <= self.high
            if self.whole:
                good &= values == np.floor(values)
        return np.asarray(good)

    def __str__(self) -> str:
        """Return the rule as the end of a sentence that begins with "must be"."""
        kind = "a whole number" if self.whole else "a number"
        if np.isfinite(self.high) and np.isfinite(self.low):
            return f"{kind} in {'(' if self.above else '['}{self.low:g}, {self.high:g}]"
        if np.isfinite(self.high):
            return f"{kind} of at most {self.high:g}"
        if np.isfinite(self.low):
            return f"{kind} above {self.low:g}" if self.above else f"{kind} of at least {self.low:g}"
        return "a finite number" if not self.whole else kind


FINITE = NumberRule()
POSITIVE = NumberRule(0.0, above=True)
AT_LEAST_ONE = NumberRule(1.0)
COUNT = NumberRule(1.0, whole=True)
"""Common rules."""


def line_of(path: Path | str) -> Callable[[int], str]:
    """Return a function from the index of a row to its place in a CSV file, for error messages.

    Examples
    --------
    >>> line_of("data/shapes.csv")(0)
    'on line 2 of shapes.csv'
    """
    return lambda index: f"on line {_line_number(Path(path), index)} of {Path(path).name}"


def _line_number(path: Path, index: int) -> int:
    """Return the line of a row; the reader skips empty lines, and a pipe cannot be read again."""
    if not path.is_file():
        return index + 2
    with path.open("rb") as file:
        filled = (number for number, line in enumerate(file, start=1) if line.strip(b"\r\n"))
        return next(islice(filled, index + 1, None), index + 2)


@contextmanager
def errors_at(place: Callable[[int], str], index: int) -> Iterator[None]:
    """Add the place of a row to the errors of a block that reads its cells.

    Parameters
    ----------
    place
        Function from the index of a row to its place in the file, such as `line_of`.
    index
        Index of the row.

    Examples
    --------
    >>> with errors_at(line_of("shapes.csv"), 0):
    ...     raise fail("dtype", "bf17", "is not known", "did you mean bf16?")
    Traceback (most recent call last):
        ...
    scylla_sim.checks.InputError: dtype='bf17' is not known on line 2 of shapes.csv; did you mean bf16?
    """
    try:
        yield
    except InputError as error:
        raise error.at(place(index)) from None


def number_or_text(text: str) -> float | str:
    """Return a cell as a float if it is a number, else as text.

    Examples
    --------
    >>> number_or_text("5.03"), number_or_text("vicuna-7b")
    (5.03, 'vicuna-7b')
    """
    try:
        return float(text)
    except ValueError:
        return text


def _number(text: str, count_unit: float | None) -> float:
    """Return the number in a cell; NaN if there is none."""
    try:
        return float(text)
    except ValueError:
        pass
    try:
        return float("nan") if count_unit is None else parse_count(text) / count_unit
    except ValueError:
        return float("nan")


def parse_numbers(
    name: str,
    cells: Sequence[str],
    place: Callable[[int], str],
    *,
    rule: NumberRule = FINITE,
    rows: Sequence[int] | NDArray[np.intp] | None = None,
    empty: float | None = None,
    count_unit: float | None = None,
) -> FloatArray:
    """Return the numbers in a CSV column.

    Parameters
    ----------
    name
        Name of the column, for error messages.
    cells
        Text of all rows.
    place
        Function from the index of a row to its place in the file, such as `line_of`.
    rule
        Rule that every number obeys.
    rows
        Indices of the rows to parse; default: all.
    empty
        Number for an empty cell; by default an empty cell is an error.
    count_unit
        Unit of counts with a suffix. With 1e9 the cell ``10B`` becomes 10. By default suffixes are errors.

    Returns
    -------
    ndarray
        One number per row of ``rows``.

    Raises
    ------
    InputError
        At the first cell that is not a number or breaks the rule.

    Examples
    --------
    >>> parse_numbers("tokens", ["4096.0", ""], line_of("shapes.csv"), rule=COUNT, empty=1.0).tolist()
    [4096.0, 1.0]
    """
    texts = cells if rows is None else [cells[index] for index in rows]
    blank = np.zeros(len(texts), dtype=np.bool_)
    if empty is not None and not all(map(str.strip, set(texts))):
        blank = np.array([not text.strip() for text in texts], dtype=np.bool_)
        texts = [text if text.strip() else "nan" for text in texts]
    try:
        values = np.array(texts, dtype=np.float64)
    except ValueError:
        values = np.array([_number(text, count_unit) for text in texts])
    bad = ~(rule.holds(values) | blank)
    if bad.any():
        first = int(np.argmax(bad))
        row = first if rows is None else int(rows[first])
        beyond = np.isfinite(values[first]) and not in_bounds(values[first : first + 1])[0]
        wanted = f"0 or of a size from {1.0 / MAX_SIZE:g} to {MAX_SIZE:g}" if beyond else str(rule)
        raise fail(name, texts[first].strip(), f"must be {wanted} {place(row)}".rstrip())
    return values if empty is None else np.where(blank, empty, values)
