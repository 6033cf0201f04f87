"""Groups and replicates of ``scylla-sim laws``: a fit per group of rows, and its spread over repeated experiments.

Points along one curve of training share their seed, so the scatter about a fit understates how uncertain it is.
Where an experiment was repeated, its law is fitted to the mean curve, and the interval of a parameter comes from
the parameters of the single repetitions.
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from scylla_sim.checks import fail, one_of
from scylla_sim.laws import fit
from scylla_sim.laws.forms import ALL_FORMS
from scylla_sim.laws.points import Points, read_points, selected, x_of
from scylla_sim.records import Row, read_columns
from scylla_sim.stats.quantiles import student_quantile


def _narrowed(args: argparse.Namespace, labels: dict[str, str]) -> argparse.Namespace:
    """The same request for the rows with these values only."""
    narrowed = copy.copy(args)
    narrowed.group = {**getattr(args, "group", {}), **labels}  # not into --where: a value may hold a comma
    return narrowed


def _labels(args: argparse.Namespace, names: Sequence[str]) -> list[dict[str, str]]:
    """Combinations of values of some columns among the rows asked for, in the order of the file."""
    columns = read_columns(args.file)
    for name in names:
        one_of("column", name, columns)
    rows = selected(columns, args.where, len(columns[names[0]]), getattr(args, "group", None))
    found = dict.fromkeys(tuple(columns[name][row].strip() for name in names) for row in rows)
    if not found:
        raise fail("points", 0, f"are left in {args.file}", "check --where")
    return [dict(zip(names, values)) for values in found]


def groups(args: argparse.Namespace) -> list[tuple[dict[str, str], argparse.Namespace]]:
    """The request of each group of ``--by`` with its labels; the whole request where there is none."""
    if not args.by:
        return [({}, args)]
    return [(labels, _narrowed(args, labels)) for labels in _labels(args, args.by.split(","))]


def replicates(args: argparse.Namespace) -> list[Points]:
    """Points of every repetition of ``--replicates``; an empty list where nothing was asked for.

    Raises
    ------
    InputError
        When they were not measured at the same x.
    """
    if not args.replicates:
        return []
    found = [read_points(_narrowed(args, labels)) for labels in _labels(args, [args.replicates])]
    ordered = [_sorted(points) for points in found]
    for points in ordered[1:]:
        if not np.array_equal(points.x, ordered[0].x):
            raise fail("replicates", args.replicates, f"must have the same {args.x} for every value")
    return ordered


def _sorted(points: Points) -> Points:
    order = np.lexsort(points.x[::-1])
    weights = None if points.weights is None else points.weights[order]
    return replace(points, x=tuple(x[order] for x in points.x), y=points.y[order], weights=weights)


def mean_of(repeated: Sequence[Points]) -> Points:
    """The mean curve; its lines are those of the first repetition."""
    return replace(repeated[0], y=np.mean([points.y for points in repeated], axis=0))


def spread(form: str, repeated: Sequence[Points], level: float) -> Row:
    """Mean and Student-t interval of each parameter over the repetitions, and the least R² of any.

    Keys are ``<parameter>_replicates_mean|lower|upper``; nothing but the count where a repetition has no fit, or
    where there is only one.
    """
    fits = [fit.fit(x_of(form, points), points.y, form, points.weights) for points in repeated]
    row: Row = {"replicates": len(fits)}
    if len(fits) < 2 or not all(law.converged for law in fits):
        return row
    values = np.array([law.values for law in fits])
    half = student_quantile(level, len(fits) - 1) * values.std(axis=0, ddof=1) / len(fits) ** 0.5
    for index, name in enumerate(ALL_FORMS[form].parameters):
        middle = float(values[:, index].mean())
        row |= {f"{name}_replicates_mean": middle}
        row |= {f"{name}_replicates_lower": middle - float(half[index])}
        row |= {f"{name}_replicates_upper": middle + float(half[index])}
    scores = [law.r2 for law in fits if law.r2 is not None]
    return row | {"r2_replicates_least": min(scores) if scores else None}
