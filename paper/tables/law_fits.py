"""Rows and words that tables of fitted acceptance laws share."""

from __future__ import annotations

import math
from collections.abc import Mapping

from paper.render.table import EVIDENCE, Column
from paper.render.values import mean, percent, significant
from paper.sources import published
from paper.sources.results import ResultTable, value
from scylla_sim.records import Row

RIVAL_MARGIN = 2.0
"""AICc difference within which two forms cannot be told apart (Burnham and Anderson 2002, section 2.6)."""

LAW_COLUMNS = (
    Column("law", "law"),
    Column("points", "points", digits=0),
    Column("coefficients", "coefficients ± standard error"),
    Column("r2", "R²", digits=3),
    Column("delta_aicc", "ΔAICc", digits=1),
    Column("loo_rmse", "leave-one-out RMSE", "tokens/cycle", digits=3),
    EVIDENCE,
)


def form(laws: ResultTable, name: str) -> Row | None:
    """Return the row of a form, or ``None`` if the file lacks it or its fit did not converge."""
    return next((row for row in laws.rows if row.get("form") == name and row.get("converged")), None)


def parameters(row: Row) -> dict[str, float]:
    """Return the fitted parameters of a law by name, without the offsets of factors (``task=...``)."""
    return {key: float(row[key]) for key in row if f"{key}_stderr" in row and "=" not in key}


def coefficients(row: Row) -> str:
    """Return the parameters of a law in words, each with its standard error.

    Examples
    --------
    >>> coefficients({"a": 0.0645, "a_stderr": 0.0104, "r2": 0.9})
    'a = 0.06450 ± 0.010'
    """
    return ", ".join(
        f"{key} = {significant(number, 4)} ± {significant(float(row[f'{key}_stderr']), 2)}"
        for key, number in parameters(row).items()
    )


def holds(row: Row, name: str, quoted: float) -> bool:
    """Return whether the interval of a parameter contains a quoted value."""
    return bool(row[f"{name}_lower"] <= quoted <= row[f"{name}_upper"])


def log_law(coefficient: Mapping[str, float], x: float) -> float:
    """Return a quoted logarithmic law at ``x``, with the natural logarithm."""
    return coefficient["slope"] * math.log(x) + coefficient["intercept"]


def r_squared(observed: Mapping[float, float], predicted: Mapping[float, float]) -> float:
    """Return the share of variance that a quoted law explains, negative if the mean explains more."""
    centre = mean(list(observed.values()))
    rest = sum((y - predicted[x]) ** 2 for x, y in observed.items())
    return 1 - rest / sum((y - centre) ** 2 for y in observed.values())


def law_rows(laws: ResultTable, suffix: str = "") -> list[Row]:
    """Return one row for each converged form of a file, best AICc first as written."""
    return [
        {
            "law": f"{row['form']}: {row['formula']}{suffix}",
            "points": value(row, "n", laws.path),
            "coefficients": coefficients(row),
            "r2": value(row, "r2", laws.path),
            "delta_aicc": row.get("delta_aicc"),
            "loo_rmse": row.get("loo_rmse"),
            "evidence": row.get("evidence"),
        }
        for row in laws.rows
        if row.get("converged")
    ]


def quoted_row(theorem: str, points: Mapping[float, float]) -> Row:
    """Return the row of the law as quoted, with its R² for the printed points."""
    quoted = published.quoted(theorem)
    return {
        "law": f"quoted: {quoted['slope']:g} ln x + {quoted['intercept']:g}",
        "points": len(points),
        "coefficients": f"a = {quoted['slope']:g}, c = {quoted['intercept']:g}",
        "r2": r_squared(points, {x: log_law(quoted, x) for x in points}),
        "delta_aicc": None,
        "loo_rmse": None,
        "evidence": "published",
    }


def interval_notes(row: Row | None, theorem: str) -> list[str]:
    """Return whether the intervals of a refit contain the quoted slope and intercept, a sentence each."""
    if row is None:
        return []
    quoted = published.quoted(theorem)
    return [
        f"The quoted {what} {quoted[what]:g} lies {'inside' if holds(row, name, quoted[what]) else 'outside'} the "
        f"{percent(row['level'], 0)} interval of the {row['form']} refit, [{row[f'{name}_lower']:.4g}, "
        f"{row[f'{name}_upper']:.4g}]."
        for name, what in (("a", "slope"), ("c", "intercept"))
    ]


def slopes_note(row: Row) -> str:
    """Return whether one slope describes all series of a fit, or whether the series differ."""
    own, common = row.get("separate_slopes_aicc"), row.get("aicc")
    if own is None or common is None:
        return "There are too few points for one slope per series."
    if own < common - RIVAL_MARGIN:
        return (
            f"The series do not share one slope: one slope per series is better by {common - own:.0f} AICc "
            f"({row['form']})."
        )
    return (
        f"One slope describes all series: one slope per series is worse by {own - common:.0f} AICc ({row['form']})."
    )
