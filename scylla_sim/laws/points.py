"""Columns of a CSV file as the points that ``scylla-sim laws`` fits, and the forms that these points allow."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import product

import numpy as np

from scylla_sim.checks import FloatArray, InputError, fail, in_range, one_of
from scylla_sim.console import count
from scylla_sim.laws import sdsl
from scylla_sim.laws.additive import TERMS
from scylla_sim.laws.forms import ALL_FORMS, FORMS, PERPLEXITY_FORMS
from scylla_sim.laws.grouped import OFFSET_FORMS
from scylla_sim.records import read_columns
from scylla_sim.units import parse_count

MIN_POINTS = 3
MAX_VARIABLES = 3
"""More columns in --x would fit anything that has been published."""


@dataclass(frozen=True)
class Points:
    """The selected rows: numbers, and the file's line of each for error messages.

    ``x`` has one array per column of --x; ``perplexity`` is of the draft, where its size or training is known, and
    ``perplexity_at`` gives it at another x where that says all (``None`` otherwise).
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


def number(text: str, column: str, line: int, scale: float = 1.0) -> float:
    """A finite number; with a suffix it is a count in units of ``scale``."""
    try:
        value = float(text)
    except ValueError:
        try:
            value = parse_count(text) / scale
        except ValueError:
            raise InputError(f"{column}={text!r} is no number in line {line}") from None
    if not np.isfinite(value):
        raise InputError(f"{column}={text!r} must be finite in line {line}")
    return value


def scales(text: str, variables: int) -> list[float]:
    """Units of the columns of --x: one for all, or one for each."""
    try:
        found = [parse_count(part) for part in text.split(",")]
    except ValueError as error:
        raise fail("x_scale", text, f"is not understood ({error})") from None
    in_range("x_scale", found, 0, above=True)
    if len(found) not in (1, variables):
        raise fail("x_scale", text, f"must be one unit, or one for each of {variables} columns")
    return found * variables if len(found) == 1 else found


def selected(
    columns: dict[str, list[str]], where: str | None, size: int, group: Mapping[str, str] | None = None
) -> list[int]:
    """Rows of a group, in which moreover all columns of ``where`` have their values."""
    rows = list(range(size))
    for name, value in (group or {}).items():
        rows = [row for row in rows if columns[name][row].strip() == value]
    for part in where.split(",") if where else []:
        name, equals, value = part.partition("=")
        if not equals:
            raise fail("where", part, "must read COL=VALUE")
        column = columns[one_of("column", name.strip(), columns)]
        rows = [row for row in rows if column[row].strip() == value.strip()]
    return rows


def read_points(args: argparse.Namespace) -> Points:
    """Columns of the file as numbers; anything that is none names its line."""
    columns = read_columns(args.file)
    names = args.x.split(",")
    if len(names) > MAX_VARIABLES:
        raise fail("x", args.x, f"must be at most {MAX_VARIABLES} columns")
    factors = args.factor.split(",") if args.factor else []
    for name in (*names, args.y, *factors, *([args.weight] if args.weight else [])):
        one_of("column", name, columns)
    rows = selected(columns, args.where, len(columns[args.y]), getattr(args, "group", None))
    if len(rows) < MIN_POINTS:
        raise fail("points", len(rows), f"must be at least {MIN_POINTS} in {args.file}", "check --where")

    def numbers(name: str, scale: float = 1.0) -> FloatArray:
        return np.array([number(columns[name][row], name, row + 2, scale) for row in rows])

    lines = [row + 2 for row in rows]
    units = scales(args.x_scale, len(names))
    weights = numbers(args.weight) if args.weight else None
    if weights is not None and (weights <= 0).any():
        bad = int(np.argmax(weights <= 0))
        raise InputError(f"{args.weight}={weights[bad]:g} must be above 0 in line {lines[bad]}")
    drafts = _drafts(args, columns)
    sizes = {option: unit * numbers(name, unit) for option, (name, unit) in drafts.items()}
    return Points(
        x=tuple(numbers(name, unit) for name, unit in zip(names, units)),
        y=numbers(args.y),
        weights=weights,
        factors={name: [columns[name][row] for row in rows] for name in factors},
        lines=lines,
        perplexity=_perplexity(sizes, args, lines) if sizes else None,
        perplexity_at=_perplexity_at(drafts, args),
    )


def _drafts(args: argparse.Namespace, columns: dict[str, list[str]]) -> dict[str, tuple[str, float]]:
    """Option that says something of the draft -> its column, and what a bare number in it counts."""
    found = {}
    for option in ("draft_parameters", "train_tokens"):
        given = getattr(args, option)
        if given is not None:
            name, _, unit = given.partition(":")
            found[option] = (one_of("column", name, columns), count(option, unit) if unit else 1.0)
    if args.tuning_tokens is not None and "train_tokens" not in found:
        raise fail("tuning_tokens", args.tuning_tokens, "needs --train-tokens, to which it is added")
    return found


def _perplexity(sizes: dict[str, FloatArray], args: argparse.Namespace, lines: list[int] | None) -> FloatArray:
    """The draft's perplexity, from what is known of its parameters and of its training."""
    if args.tuning_tokens is not None:
        extra = in_range("tuning_tokens", count("tuning_tokens", args.tuning_tokens), 0)
        sizes = sizes | {"train_tokens": sizes["train_tokens"] + extra}
    for name, values in sizes.items():
        if (values <= 0).any():
            bad = int(np.argmax(values <= 0))
            hint = "give --tuning-tokens 1B" if name == "train_tokens" else ""
            where = f" in line {lines[bad]}" if lines else ""
            raise fail(name, float(values[bad]), f"must be above 0 for the law of the loss{where}", hint)
    return sdsl.perplexity(parameters=sizes.get("draft_parameters"), train_tokens=sizes.get("train_tokens"))


def _perplexity_at(drafts: dict[str, tuple[str, float]], args: argparse.Namespace) -> Callable[[str], float] | None:
    """Perplexity at an x as typed, where the column of --x is all that is known of the draft."""
    if {name for name, _ in drafts.values()} != {args.x}:
        return None

    def at(text: str) -> float:
        sizes = {key: np.array([unit * number(text, "predict", 0, unit)]) for key, (_, unit) in drafts.items()}
        return float(_perplexity(sizes, args, None)[0])

    return at


def choose_forms(text: str | None, points: Points) -> tuple[list[str], list[str]]:
    """Forms to fit and, when all were asked for by default, those whose domain the points leave."""
    rivals = list(PERPLEXITY_FORMS) if points.perplexity is not None else []
    names = text.split(",") if text else [*(OFFSET_FORMS if points.factors else FORMS), *rivals]
    able: list[str] = []
    unable: list[str] = []
    for name in names:
        outside = _outside(one_of("form", name, ALL_FORMS), x_of(name, points), points, strict=bool(text))
        (unable if outside else able).append(name)
    return able, unable


def x_of(form: str, points: Points) -> FloatArray:
    """What a form is a law of: the column, or the draft's perplexity."""
    if form not in PERPLEXITY_FORMS:
        return points.x[0]
    if points.perplexity is None:
        raise fail("form", form, "is a law of the draft's perplexity", "give --train-tokens or --draft-parameters")
    return points.perplexity


def _outside(name: str, x: FloatArray, points: Points, *, strict: bool) -> bool:
    """Does a point lie outside a form's domain? An error where the form was asked for, or x is negative."""
    form = ALL_FORMS[name]
    outside = np.flatnonzero(x <= form.lowest if form.open_end else x < form.lowest)
    negative = outside[x[outside] < 0]
    if outside.size and (strict or negative.size):
        worst = int((negative if negative.size else outside)[0])
        limit = f"{'above' if form.open_end else 'at least'} {form.lowest:g}"
        raise InputError(
            f"x={x[worst]:g} must be {limit} for {name} in line {points.lines[worst]}; "
            "choose other --forms, for example linear"
        )
    return bool(outside.size)


def choose_terms(text: str | None, points: Points) -> tuple[list[tuple[str, ...]], list[str]]:
    """With several variables: the sums of terms to fit, and the rival laws of perplexity."""
    if text is None:
        possible = [[name for name in TERMS if not _outside(name, x, points, strict=False)] for x in points.x]
        return list(product(*possible)), list(PERPLEXITY_FORMS) if points.perplexity is not None else []
    sums, rivals = [], []
    for name in text.split(","):
        if name in PERPLEXITY_FORMS:
            rivals.append(name)
            continue
        terms = tuple(name.split("+"))
        if len(terms) != len(points.x):
            raise fail("form", name, f"must have one term per column of --x ({len(points.x)})", "log-linear+log1p")
        for term, x in zip(terms, points.x):
            _outside(one_of("term", term, TERMS), x, points, strict=True)
        sums.append(terms)
    return sums, rivals
