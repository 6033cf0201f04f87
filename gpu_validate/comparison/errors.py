"""Errors of predicted rows against measured rows of the same shapes, by group, with the noise floor."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpu_validate.comparison.choices import choice_quality, situations_of
from gpu_validate.comparison.join import CsvTable, Lines, match, shared_columns
from scylla_sim.checks import FloatArray, InputError, fail
from scylla_sim.stats.relative_errors import summarize
from scylla_sim.units import MILLI

SCHEMA = "gpu-validate/compare/1"

COLUMNS = (
    "n",
    "median_ape",
    "mape",
    "p90_ape",
    "bias",
    "naive_median_ape",
    "naive_bias",
    "coverage",
    "width",
    "floor_median",
)
"""Columns of the printed table after the group."""
TIMES = ("latency_ms", "tpot_ms")
"""Columns of measured times in order of preference: of a kernel or step, of an output token."""
CHOICE_COLUMNS = ("same_choice", "within_floor", "median_regret", "max_regret")
"""Columns of the printed table for the quality of choices."""


def error_summary(predicted_s: FloatArray, measured_s: FloatArray) -> dict[str, float]:
    """Return statistics of the relative error, as fractions.

    Parameters
    ----------
    predicted_s, measured_s
        Values in one unit, of one shape.

    Returns
    -------
    dict
        ``median_ape``, ``mape`` and ``p90_ape``: median, mean and 90th percentile of the absolute error. ``bias``:
        median of the signed error.

    Examples
    --------
    >>> error_summary(np.array([1.25, 1.0, 0.8]), np.ones(3))["bias"]
    0.0
    """
    errors = summarize(predicted_s / measured_s - 1.0)
    return {"median_ape": errors.median, "mape": errors.mean, "p90_ape": errors.p90, "bias": errors.bias}


def repeat_ratio(measured: CsvTable, repeat: CsvTable, column: str) -> FloatArray:
    """Return the ratio of repeat to measurement for each measured row.

    If a shape has several repeats, their median is used. If the measured file holds a shape for several libraries,
    each row is compared with the repeat of its own library.

    Parameters
    ----------
    measured, repeat
        Tables that share shape columns.
    column
        Name of the compared column.

    Returns
    -------
    numpy.ndarray
        Ratios; NaN where the repeat lacks the shape.

    Raises
    ------
    InputError
        If no shape is in both tables.
    """
    names = shared_columns(measured, repeat)
    keys = measured.keys(names)
    if len(set(keys)) < len(keys) and all("kernel_source" in file.cells for file in (measured, repeat)):
        names.append("kernel_source")
        keys = measured.keys(names)
    found: dict[tuple[str, ...], list[float]] = {}
    for key, value in zip(repeat.keys(names), repeat.numbers(column, blanks=True)):
        found.setdefault(key, []).append(float(value))
    middle = {key: values[0] if len(values) == 1 else float(np.median(values)) for key, values in found.items()}
    again = np.array([middle.get(key, np.nan) for key in keys])
    if not any(key in found for key in keys):
        raise InputError(f"{repeat.path} repeats no row of {measured.path}; joined on {', '.join(names)}")
    ratio: FloatArray = again / measured.numbers(column, blanks=True)
    return ratio


def _floor(measured: FloatArray, ratio: FloatArray | None, half_width: FloatArray | None) -> dict[str, Any]:
    """Return the noise floor of a group, from repeats or else from the measurement's own intervals.

    A measurement that appears in several rows counts once: the plain step appears in the rows of all its drafts.
    """
    if ratio is not None and np.isfinite(ratio).any():
        known = np.isfinite(ratio)
        ratio = np.unique(np.stack([measured[known], ratio[known]]), axis=1)[1]
        size = np.abs(ratio / np.median(ratio) - 1.0)
        kind, median_ratio = "repeat", float(np.median(ratio))
    elif half_width is not None:
        size, kind, median_ratio = half_width, "intervals", None
    else:
        return {"floor_kind": None, "floor_n": 0, "floor_median": None, "floor_p90": None, "repeat_ratio": None}
    return {
        "floor_kind": kind,
        "floor_n": int(size.size),
        "floor_median": float(np.median(size)),
        "floor_p90": float(np.quantile(size, 0.9)),
        "repeat_ratio": median_ratio,
    }


@dataclass(frozen=True)
class Joined:
    """Predicted and measured values of the rows that both files have.

    Attributes
    ----------
    predicted, measured
        Values in one unit.
    naive
        Predictions of the datasheet roofline.
    bounds
        Lower and upper ends of the predicted intervals.
    half_width
        Relative half width of the measured intervals.
    ratio
        Ratio of repeat to measurement.
    """

    predicted: FloatArray
    measured: FloatArray
    naive: FloatArray | None = None
    bounds: tuple[FloatArray, FloatArray] | None = None
    half_width: FloatArray | None = None
    ratio: FloatArray | None = None

    def row(self, chosen: NDArray[np.bool_]) -> dict[str, Any]:
        """Return the errors of the chosen rows."""
        measured = self.measured[chosen]
        row: dict[str, Any] = {"n": int(chosen.sum())}
        row |= error_summary(self.predicted[chosen], measured)
        if self.naive is not None:
            naive = error_summary(self.naive[chosen], measured)
            row |= {f"naive_{key}": value for key, value in naive.items()}
        if self.bounds is not None:
            low, high = (bound[chosen] for bound in self.bounds)
            row["coverage"] = float(np.mean((low <= measured) & (measured <= high)))
            row["width"] = float(np.median(high / low))
        own = None if self.half_width is None else self.half_width[chosen]
        return row | _floor(measured, None if self.ratio is None else self.ratio[chosen], own)


def _time(measured: CsvTable) -> str:
    """Return the first column of `TIMES` that a measured file has."""
    return next((name for name in TIMES if name in measured.cells), TIMES[0])


def _join_latency(predicted: CsvTable, measured: CsvTable, repeat: CsvTable | None, p: Lines, m: Lines) -> Joined:
    """Join ``predicted_s`` with the measured time."""
    column = _time(measured)
    latency = measured.numbers(column)
    half_width, bounds = None, None
    if "interval_low_ms" in measured.cells and "interval_high_ms" in measured.cells:
        width = measured.numbers("interval_high_ms") - measured.numbers("interval_low_ms")
        half_width = (0.5 * width / latency)[m]
    if "lower_s" in predicted.cells and "upper_s" in predicted.cells:
        bounds = (predicted.numbers("lower_s")[p], predicted.numbers("upper_s")[p])
    return Joined(
        predicted=predicted.numbers("predicted_s")[p],
        measured=latency[m] * MILLI,
        naive=predicted.numbers("naive_s")[p] if "naive_s" in predicted.cells else None,
        bounds=bounds,
        half_width=half_width,
        ratio=None if repeat is None else repeat_ratio(measured, repeat, column)[m],
    )


def _join_column(
    predicted: CsvTable, measured: CsvTable, repeat: CsvTable | None, p: Lines, m: Lines, column: str
) -> Joined:
    """Join a column that both files have under one name and in one unit; a measured cell may be empty.

    Prefix ``naive_`` marks the datasheet roofline of a column. Suffixes ``_lower`` and ``_upper`` mark its
    interval.
    """
    ratio = None if repeat is None else repeat_ratio(measured, repeat, column)[m]
    name, ends = f"naive_{column}", (f"{column}_lower", f"{column}_upper")
    naive = predicted.numbers(name)[p] if name in predicted.cells else None
    bounds = None
    if all(end in predicted.cells for end in ends):
        bounds = (predicted.numbers(ends[0])[p], predicted.numbers(ends[1])[p])
    known = measured.numbers(column, blanks=True)[m]
    return Joined(predicted.numbers(column)[p], known, naive=naive, bounds=bounds, ratio=ratio)


def _where(measured: CsvTable, lines: Iterable[int], where: Mapping[str, str]) -> NDArray[np.bool_]:
    """Return which lines have the wanted values; ``1.0`` equals 1."""
    for name in where:
        if name not in measured.cells:
            hint = f"columns: {', '.join(measured.cells)}"
            raise fail("where", name, f"is not a column of {measured.path}", hint)
    wanted = CsvTable((), {name: [value] for name, value in where.items()}).keys(list(where))[0]
    keys = measured.keys(list(where))
    return np.array([keys[line] == wanted for line in lines])


def compare(
    predicted: CsvTable,
    measured: CsvTable,
    *,
    repeat: CsvTable | None = None,
    by: Sequence[str] = (),
    columns: Sequence[str] = (),
    best: str = "",
    evidence: str = "",
    where: Mapping[str, str] | None = None,
) -> list[dict[str, Any]]:
    """Compare predicted with measured rows of the same shapes.

    Parameters
    ----------
    predicted, measured
        Tables that share shape columns.
    repeat
        Second measurement of the same shapes.
    by
        Columns of the measured file to group by.
    columns
        Columns of the same name in both files. They are compared one by one, instead of ``predicted_s`` with the
        measured time.
    best
        One of ``columns``, of which the largest value is best. The predicted choice is scored among the rows that
        differ in drafting only.
    evidence
        Level of evidence of the measured rows, if their file has no such column.
    where
        Columns of the measured file -> values that a row must have.

    Returns
    -------
    list of dict
        One row of errors per group, then one for all rows, for each compared column.

    Raises
    ------
    InputError
        If a column is missing, a value is not a positive number, or no row is in both files.
    """
    p, m, wanted = _matched(predicted, measured, where or {})
    groups = _groups(measured, m, by)
    levels = (
        sorted({measured.cells["evidence"][line] for line in m}) if "evidence" in measured.cells else [evidence]
    )
    situations = situations_of(measured, m)
    rows = []
    for column in columns or ("",):
        if column:
            joined = _join_column(predicted, measured, repeat, p, m, column)
        else:
            joined = _join_latency(predicted, measured, repeat, p, m)
        quantity = {"quantity": column or _time(measured).removesuffix("_ms")}
        known = np.isfinite(joined.measured)
        subsets = [
            ({"group": ",".join(key), **dict(zip(by, key))}, np.array([group == key for group in groups]) & known)
            for key in sorted(set(groups))
        ]
        for labels, chosen in (*subsets, ({"group": "all", **dict.fromkeys(by, "all")}, known)):
            if chosen.any():
                row = {**labels, **quantity, **joined.row(chosen)}
                rows.append(row | (_choices(situations, joined, chosen, row) if column and column == best else {}))
    return [{**row, "unmatched": wanted - len(m), "evidence": ",".join(levels)} for row in rows]


def _matched(predicted: CsvTable, measured: CsvTable, where: Mapping[str, str]) -> tuple[Lines, Lines, int]:
    """Return indices of predicted and measured rows of the same shape, and the number of wanted measured rows."""
    p, m = match(predicted, measured)
    if not where:
        return p, m, measured.size
    wanted = int(_where(measured, range(measured.size), where).sum())
    kept = np.flatnonzero(_where(measured, m, where)).tolist()
    if not kept:
        conditions = ", ".join(f"{name}={value}" for name, value in where.items())
        raise InputError(f"{measured.path} has no row with a prediction where {conditions}")
    return [p[at] for at in kept], [m[at] for at in kept], wanted


def _groups(measured: CsvTable, lines: Lines, by: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the group of each line; no group without columns to group by."""
    for name in by:
        if name not in measured.cells:
            hint = f"columns: {', '.join(measured.cells)}"
            raise fail("by", name, f"is not a column of {measured.path}", hint)
    return list(zip(*([measured.cells[name][line] for line in lines] for name in by))) if by else []


def _choices(
    situations: Sequence[tuple[str, ...]], joined: Joined, chosen: NDArray[np.bool_], row: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the quality of the predicted choices among some rows, whose errors are ``row``."""
    some = [situations[at] for at in np.flatnonzero(chosen).tolist()]
    floor = row["floor_median"] if row["floor_kind"] == "repeat" else None
    return choice_quality(some, joined.predicted[chosen], joined.measured[chosen], floor=floor)
