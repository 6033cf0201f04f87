"""Rows of ``scylla-sim laws``: fits of one variable, of several variables, and with factors."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

from scylla_sim.checks import FloatArray, fail
from scylla_sim.console import note
from scylla_sim.laws import fit
from scylla_sim.laws.additive import AdditiveFit, fit_additive
from scylla_sim.laws.forms import ALL_FORMS, FORMS
from scylla_sim.laws.grouped import fit_grouped
from scylla_sim.laws.groups import mean_of, replicates, spread
from scylla_sim.laws.points import Points, Selection, choose_forms, choose_terms, read_points, x_of
from scylla_sim.records import Row
from scylla_sim.stats.quantiles import student_quantile


def law_rows(selection: Selection, targets: dict[str, float], args: argparse.Namespace) -> list[Row]:
    """Return one row per law fitted to the selected rows.

    Parameters
    ----------
    selection
        Columns and rows of the file.
    targets
        Values of x of ``--predict``, by their text.
    args
        Options of the verb.
    """
    names = args.forms.split(",") if args.forms else None
    repeated = replicates(selection, args.replicates) if args.replicates else []
    points = mean_of(repeated) if repeated else read_points(selection)
    if len(points.x) > 1:
        return _additive_rows(points, args)
    inside, outside = choose_forms(names, points)
    rows = _grouped_rows(points, inside, args) if points.factors else _form_rows(points, inside, targets, args)
    if repeated:
        rows = [row | spread(row["form"], repeated, args.level) for row in rows]
    return [*rows, *(_unfitted(name, points, args) for name in outside)]


def refuse(args: argparse.Namespace, options: tuple[str, ...], what: str) -> None:
    """Raise an error for the first option that is given."""
    for option in options:
        if getattr(args, option):
            raise fail(option, getattr(args, option), f"cannot be combined with {what}")


def _form_rows(points: Points, forms: list[str], targets: dict[str, float], args: argparse.Namespace) -> list[Row]:
    """Return one row per law of one variable, lowest AICc first."""
    found = fit.sorted_by_aicc([fit.fit(x_of(form, points), points.y, form, points.weights) for form in forms])
    best = min((law.aicc for law in found if law.converged and law.aicc is not None), default=None)
    rows = [_row(law, points, targets, best, args) for law in found]
    if targets and points.perplexity_at is None and any(law.form not in FORMS for law in found):
        note("note: --predict leaves out the laws of perplexity: --x alone must describe the draft")
    if args.draw:
        from scylla_sim.cli._plot import draw_laws

        drawn = [law for law in found if law.form in FORMS]
        draw_laws(args.draw, points.x[0], points.y, drawn, x_name=args.x, y_name=args.y, level=args.level)
        note(f"wrote {args.draw}")
    return rows


def _additive_rows(points: Points, args: argparse.Namespace) -> list[Row]:
    """Return one row per sum of terms and per law of perplexity, lowest AICc first."""
    names = args.forms.split(",") if args.forms else None
    refuse(args, ("factor", "predict", "draw", "bootstrap", "replicates"), "several columns in --x")
    sums, perplexity_forms = choose_terms(names, points)
    found: list[AdditiveFit | fit.Fit] = [fit_additive(points.x, points.y, terms, points.weights) for terms in sums]
    found += [fit.fit(x_of(name, points), points.y, name, points.weights) for name in perplexity_forms]
    found.sort(key=lambda law: (law.aicc is None, law.aicc or 0.0))
    best = min((law.aicc for law in found if law.aicc is not None), default=None)
    rows = []
    for law in found:
        names = law.names if isinstance(law, AdditiveFit) else ALL_FORMS[law.form].parameters
        formula = law.formula if isinstance(law, AdditiveFit) else ALL_FORMS[law.form].formula
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
    """Return each parameter with its standard error and the ends of its Student-t interval."""
    half = student_quantile(level, dof)
    row: dict[str, float] = {}
    for name, value, error in zip(names, values.tolist(), errors.tolist()):
        row |= {name: value, f"{name}_stderr": error}
        row |= {f"{name}_lower": value - half * error, f"{name}_upper": value + half * error}
    return row


def _grouped_rows(points: Points, forms: list[str], args: argparse.Namespace) -> list[Row]:
    """Return one row per law with a common slope and offsets, lowest AICc first."""
    refuse(args, ("weight", "predict", "draw", "bootstrap"), "--factor")
    laws = [fit_grouped(x_of(form, points), points.y, form, points.factors) for form in forms]
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
    """Return the row of one law; it has no parameters if the fit did not converge."""
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
    """Return the value of the law at x, with the interval of a new point."""
    form = ALL_FORMS[law.form]
    if form.excludes(x).any():
        raise fail("predict", text, f"lies outside the domain of {law.form}, {form.formula}")
    y = law.predict(x, level=level, new_point=True)
    key = f"y({text})"
    return {
        key: float(y.value),
        f"{key}_lower": float(y.lower),
        f"{key}_upper": float(y.upper),
        f"{key}_extrapolates": bool(law.extrapolates(x)),
    }
