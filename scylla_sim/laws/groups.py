"""Groups and replicates of points: one fit per group of rows, and the spread of a fit over repeated experiments.

The points of one training curve share their random seed. Their scatter about a fit therefore understates the
uncertainty of its parameters. For a repeated experiment, `mean_of` gives the mean curve, and `spread` gives the
interval of each parameter over the fits of the single repetitions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from scylla_sim.checks import fail, one_of
from scylla_sim.laws import fit
from scylla_sim.laws.forms import ALL_FORMS
from scylla_sim.laws.points import Points, Selection, read_points, selected_rows, x_of
from scylla_sim.records import Row, read_columns
from scylla_sim.stats.quantiles import student_quantile


def groups(selection: Selection, by: Sequence[str]) -> list[tuple[dict[str, str], Selection]]:
    """Split a selection into groups of rows with equal values in some columns.

    Parameters
    ----------
    selection
        Rows to split.
    by
        Names of the columns; without any, the only group is the whole selection.

    Returns
    -------
    list of (labels, selection)
        Values of the columns and the selection of each group, in the order of the file.

    Raises
    ------
    InputError
        For an unknown column, or if no row is selected.
    """
    if not by:
        return [({}, selection)]
    columns = read_columns(selection.file)
    for name in (*by, selection.y):
        one_of("column", name, columns)
    rows = selected_rows(columns, selection)
    found = dict.fromkeys(tuple(columns[name][row].strip() for name in by) for row in rows)
    if not found:
        raise fail("points", 0, f"are left in {selection.file}", "check --where")
    labels = [dict(zip(by, values)) for values in found]
    return [(label, replace(selection, group={**selection.group, **label})) for label in labels]


def replicates(selection: Selection, column: str) -> list[Points]:
    """Read the points of every repetition of an experiment.

    Parameters
    ----------
    selection
        Rows of all repetitions.
    column
        Column that numbers the repetitions, such as a random seed.

    Returns
    -------
    list of Points
        Points of each repetition, sorted by x.

    Raises
    ------
    InputError
        If the repetitions do not have the same x.
    """
    ordered = [_sorted(read_points(part)) for _, part in groups(selection, [column])]
    for points in ordered[1:]:
        if not np.array_equal(points.x, ordered[0].x):
            raise fail("replicates", column, f"must have the same {','.join(selection.x)} for every value")
    return ordered


def _sorted(points: Points) -> Points:
    order = np.lexsort(points.x[::-1])
    weights = None if points.weights is None else points.weights[order]
    return replace(points, x=tuple(x[order] for x in points.x), y=points.y[order], weights=weights)


def mean_of(repeated: Sequence[Points]) -> Points:
    """Return the mean curve of repetitions; its line numbers are those of the first repetition."""
    return replace(repeated[0], y=np.mean([points.y for points in repeated], axis=0))


def spread(form: str, repeated: Sequence[Points], level: float) -> Row:
    """Return the mean and the Student-t interval of each parameter over repetitions, and the lowest R2.

    Parameters
    ----------
    form
        Name of the law.
    repeated
        Points of each repetition.
    level
        Coverage of the intervals.

    Returns
    -------
    dict
        Keys ``<parameter>_replicates_mean``, ``..._lower`` and ``..._upper``, ``r2_replicates_least`` and the
        number of ``replicates``. Only ``replicates`` is present if there is one repetition or if a fit did not
        converge.
    """
    fits = [fit.fit(x_of(form, points), points.y, form, points.weights, leave_out=False) for points in repeated]
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
