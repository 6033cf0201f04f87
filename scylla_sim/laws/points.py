"""Columns of a CSV file as points (x, y), and the laws that these points allow."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product

import numpy as np

from scylla_sim.checks import FloatArray, InputError, fail, one_of
from scylla_sim.laws import sdsl
from scylla_sim.laws.additive import TERMS
from scylla_sim.laws.forms import ALL_FORMS, FORMS, PERPLEXITY_FORMS
from scylla_sim.laws.grouped import OFFSET_FORMS
from scylla_sim.number_columns import FINITE, POSITIVE, NumberRule, line_of, parse_numbers
from scylla_sim.records import read_columns

MIN_POINTS = 3
"""Fewest points to which a law is fitted."""

MAX_VARIABLES = 3
"""Most columns of x; published data have too few points for more coefficients."""


@dataclass(frozen=True)
class SizeColumn:
    """A column with a size of the draft: its parameters or its training tokens.

    Attributes
    ----------
    name
        Name of the column.
    unit
        Count that a bare number in the column stands for, such as 1e9 for billions.
    """

    name: str
    unit: float = 1.0


@dataclass(frozen=True)
class Selection:
    """Columns and rows of a CSV file from which points are read.

    Attributes
    ----------
    file
        Path of the CSV file.
    x
        Names of the columns of x.
    y
        Name of the column to explain.
    x_units
        Unit of each column of x; a count such as 10B is divided by it.
    weight
        Name of the column of inverse variances; ``None`` for equal weights.
    factors
        Names of the columns of factors.
    where
        Pairs (column, value) that a row must match.
    group
        Column and value of the group to which a row must belong.
    draft_parameters, train_tokens
        Columns that describe the draft, for the laws of perplexity.
    tuning_tokens
        Tokens that are added to ``train_tokens``, for the training that all drafts share.
    """

    file: str
    x: tuple[str, ...]
    y: str
    x_units: tuple[float, ...]
    weight: str | None = None
    factors: tuple[str, ...] = ()
    where: tuple[tuple[str, str], ...] = ()
    group: Mapping[str, str] = field(default_factory=dict)
    draft_parameters: SizeColumn | None = None
    train_tokens: SizeColumn | None = None
    tuning_tokens: float | None = None

    def __post_init__(self) -> None:
        """Check the fields."""
        if len(self.x) > MAX_VARIABLES:
            raise fail("x", ",".join(self.x), f"must be at most {MAX_VARIABLES} columns")
        if len(self.x_units) != len(self.x):
            raise fail("x_units", len(self.x_units), f"must have one unit per column of x ({len(self.x)})")
        if self.tuning_tokens is not None and self.train_tokens is None:
            raise fail("tuning_tokens", self.tuning_tokens, "needs train_tokens, to which it is added")

    @property
    def sizes(self) -> dict[str, SizeColumn]:
        """Columns that describe the draft, by quantity."""
        columns = {"draft_parameters": self.draft_parameters, "train_tokens": self.train_tokens}
        return {name: column for name, column in columns.items() if column is not None}


@dataclass(frozen=True)
class Points:
    """Points (x, y) of the selected rows.

    Attributes
    ----------
    x
        One array of shape (n,) per column of x.
    y
        Values to explain, shape (n,).
    weights
        Inverse variances, shape (n,), or ``None``.
    factors
        Level of every point, by factor.
    lines
        Line of every point in the file, for error messages.
    perplexity
        Perplexity of every draft, shape (n,); ``None`` without a description of the draft.
    perplexity_at
        Function that returns the perplexity at an x given as text. ``None`` unless the column of x is the only
        description of the draft.
    """

    x: tuple[FloatArray, ...]
    y: FloatArray
    weights: FloatArray | None
    factors: dict[str, list[str]]
    lines: list[int]
    perplexity: FloatArray | None = None
    perplexity_at: Callable[[str], float] | None = None

    @property
    def size(self) -> int:
        """Number of points."""
        return self.y.size


def number(text: str, name: str, *, scale: float = 1.0) -> float:
    """Return a finite number from an option; a count with a suffix, such as 10B, is divided by ``scale``.

    Raises
    ------
    InputError
        If the text is not a finite number; the message names the option.

    Examples
    --------
    >>> number("2.5", "predict"), number("10B", "predict", scale=1e9)
    (2.5, 10.0)
    """
    return float(parse_numbers(name, [text], lambda index: "", count_unit=scale)[0])


def selected_rows(columns: Mapping[str, Sequence[str]], selection: Selection) -> list[int]:
    """Return the indices of the rows that match the group and the conditions of a selection."""
    rows = list(range(len(columns[selection.y])))
    for name, value in (*selection.group.items(), *selection.where):
        column = columns[one_of("column", name, columns)]
        rows = [row for row in rows if column[row].strip() == value]
    return rows


def read_points(selection: Selection) -> Points:
    """Read the points of a selection.

    Raises
    ------
    InputError
        For an unknown column, for fewer than `MIN_POINTS` rows, and for a cell that is not a number; the message
        names the line.
    """
    columns = read_columns(selection.file)
    weight = [selection.weight] if selection.weight else []
    for name in (*selection.x, selection.y, *selection.factors, *weight):
        one_of("column", name, columns)
    rows = selected_rows(columns, selection)
    if len(rows) < MIN_POINTS:
        raise fail("points", len(rows), f"must be at least {MIN_POINTS} in {selection.file}", "check --where")

    place = line_of(selection.file)

    def numbers(name: str, scale: float = 1.0, rule: NumberRule = FINITE) -> FloatArray:
        return parse_numbers(name, columns[name], place, rule=rule, rows=rows, count_unit=scale)

    lines = [row + 2 for row in rows]
    weights = numbers(selection.weight, rule=POSITIVE) if selection.weight else None
    sizes = {
        name: column.unit * numbers(one_of("column", column.name, columns), column.unit)
        for name, column in selection.sizes.items()
    }
    return Points(
        x=tuple(numbers(name, unit) for name, unit in zip(selection.x, selection.x_units)),
        y=numbers(selection.y),
        weights=weights,
        factors={name: [columns[name][row] for row in rows] for name in selection.factors},
        lines=lines,
        perplexity=_perplexity(sizes, selection.tuning_tokens, lines) if sizes else None,
        perplexity_at=_perplexity_at(selection),
    )


def _perplexity(sizes: dict[str, FloatArray], tuning_tokens: float | None, lines: list[int] | None) -> FloatArray:
    """Return the perplexity of drafts from their parameters and training tokens."""
    if tuning_tokens is not None:
        sizes = sizes | {"train_tokens": sizes["train_tokens"] + tuning_tokens}
    for name, values in sizes.items():
        if (values <= 0).any():
            bad = int(np.argmax(values <= 0))
            hint = "give --tuning-tokens 1B" if name == "train_tokens" else ""
            where = f" in line {lines[bad]}" if lines else ""
            raise fail(name, float(values[bad]), f"must be above 0 for the loss law{where}", hint)
    return sdsl.perplexity(parameters=sizes.get("draft_parameters"), train_tokens=sizes.get("train_tokens"))


def _perplexity_at(selection: Selection) -> Callable[[str], float] | None:
    """Return the perplexity as a function of x, if the column of x is the only description of the draft."""
    if {column.name for column in selection.sizes.values()} != {",".join(selection.x)}:
        return None

    def at(text: str) -> float:
        sizes = {
            name: np.array([column.unit * number(text, "predict", scale=column.unit)])
            for name, column in selection.sizes.items()
        }
        return float(_perplexity(sizes, selection.tuning_tokens, None)[0])

    return at


def choose_forms(names: Sequence[str] | None, points: Points) -> tuple[list[str], list[str]]:
    """Return the laws of one variable to fit, and the laws whose domain leaves out a point.

    Parameters
    ----------
    names
        Names of laws; ``None`` for all laws. A named law whose domain leaves out a point is an error.

    Raises
    ------
    InputError
        For an unknown law, and for a point outside the domain of a named law.
    """
    perplexity_forms = list(PERPLEXITY_FORMS) if points.perplexity is not None else []
    wanted = [*(OFFSET_FORMS if points.factors else FORMS), *perplexity_forms] if names is None else names
    inside: list[str] = []
    outside: list[str] = []
    for name in wanted:
        x = x_of(one_of("form", name, ALL_FORMS), points)
        (outside if _outside(name, x, points, strict=names is not None) else inside).append(name)
    return inside, outside


def x_of(form: str, points: Points) -> FloatArray:
    """Return the x of a law: the column of x, or the perplexity of the draft.

    Raises
    ------
    InputError
        For a law of perplexity without a description of the draft.
    """
    if form not in PERPLEXITY_FORMS:
        return points.x[0]
    if points.perplexity is None:
        raise fail("form", form, "is a law of the draft's perplexity", "give --train-tokens or --draft-parameters")
    return points.perplexity


def _outside(name: str, x: FloatArray, points: Points, *, strict: bool) -> bool:
    """Return whether a point lies outside the domain of a law; an error if ``strict`` or if x is negative."""
    form = ALL_FORMS[name]
    outside = np.flatnonzero(form.excludes(x))
    negative = outside[x[outside] < 0]
    if outside.size and (strict or negative.size):
        worst = int((negative if negative.size else outside)[0])
        limit = f"{'above' if form.min_x_excluded else 'at least'} {form.min_x:g}"
        raise InputError(
            f"x={x[worst]:g} must be {limit} for {name} in line {points.lines[worst]}; "
            "choose other --forms, for example linear"
        )
    return bool(outside.size)


def choose_terms(names: Sequence[str] | None, points: Points) -> tuple[list[tuple[str, ...]], list[str]]:
    """Return the sums of terms and the laws of perplexity to fit to several variables.

    Parameters
    ----------
    names
        Sums such as ``log-linear+log1p``, or names of laws of perplexity; ``None`` for all that the points allow.

    Raises
    ------
    InputError
        For an unknown term, a sum without one term per variable, and a point outside the domain of a term.
    """
    if names is None:
        possible = [[name for name in TERMS if not _outside(name, x, points, strict=False)] for x in points.x]
        return list(product(*possible)), list(PERPLEXITY_FORMS) if points.perplexity is not None else []
    sums: list[tuple[str, ...]] = []
    perplexity_forms: list[str] = []
    for name in names:
        if name in PERPLEXITY_FORMS:
            perplexity_forms.append(name)
            continue
        terms = tuple(name.split("+"))
        if len(terms) != len(points.x):
            raise fail("form", name, f"must have one term per column of --x ({len(points.x)})", "log-linear+log1p")
        for term, x in zip(terms, points.x):
            _outside(one_of("term", term, TERMS), x, points, strict=True)
        sums.append(terms)
    return sums, perplexity_forms
