"""Rows of ``scylla-sim laws --joint``: laws of tokens and layers together, each with its test of extrapolation."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np

from scylla_sim.checks import FloatArray, fail, one_of, whole
from scylla_sim.console import count, counts, note
from scylla_sim.laws.groups import mean_of, replicates
from scylla_sim.laws.joint import JOINT_FORMS, JointPoints, fit_joint, min_points
from scylla_sim.laws.joint_scores import HeldOut, corner_of, leave_corner_out, leave_tokens_out
from scylla_sim.laws.points import Points, Selection, read_points
from scylla_sim.records import Row
from scylla_sim.stats.quantiles import student_quantile


def joint_rows(selection: Selection, args: argparse.Namespace) -> list[Row]:
    """Return one row per joint law, lowest AICc first.

    Parameters
    ----------
    selection
        Columns and rows of the file; its x are the training tokens and the decoder layers.
    args
        Options of the verb.
    """
    if len(selection.x) != 2:
        raise fail("x", args.x, "must be two columns with --joint", "tokens, then layers")
    draft_len = 0 if args.draft_len is None else int(whole("draft_len", args.draft_len, 1))
    repeated = replicates(selection, args.replicates) if args.replicates else []
    shared = count("tuning_tokens", args.tuning_tokens or "0") / selection.x_units[0]
    points = _joint(mean_of(repeated) if repeated else read_points(selection), draft_len, shared)
    seeds = [_joint(each, draft_len, shared) for each in repeated]
    corner = _corner(args.corner, selection)
    if corner is None:
        corner = corner_of(points)
        if not ((points.tokens > corner[0]) & (points.layers > corner[1])).any():
            note("note: no draft has both more tokens and more layers, so no law is scored on a corner")
            corner = None
    rows = [_row(form, points, seeds, corner, args) for form in _forms(args, draft_len)]
    best = min((row["aicc"] for row in rows if row.get("aicc") is not None), default=None)
    for row in rows:
        row["delta_aicc"] = None if row.get("aicc") is None or best is None else row["aicc"] - best
    return sorted(rows, key=lambda row: (row["delta_aicc"] is None, row["delta_aicc"] or 0.0))


def _joint(points: Points, draft_len: int, shared: float) -> JointPoints:
    """Return points of a joint law; ``shared`` tokens are added to those of every draft."""
    return JointPoints(points.x[0] + shared, points.x[1], points.y, draft_len)


def _forms(args: argparse.Namespace, draft_len: int) -> list[str]:
    """Return the laws to fit: those of --forms, or all that the points allow."""
    if args.forms:
        return [one_of("form", name, JOINT_FORMS) for name in args.forms.split(",")]
    left_out = [] if draft_len else [name for name, law in JOINT_FORMS.items() if law.of_rate]
    if left_out:
        note(f"note: {', '.join(left_out)} are laws of the acceptance rate and need --draft-len")
    return [name for name in JOINT_FORMS if name not in left_out]


def _corner(text: str | None, selection: Selection) -> tuple[float, float] | None:
    """Return the largest tokens and layers of ``--corner T,D``, in the units of the fit."""
    if text is None:
        return None
    values = counts("corner", text)
    if len(values) != 2:
        raise fail("corner", text, "must be two numbers, tokens and layers", "--corner 262144,4")
    return values[0] / selection.x_units[0], values[1] / selection.x_units[1]


def _row(
    form: str,
    points: JointPoints,
    seeds: Sequence[JointPoints],
    corner: tuple[float, float] | None,
    args: argparse.Namespace,
) -> Row:
    head: Row = {"form": form, "formula": JOINT_FORMS[form].formula, "x": args.x, "y": args.y, "n": points.tau.size}
    if points.tau.size < min_points(form):
        message = f"needs at least {min_points(form)} points"
        return {**head, "converged": False, "message": message, "evidence": args.evidence}
    law, fits = fit_joint(points, form), [fit_joint(each, form) for each in seeds]
    row: Row = {
        **head,
        **{"unit": law.unit, "r2": law.r2, "aicc": law.aicc, "delta_aicc": None},
        "loo_rmse": law.loo_rmse,
        **{"level": args.level, "converged": True, "message": "", "evidence": args.evidence},
    }
    if np.isnan(law.standard_errors).any():
        row["message"] = "the points do not determine the parameters separately"
    row |= _held_out(form, points, seeds, corner, args.level) if corner else {}
    for index, name in enumerate(JOINT_FORMS[form].parameters):
        value, error = float(law.values[index]), float(law.standard_errors[index])
        row |= {name: None, f"{name}_stderr": None} if np.isnan(error) else {name: value, f"{name}_stderr": error}
        if len(fits) > 1:
            row |= _over_seeds(name, np.array([each.values[index] for each in fits]), args.level)
    if len(fits) > 1:
        row |= {"replicates": len(fits), "r2_replicates_least": min(each.r2 or 0.0 for each in fits)}
    return row


def _held_out(
    form: str, points: JointPoints, seeds: Sequence[JointPoints], corner: tuple[float, float], level: float
) -> Row:
    """Return the errors in the corner and at more tokens, with their intervals over the seeds."""
    tokens, layers = corner
    inside = (points.tokens <= tokens) & (points.layers <= layers)
    if inside.sum() < min_points(form):
        return {}

    def in_corner(of: JointPoints) -> HeldOut:
        return leave_corner_out(of, form, tokens=tokens, layers=layers)

    def at_more_tokens(of: JointPoints) -> HeldOut:
        return leave_tokens_out(of, form, tokens=tokens)

    row: Row = {"fitted_tokens": tokens, "fitted_layers": layers}
    for name, score in (("corner", in_corner), ("more_tokens", at_more_tokens)):
        mean, each = score(points), [score(of) for of in seeds]
        row |= {f"{name}_n": mean.n, f"{name}_error": mean.error, f"{name}_bias": mean.bias}
        if len(each) > 1:
            row |= _over_seeds(f"{name}_error", np.array([one.error for one in each]), level)
            row |= _over_seeds(f"{name}_bias", np.array([one.bias for one in each]), level)
    return row


def _over_seeds(name: str, values: FloatArray, level: float) -> Row:
    """Return the mean of a number over seeds with its Student-t interval."""
    half = student_quantile(level, values.size - 1) * float(values.std(ddof=1)) / values.size**0.5
    middle = float(values.mean())
    keys = (f"{name}_replicates_mean", f"{name}_replicates_lower", f"{name}_replicates_upper")
    return dict(zip(keys, (middle, middle - half, middle + half)))


def short_joint(row: Row) -> Row:
    """Return the columns of the table: scores, errors of extrapolation, and parameters without their errors."""
    keys = ("form", "r2", "delta_aicc", "loo_rmse", "corner_error", "corner_bias", "more_tokens_error")
    short = {key: row.get(key) for key in keys}
    names = [key.removesuffix("_stderr") for key in row if key.endswith("_stderr")]
    return short | {"parameters": " ".join(_written(name, row[name]) for name in names)}


def _written(name: str, value: float | None) -> str:
    return f"{name}=?" if value is None else f"{name}={value:.3g}"


def joint_footer(rows: Sequence[Row]) -> str:
    """Return the lines below the table: the meaning of t and d, and the points that a corner leaves out."""
    row = next((row for row in rows if "fitted_tokens" in row), rows[0])
    if "unit" not in row:
        return ""
    lines = [f"t = ln(T / {row['unit']:g}), d = ln D; formulas: scylla-sim laws --help"]
    if "fitted_tokens" in row:
        lines += [
            f"corner: drafts with more than {row['fitted_tokens']:.6g} tokens and {row['fitted_layers']:g} layers, "
            "from drafts with at most as many of both",
            "more_tokens: drafts with more tokens, from all others",
        ]
    return "\n".join([*lines, ""])
