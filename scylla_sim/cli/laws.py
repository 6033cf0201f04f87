"""``scylla-sim laws``: fit and compare acceptance laws on the columns of a CSV file."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from scylla_sim.checks import FloatArray, fail, in_range
from scylla_sim.console import add_output, emit, note
from scylla_sim.laws import fit
from scylla_sim.laws.additive import JointFit, fit_joint
from scylla_sim.laws.forms import ALL_FORMS, FORMS
from scylla_sim.laws.grouped import fit_factors
from scylla_sim.laws.groups import groups, mean_of, replicates, spread
from scylla_sim.laws.points import Points, choose_forms, choose_terms, number, read_points, scales, x_of
from scylla_sim.records import EVIDENCE, Row
from scylla_sim.stats.quantiles import student_quantile

EPILOG = """example:
  printf 'tokens,tau\\n1B,5.13\\n2B,5.15\\n5B,5.29\\n10B,5.33\\n20B,5.30\\n50B,5.43\\n' > fig1.csv
  scylla-sim laws fig1.csv --x tokens --y tau --x-scale 1B --forms log-linear,power --predict 100B
with --factor task,temperature: one slope for all rows, an offset per task and per temperature
with --x layers,tokens: terms that add, one per column, for example --forms log-linear+log1p
with --by layers --replicates seed: a law for every number of layers, with its spread over seeds
with --train-tokens tokens: also the rival laws of SDSL, affine in the draft's perplexity or its logarithm, the
  perplexity from the law of arXiv 2203.15556; what is not given (here the parameters) is taken as constant

forms (ln is the natural logarithm):
""" + "".join(f"  {name:24}{form.formula}\n" for name, form in ALL_FORMS.items())

MAX_REFITS = 100_000
"""Of the bootstrap; intervals need no more, and memory is finite."""
TOLD_APART = 2.0
"""Difference in AICc up to which laws count as equally good (Burnham and Anderson, 2002, section 2.6)."""
DRAWINGS = (".svg", ".png")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help="CSV with a header line")
    parser.add_argument(
        "--x", required=True, metavar="COL[,COL]", help="column of tokens, layers, ...; 10B is understood"
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
        metavar="COUNT[,COUNT]",
        help="unit of x in the fit: 10B is divided by it, a bare 10 counts it; default 1",
    )
    parser.add_argument(
        "--draft-parameters", metavar="COL[:UNIT]", help="draft's weights: adds the forms sdsl and sdsl-loss"
    )
    parser.add_argument(
        "--train-tokens", metavar="COL[:UNIT]", help="its training tokens, likewise; tokens_b:1B counts billions"
    )
    parser.add_argument("--tuning-tokens", metavar="COUNT", help="tokens that every draft saw besides; default 0")
    parser.add_argument(
        "--by", metavar="COL,...", help="fit every group of rows with equal values of these columns"
    )
    parser.add_argument(
        "--replicates",
        metavar="COL",
        help="repeated experiments, as a column of seeds: fit their mean, and show the spread of the parameters",
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


def execute(args: argparse.Namespace) -> None:
    scale = scales(args.x_scale, args.x.count(",") + 1)[0]
    in_range("level", args.level, 0.5, 0.999)
    in_range("bootstrap", args.bootstrap, 0, MAX_REFITS)
    if args.draw and Path(args.draw).suffix not in DRAWINGS:
        raise fail("draw", args.draw, f"must end in {' or '.join(DRAWINGS)}")
    wanted = args.predict.split(",") if args.predict else []
    targets = {text: number(text, "predict", 0, scale) for text in wanted}
    if args.by:
        _refuse(args, ("draw",), "--by")
    if args.replicates:
        _refuse(args, ("factor", "bootstrap"), "--replicates")
    found = [(labels, _rows(chosen, targets)) for labels, chosen in groups(args)]
    rows = [{**labels, **row} for labels, group in found for row in group]
    for row in rows:
        if row["message"]:
            note(f"note: {row['form']}: {row['message']}")
    shown = rows
    if args.format == "table":
        shown = [{**labels, **_short(row, list(targets))} for labels, group in found for row in group]
    emit(args, "laws", shown, footer=_footer(args, found), inputs=[args.file])


def _rows(args: argparse.Namespace, targets: dict[str, float]) -> list[Row]:
    """One row per form fitted to the rows that are asked for."""
    repeated = replicates(args)
    points = mean_of(repeated) if repeated else read_points(args)
    if len(points.x) > 1:
        return _joint_rows(points, args)
    able, unable = choose_forms(args.forms, points)
    rows = _factor_rows(points, able, args) if points.factors else _form_rows(points, able, targets, args)
    if repeated:
        rows = [row | spread(row["form"], repeated, args.level) for row in rows]
    return [*rows, *(_unfitted(name, points, args) for name in unable)]


def _refuse(args: argparse.Namespace, options: tuple[str, ...], what: str) -> None:
    for option in options:
        if getattr(args, option):
            raise fail(option, getattr(args, option), f"does not go with {what}")


def _form_rows(points: Points, forms: list[str], targets: dict[str, float], args: argparse.Namespace) -> list[Row]:
    found = fit.in_order([fit.fit(x_of(form, points), points.y, form, points.weights) for form in forms])
    best = min((law.aicc for law in found if law.converged and law.aicc is not None), default=None)
    rows = [_row(law, points, targets, best, args) for law in found]
    if targets and points.perplexity_at is None and any(law.form not in FORMS for law in found):
        note("note: --predict leaves out the laws of perplexity: one column of --x must say all of the draft")
    if args.draw:
        from scylla_sim.cli._plot import draw_laws

        drawn = [law for law in found if law.form in FORMS]
        draw_laws(args.draw, points.x[0], points.y, drawn, x_name=args.x, y_name=args.y, level=args.level)
        note(f"wrote {args.draw}")
    return rows


def _joint_rows(points: Points, args: argparse.Namespace) -> list[Row]:
    """One row per sum of terms, and per rival law of perplexity; best criterion first."""
    _refuse(args, ("factor", "predict", "draw", "bootstrap", "replicates"), "several columns in --x")
    sums, rivals = choose_terms(args.forms, points)
    found: list[JointFit | fit.Fit] = [fit_joint(points.x, points.y, terms, points.weights) for terms in sums]
    found += [fit.fit(x_of(name, points), points.y, name, points.weights) for name in rivals]
    found.sort(key=lambda law: (law.aicc is None, law.aicc or 0.0))
    best = min((law.aicc for law in found if law.aicc is not None), default=None)
    rows = []
    for law in found:
        names = law.names if isinstance(law, JointFit) else ALL_FORMS[law.form].parameters
        formula = law.formula if isinstance(law, JointFit) else ALL_FORMS[law.form].formula
        row = {**_head(law.form, points, args), "formula": formula} | _scores(law.r2, law.aicc, best, law.loo_rmse)
        row |= {"level": args.level, "converged": True, "message": "", "evidence": args.evidence}
        rows.append(row | _parameters(names, law.values, law.standard_errors, law.dof, args.level))
    return rows


def _scores(r2: float | None, aicc: float | None, best: float | None, loo_rmse: float | None) -> Row:
    delta = None if aicc is None or best is None else aicc - best
    return {"r2": r2, "aicc": aicc, "delta_aicc": delta, "loo_rmse": loo_rmse}


def _parameters(
    names: tuple[str, ...], values: FloatArray, errors: FloatArray, dof: int, level: float
) -> dict[str, float]:
    """Each parameter with its standard error and the ends of its Student-t interval."""
    half = student_quantile(level, dof)
    row: dict[str, float] = {}
    for name, value, error in zip(names, values.tolist(), errors.tolist()):
        row |= {name: value, f"{name}_stderr": error}
        row |= {f"{name}_lower": value - half * error, f"{name}_upper": value + half * error}
    return row


def _factor_rows(points: Points, forms: list[str], args: argparse.Namespace) -> list[Row]:
    """One row per form with a common slope and offsets, best criterion first."""
    _refuse(args, ("weight", "predict", "draw", "bootstrap"), "--factor")
    laws = [fit_factors(x_of(form, points), points.y, form, points.factors) for form in forms]
    best = min((law.aicc for law in laws if law.converged and law.aicc is not None), default=None)
    rows = []
    first = next(iter(points.factors))
    for law in sorted(laws, key=lambda law: (not law.converged, law.aicc is None, law.aicc or 0.0)):
        scores = _scores(law.r2, law.aicc, best if law.converged else None, law.loo_rmse)
        row = _head(law.form, points, args) | scores | {"r2_within": law.r2_within}
        row |= {"separate_slopes_aicc": law.separate_aicc, "level": args.level}
        row |= {"converged": law.converged, "message": law.message, "evidence": args.evidence}
        row |= _parameters(law.names, law.values, law.standard_errors, law.dof, args.level)
        names = tuple(f"a[{first}={level}]" for level in law.slopes)
        own = np.array(list(law.slopes.values())).reshape(-1, 2)
        if law.converged and names:
            row |= _parameters(names, own[:, 0], own[:, 1], law.separate_dof, args.level)
        rows.append(row)
    return rows


def _head(name: str, points: Points, args: argparse.Namespace) -> Row:
    formula = ALL_FORMS[name].formula if name in ALL_FORMS else ""
    return {"form": name, "formula": formula, "x": args.x, "y": args.y, "n": points.size}


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
    row = _head(law.form, points, args) | _scores(law.r2, law.aicc, None, law.loo_rmse)
    row |= {"level": args.level, "converged": law.converged, "message": law.message, "evidence": args.evidence}
    if not law.converged:
        return row | {"r2": None, "aicc": None, "loo_rmse": None}
    if law.aicc is not None and best is not None:
        row["delta_aicc"] = law.aicc - best
    names = ALL_FORMS[law.form].parameters
    row |= _parameters(names, law.values, law.standard_errors, law.dof, args.level)
    if args.bootstrap:
        row |= _bootstrapped(law, points, args)
    for text, x in targets.items():
        if law.form in FORMS:
            row |= _predicted(law, text, x, args.level)
        elif points.perplexity_at is not None:
            row |= _predicted(law, text, points.perplexity_at(text), args.level)
    return row


def _bootstrapped(law: fit.Fit, points: Points, args: argparse.Namespace) -> Row:
    x = x_of(law.form, points)
    drawn = fit.bootstrap(x, points.y, law, samples=args.bootstrap, seed=args.seed, weights=points.weights)
    row: Row = {"boot_samples": args.bootstrap, "boot_converged": len(drawn)}
    if not len(drawn):
        return row
    tail = (1 - args.level) / 2
    low, high = np.quantile(drawn, [tail, 1 - tail], axis=0)
    for i, name in enumerate(ALL_FORMS[law.form].parameters):
        row |= {f"{name}_boot_lower": float(low[i]), f"{name}_boot_upper": float(high[i])}
    return row


def _predicted(law: fit.Fit, text: str, x: float, level: float) -> dict[str, Any]:
    """The law at x with the interval of a new point, flagged where it extrapolates."""
    form = ALL_FORMS[law.form]
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
    names = [key.removesuffix("_stderr") for key in row if key.endswith("_stderr") and "=" not in key]
    short = {key: row.get(key) for key in ("form", "n", "r2", "delta_aicc", "loo_rmse", "converged")}
    short["parameters"] = ", ".join(f"{name} = {row[name]:.4g} +- {row[name + '_stderr']:.2g}" for name in names)
    for key in (f"y({text})" for text in targets):
        if key in row:
            flag = " extrapolated" if row[f"{key}_extrapolates"] else ""
            short[key] = f"{row[key]:.4g} [{row[f'{key}_lower']:.4g}, {row[f'{key}_upper']:.4g}]{flag}"
    return short


def _footer(args: argparse.Namespace, found: list[tuple[dict[str, str], list[Row]]]) -> str:
    unit = "" if args.x_scale == "1" else f", x in units of {args.x_scale}"
    verdicts = [
        ", ".join(f"{name} {value}" for name, value in labels.items()) + ": " * bool(labels) + _verdict(rows)
        for labels, rows in found
    ]
    return (
        f"{args.y} against {args.x} in {Path(args.file).name}; ln is natural{unit}; +- is one standard error, "
        f"[ ] the {args.level:.0%} interval of a new point\n" + "\n".join(verdicts)
    )


def _verdict(rows: list[Row]) -> str:
    """The best form, and those that the points cannot tell from it."""
    near = [row["form"] for row in rows if row.get("delta_aicc") is not None and row["delta_aicc"] <= TOLD_APART]
    verdict = "no AICc: too few points to compare laws"
    if near:
        verdict = f"best by AICc: {near[0]}"
        if len(near) > 1:
            verdict += f"; the points cannot tell it from {', '.join(near[1:])} (within {TOLD_APART:g})"
    return verdict
