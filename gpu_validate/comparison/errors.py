"""Errors of predicted rows against measured rows of the same shapes, per group and beside the noise floor."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from gpu_validate.comparison.choices import choice_quality, situations_of
from gpu_validate.comparison.join import CsvTable, Lines, match, shared_columns
from scylla_sim.checks import FloatArray, InputError, fail
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
    "floor_median",
)
"""What the table shows after the group."""
TIMES = ("latency_ms", "tpot_ms")
"""What a measured file may call its seconds, in the order of looking: a kernel or step, an output token."""
CHOICE_COLUMNS = ("same_choice", "within_floor", "median_regret", "max_regret")


def error_summary(predicted_s: FloatArray, measured_s: FloatArray) -> dict[str, float]:
    """Median, mean and 90th percentile of the absolute percentage error, and the median signed one (bias).

    Examples
    --------
    >>> error_summary(np.array([1.1, 1.0, 0.8]), np.ones(3))["median_ape"].round(3).item()
    0.1
    """
    signed = predicted_s / measured_s - 1.0
    size = np.abs(signed)
    return {
        "median_ape": np.median(size),
        "mape": size.mean(),
        "p90_ape": np.quantile(size, 0.9),
        "bias": np.median(signed),
    }


def repeat_ratio(measured: CsvTable, repeat: CsvTable, column: str) -> FloatArray:
    """Repeat over measurement for each measured row, NaN where the repeat lacks the shape.

    Several repeats of a shape (kernels of one library) count by their median. Where the measured file itself holds
    a shape twice (kernels of several libraries), each row has the repeat of its own library.
    """
    names = shared_columns(measured, repeat)
    keys = measured.keys(names)
    if len(set(keys)) < len(keys) and all("kernel_source" in file.cells for file in (measured, repeat)):
        names.append("kernel_source")
    found: dict[tuple[str, ...], list[float]] = {}
    for key, value in zip(repeat.keys(names), repeat.numbers(column, blanks=True)):
        found.setdefault(key, []).append(float(value))
    again = np.array([np.median(found[key]) if key in found else np.nan for key in measured.keys(names)])
    if not any(key in found for key in measured.keys(names)):
        raise InputError(f"{repeat.path} repeats no row of {measured.path}; joined on {', '.join(names)}")
    ratio: FloatArray = again / measured.numbers(column, blanks=True)
    return ratio


def _floor(measured: FloatArray, ratio: FloatArray | None, half_width: FloatArray | None) -> dict[str, Any]:
    """Noise floor of a group: repeats where there are any, else the measurement's own intervals.

    One measurement that stands in several rows, as a plain step beside all its drafts, counts once.
    """
    if ratio is not None and np.isfinite(ratio).any():
        known = np.isfinite(ratio)
        ratio = np.unique(np.stack([measured[known], ratio[known]]), axis=1)[1]
        size = np.abs(ratio / np.median(ratio) - 1.0)
        kind, middle = "repeat", float(np.median(ratio))
    elif half_width is not None:
        size, kind, middle = half_width, "intervals", None
    else:
        return {"floor_kind": None, "floor_n": 0, "floor_median": None, "floor_p90": None, "repeat_ratio": None}
    return {
        "floor_kind": kind,
        "floor_n": int(size.size),
        "floor_median": float(np.median(size)),
        "floor_p90": float(np.quantile(size, 0.9)),
        "repeat_ratio": middle,
    }


@dataclass(frozen=True)
class Joined:
    """Predicted and measured values of the rows in common; optional columns are ``None`` where absent."""

    predicted: FloatArray
    measured: FloatArray
    naive: FloatArray | None = None
    bounds: tuple[FloatArray, FloatArray] | None = None
    half_width: FloatArray | None = None
    ratio: FloatArray | None = None

    def row(self, chosen: NDArray[np.bool_]) -> dict[str, Any]:
        """Errors of the chosen rows."""
        measured = self.measured[chosen]
        row: dict[str, Any] = {"n": int(chosen.sum())}
        row |= {key: float(value) for key, value in error_summary(self.predicted[chosen], measured).items()}
        if self.naive is not None:
            naive = error_summary(self.naive[chosen], measured)
            row |= {f"naive_{key}": float(value) for key, value in naive.items()}
        if self.bounds is not None:
            low, high = (bound[chosen] for bound in self.bounds)
            row["coverage"] = float(np.mean((low <= measured) & (measured <= high)))
        own = None if self.half_width is None else self.half_width[chosen]
        return row | _floor(measured, None if self.ratio is None else self.ratio[chosen], own)


def _time(measured: CsvTable) -> str:
    """The column of a measured file that holds its seconds: the first of `TIMES` that it has."""
    return next((name for name in TIMES if name in measured.cells), TIMES[0])


def _join_latency(predicted: CsvTable, measured: CsvTable, repeat: CsvTable | None, p: Lines, m: Lines) -> Joined:
    """``predicted_s`` against one of `TIMES`, with all that the two files say about them."""
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
    """A column that both files have under one name and in one unit; a measured cell may be empty.

    ``naive_`` before the name is its naive roofline; ``_lower`` and ``_upper`` after it are its interval.
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
    """Lines whose cells have the values asked for; ``1.0`` is 1."""
    for name in where:
        if name not in measured.cells:
            raise fail("where", name, f"is no column of {measured.path}", f"columns: {', '.join(measured.cells)}")
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
    """Rows of errors: one per group of the columns ``by`` of the measured file, then one of all rows.

    Parameters
    ----------
    columns
        Columns of the same name in both files, compared one by one instead of ``predicted_s`` with ``latency_ms``.
    best
        One of these, largest is best: how good the predicted choice is among the rows that differ in drafting only.
    where
        Values of columns of the measured file that a row must have.
    evidence
        Level of the measured rows where their file has no such column.
    """
    p, m = match(predicted, measured)
    wanted = measured.size
    if where:
        wanted = int(_where(measured, range(measured.size), where).sum())
        kept = np.flatnonzero(_where(measured, m, where)).tolist()
        if not kept:
            said = ", ".join(f"{name}={value}" for name, value in where.items())
            raise InputError(f"{measured.path} has no row with a prediction where {said}")
        p, m = [p[at] for at in kept], [m[at] for at in kept]
    for name in by:
        if name not in measured.cells:
            raise fail("by", name, f"is no column of {measured.path}", f"columns: {', '.join(measured.cells)}")
    groups = list(zip(*([measured.cells[name][line] for line in m] for name in by))) if by else []
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
        for key in sorted(set(groups)):
            chosen = np.array([group == key for group in groups]) & known
            if chosen.any():
                rows.append({"group": ",".join(key), **dict(zip(by, key)), **quantity, **joined.row(chosen)})
                rows[-1] |= _choices(situations, joined, chosen, rows[-1]) if column and column == best else {}
        if not known.any():
            continue
        rows.append({"group": "all", **dict.fromkeys(by, "all"), **quantity, **joined.row(known)})
        rows[-1] |= _choices(situations, joined, known, rows[-1]) if column and column == best else {}
    return [{**row, "unmatched": wanted - len(m), "evidence": ",".join(levels)} for row in rows]


def _choices(
    situations: Sequence[tuple[str, ...]], joined: Joined, chosen: NDArray[np.bool_], row: Mapping[str, Any]
) -> dict[str, Any]:
    """Quality of the choices among some rows, whose errors are ``row``."""
    some = [situations[at] for at in np.flatnonzero(chosen).tolist()]
    floor = row["floor_median"] if row["floor_kind"] == "repeat" else None
    return choice_quality(some, joined.predicted[chosen], joined.measured[chosen], floor=floor)
