"""``scylla-sim laws``: fit and compare acceptance laws on the columns of a CSV file."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from scylla_sim import fit
from scylla_sim.checks import FloatArray, InputError, fail, in_range, one_of
from scylla_sim.console import add_output, emit, note
from scylla_sim.factors import OFFSET_FORMS, fit_factors
from scylla_sim.law_forms import FORMS
from scylla_sim.quantiles import student_quantile
from scylla_sim.records import EVIDENCE, Row, read_columns
from scylla_sim.units import parse_count

EPILOG = """example:
  printf 'tokens,tau\\n1B,5.13\\n2B,5.15\\n5B,5.29\\n10B,5.33\\n20B,5.30\\n50B,5.43\\n' > fig1.csv
  scylla-sim laws fig1.csv --x tokens --y tau --x-scale 1B --forms log-linear,power --predict 100B
with --factor task,temperature: one slope for all rows, an offset per task and per temperature

forms (ln is the natural logarithm):
""" + "".join(f"  {name:24}{form.formula}\n" for name, form in FORMS.items())

MIN_POINTS = 3
TOLD_APART = 2.0
"""Difference in AICc up to which laws count as equally good (Burnham and Anderson, 2002, section 2.6)."""
DRAWINGS = (".svg", ".png")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="CSV with a header line")
    parser.add_argument(
        "--x", required=True, metavar="COL", help="column of tokens, layers, ...; 10B is understood"
    )
    parser.add_argument("--y", required=True, metavar="COL", help="column to explain, for example tau")
    parser.add_argument("--weight", metavar="COL", help="column of inverse variances, up to a common factor")
    parser.add_argument("--where", metavar="COL=VALUE,...", help="use only the rows in which these columns match")
    parser.add_argument("--forms", metavar="A,B", help="laws to fit (below); default: all of them")
    parser.add_argument(
        "--factor", metavar="COL,...", help="fit one slope, and an offset per value of these columns"
    )
    parser.add_argument(
        "--x-scale",
        default="1",
        metavar="COUNT",
        help="unit of x in the fit: 10B is divided by it, a bare 10 counts it; default 1",
    )
    parser.add_argument("--predict", metavar="X,...", help="also evaluate every law at these x")
    parser.add_argument("--level", type=float, default=0.9, help="coverage of the intervals; default 0.9")
    parser.add_argument(
        "--bootstrap", type=int, default=0, metavar="N", help="add percentile intervals of N refits"
    )
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap; default 0")
    parser.add_argument("--evidence", choices=EVIDENCE, help="level of evidence of the file, kept in every row")
    parser.add_argument("--draw", metavar="FILE", help="draw points and laws as .svg or .png (needs matplotlib)")
    add_output(parser)


@dataclass(frozen=True)
class Points:
    """The selected rows: numbers, and the file's line of each for error messages."""

    x: FloatArray
    y: FloatArray
    weights: FloatArray | None
    factors: dict[str, list[str]]
    lines: list[int]


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


def _selected(columns: dict[str, list[str]], where: str | None, size: int) -> list[int]:
    rows = list(range(size))
    for part in where.split(",") if where else []:
        name, equals, value = part.partition("=")
        if not equals:
            raise fail("where", part, "must read COL=VALUE")
        column = columns[one_of("column", name.strip(), columns)]
        rows = [row for row in rows if column[row].strip() == value.strip()]
    return rows


def read_points(args: argparse.Namespace, scale: float) -> Points:
    """Columns of the file as numbers; anything that is none names its line."""
    columns = read_columns(args.file)
    factors = args.factor.split(",") if args.factor else []
    for name in filter(None, (args.x, args.y, args.weight, *factors)):
        one_of("column", name, columns)
    rows = _selected(columns, args.where, len(columns[args.x]))
    if len(rows) < MIN_POINTS:
        raise fail("points", len(rows), f"must be at least {MIN_POINTS} in {args.file}", "check --where")
    lines = [row + 2 for row in rows]
    x = np.array([number(columns[args.x][row], args.x, row + 2, scale) for row in rows])
    y = np.array([number(columns[args.y][row], args.y, row + 2) for row in rows])
    levels = {name: [columns[name][row] for row in rows] for name in factors}
    if not args.weight:
        return Points(x, y, None, levels, lines)
    weights = np.array([number(columns[args.weight][row], args.weight, row + 2) for row in rows])
    bad = np.flatnonzero(weights <= 0)
    if bad.size:
        raise InputError(f"{args.weight}={weights[bad[0]]:g} must be above 0 in line {lines[bad[0]]}")
    return Points(x, y, weights, levels, lines)


def choose_forms(text: str | None, points: Points) -> tuple[list[str], list[str]]:
    """Forms to fit and, when all were asked for by default, those whose domain the points leave."""
    names = text.split(",") if text else list(OFFSET_FORMS if points.factors else FORMS)
    able: list[str] = []
    unable: list[str] = []
    for name in names:
        form = FORMS[one_of("form", name, FORMS)]
        outside = np.flatnonzero(points.x <= form.lowest if form.open_end else points.x < form.lowest)
        negative = outside[points.x[outside] < 0]
        if outside.size and (text or negative.size):
            worst = int((negative if negative.size else outside)[0])
            limit = f"{'above' if form.open_end else 'at least'} {form.lowest:g}"
            raise InputError(
                f"x={points.x[worst]:g} must be {limit} for {name} in line {points.lines[worst]}; "
                "choose other --forms, for example linear"
            )
        (unable if outside.size else able).append(name)
    return able, unable


def execute(args: argparse.Namespace) -> None:
    try:
        scale = parse_count(args.x_scale)
    except ValueError as error:
        raise fail("x_scale", args.x_scale, f"is not understood ({error})") from None
    in_range("x_scale", scale, 0, above=True)
    in_range("level", args.level, 0.5, 0.999)
    in_range("bootstrap", args.bootstrap, 0)
    if args.draw and Path(args.draw).suffix not in DRAWINGS:
        raise fail("draw", args.draw, f"must end in {' or '.join(DRAWINGS)}")
    points = read_points(args, scale)
    able, unable = choose_forms(args.forms, points)
    wanted = args.predict.split(",") if args.predict else []
    targets = {text: number(text, "predict", 0, scale) for text in wanted}
    rows = _factor_rows(points, able, args) if points.factors else _form_rows(points, able, targets, args)
    rows += [_unfitted(name, points, args) for name in unable]
    for row in rows:
        if row["message"]:
            note(f"note: {row['form']}: {row['message']}")
    shown = [_short(row, list(targets)) for row in rows] if args.format == "table" else rows
    emit(args, "laws", shown, footer=_footer(args, rows), inputs=[args.file])


def _form_rows(points: Points, forms: list[str], targets: dict[str, float], args: argparse.Namespace) -> list[Row]:
    laws = fit.compare(points.x, points.y, forms, points.weights)
    best = min((law.aicc for law in laws if law.converged and law.aicc is not None), default=None)
    rows = [_row(law, points, targets, best, args) for law in laws]
    if args.draw:
        from scylla_sim.drawing import draw_laws

        draw_laws(args.draw, points.x, points.y, laws, x_name=args.x, y_name=args.y, level=args.level)
        note(f"wrote {args.draw}")
    return rows


def _factor_rows(points: Points, forms: list[str], args: argparse.Namespace) -> list[Row]:
    """One row per form with a common slope and offsets, best criterion first."""
    for option in ("weight", "predict", "draw", "bootstrap"):
        if getattr(args, option):
            raise fail(option, getattr(args, option), "does not go with --factor")
    laws = [fit_factors(points.x, points.y, form, points.factors) for form in forms]
    scores = [law.aicc for law in laws if law.converged and law.aicc is not None]
    rows = []
    for law in sorted(laws, key=lambda law: (not law.converged, law.aicc is None, law.aicc or 0.0)):
        row = _head(law.form, points, args)
        row |= {"r2": law.r2, "r2_within": law.r2_within, "aicc": law.aicc, "delta_aicc": None}
        if law.converged and law.aicc is not None:
            row["delta_aicc"] = law.aicc - min(scores)
        row |= {"separate_slopes_aicc": law.separate_aicc, "loo_rmse": law.loo_rmse, "level": args.level}
        row |= {"converged": law.converged, "message": law.message, "evidence": args.evidence}
        half = student_quantile(args.level, law.dof)
        for name, value, error in zip(law.names, law.values.tolist(), law.standard_errors.tolist()):
            row |= {name: value, f"{name}_stderr": error}
            row |= {f"{name}_lower": value - half * error, f"{name}_upper": value + half * error}
        rows.append(row)
    return rows


def _head(name: str, points: Points, args: argparse.Namespace) -> Row:
    return {"form": name, "formula": FORMS[name].formula, "x": args.x, "y": args.y, "n": points.x.size}


def _unfitted(name: str, points: Points, args: argparse.Namespace) -> Row:
    return {
        **_head(name, points, args),
        "converged": False,
        "message": "not defined at the smallest x",
        "evidence": args.evidence,
    }


def _row(
    law: fit.Fit, points: Points, targets: dict[str, float], best: float | None, args: argparse.Namespace
) -> Row:
    """Everything known about one form; parameters that must not be used are left out."""
    row = _head(law.form, points, args)
    row |= {"r2": law.r2, "aicc": law.aicc, "delta_aicc": None, "loo_rmse": law.loo_rmse}
    row |= {"level": args.level, "converged": law.converged, "message": law.message, "evidence": args.evidence}
    if not law.converged:
        return row | {"r2": None, "aicc": None, "loo_rmse": None}
    if law.aicc is not None and best is not None:
        row["delta_aicc"] = law.aicc - best
    lower, upper = law.intervals(args.level)
    for i, name in enumerate(FORMS[law.form].parameters):
        row |= {name: float(law.values[i]), f"{name}_stderr": float(law.standard_errors[i])}
        row |= {f"{name}_lower": float(lower[i]), f"{name}_upper": float(upper[i])}
    if args.bootstrap:
        row |= _bootstrapped(law, points, args)
    for text, x in targets.items():
        row |= _predicted(law, text, x, args.level)
    return row


def _bootstrapped(law: fit.Fit, points: Points, args: argparse.Namespace) -> Row:
    drawn = fit.bootstrap(points.x, points.y, law, samples=args.bootstrap, seed=args.seed, weights=points.weights)
    row: Row = {"boot_samples": args.bootstrap, "boot_converged": len(drawn)}
    if not len(drawn):
        return row
    tail = (1 - args.level) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail], axis=0)
    for i, name in enumerate(FORMS[law.form].parameters):
        row |= {f"{name}_boot_lower": float(low[i]), f"{name}_boot_upper": float(high[i])}
    return row


def _predicted(law: fit.Fit, text: str, x: float, level: float) -> dict[str, Any]:
    """The law at x with the interval of a new point, flagged where it extrapolates."""
    form = FORMS[law.form]
    if x < form.lowest or (form.open_end and x == form.lowest):
        raise fail("predict", text, f"lies outside the domain of {law.form}, {form.formula}")
    value, lower, upper = (float(v) for v in law.predict(x, level=level, new_point=True))
    key = f"y({text})"
    return {
        key: value,
        f"{key}_lower": lower,
        f"{key}_upper": upper,
        f"{key}_extrapolates": bool(law.extrapolates(x)),
    }


def _short(row: Row, targets: list[str]) -> Row:
    """What fits a terminal: parameters with standard errors, the scores, the predictions."""
    names = [name for name in FORMS[row["form"]].parameters if name in row]
    short = {key: row.get(key) for key in ("form", "n", "r2", "delta_aicc", "loo_rmse", "converged")}
    short["parameters"] = ", ".join(f"{name} = {row[name]:.4g} +- {row[name + '_stderr']:.2g}" for name in names)
    for key in (f"y({text})" for text in targets):
        if key in row:
            flag = " extrapolated" if row[f"{key}_extrapolates"] else ""
            short[key] = f"{row[key]:.4g} [{row[f'{key}_lower']:.4g}, {row[f'{key}_upper']:.4g}]{flag}"
    return short


def _footer(args: argparse.Namespace, rows: list[Row]) -> str:
    unit = "" if args.x_scale == "1" else f", x in units of {args.x_scale}"
    near = [row["form"] for row in rows if row.get("delta_aicc") is not None and row["delta_aicc"] <= TOLD_APART]
    verdict = "no AICc: too few points to compare laws"
    if near:
        verdict = f"best by AICc: {near[0]}"
        if len(near) > 1:
            verdict += f"; the points cannot tell it from {', '.join(near[1:])} (within {TOLD_APART:g})"
    return (
        f"{args.y} against {args.x} in {Path(args.file).name}; ln is natural{unit}; +- is one standard error, "
        f"[ ] the {args.level:.0%} interval of a new point\n{verdict}"
    )
