"""Errors of predicted closed-loop serving runs, by group of engine, device, checkpoint and precision."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from paper.sources.results import Results
from scylla_sim.checks import FloatArray
from scylla_sim.records import Row, read_columns
from scylla_sim.units import MILLI

RUNS = "serving/runs.json"
"""Result file of ``scylla-sim tpot`` with ``--fit-others --fit-half``."""
EXCLUDED = "serving/excluded.csv"
"""Runs that are left out before any prediction, with their reasons."""
OTHERS, HALF = "others", "half"
HELD_OUT = "held out"
ALL = "all"
GROUP = ("framework", "device", "checkpoint", "precision")
QUANTITIES = ("TPOT", "TTFT", "requests/s")

_PREDICTED = {
    "TPOT": ("predicted_s", "lower_s", "upper_s", "naive_s"),
    "TTFT": ("ttft_s", "ttft_s_lower", "ttft_s_upper", "naive_ttft_s"),
    "requests/s": ("requests_per_s", "requests_per_s_lower", "requests_per_s_upper", "naive_requests_per_s"),
}
"""Quantity -> columns of its value, the ends of its interval, and its roofline baseline."""


def runs(results: Results, scalars: str) -> list[Row]:
    """Return the possible runs with one sort of scalars: of other groups, or the held-out half of each group."""
    rows = [row for row in results.table(RUNS).rows if row["scalars"] == scalars and not row["excluded"]]
    return [row for row in rows if scalars == OTHERS or row["half"] == HELD_OUT]


def measured(row: Row, quantity: str) -> float:
    """Return a measured quantity of a run; NaN for arrivals that the source does not document.

    Requests per second follow from the means: requests in flight over the seconds of a whole request.
    """
    tpot, ttft = MILLI * float(row["tpot_ms"]), MILLI * float(row["ttft_ms"])
    if quantity == "TPOT":
        return tpot
    if row["documented"] != "yes":
        return float("nan")
    if quantity == "TTFT":
        return ttft
    answer = 0.5 * (1.0 + float(row["shortest"])) * float(row["output_len"])
    return float(row["batch"]) / (ttft + (answer - 1.0) * tpot)


def score(members: Sequence[Row], quantity: str) -> Row:
    """Return the errors of one quantity over some runs, with coverage and width of the intervals.

    Returns
    -------
    dict
        ``n``, ``median_ape``, ``mape``, ``p90_ape``, ``bias``, ``coverage``, ``width`` and the roofline's
        ``naive_median_ape`` and ``naive_bias``; empty without a measured value.
    """
    truth = np.array([measured(row, quantity) for row in members])
    known = np.isfinite(truth)
    if not known.any():
        return {}
    value, lower, upper, naive = (
        np.array([float(row[name]) for row in members])[known] for name in _PREDICTED[quantity]
    )
    truth = truth[known]
    signed, roofline = value / truth - 1.0, naive / truth - 1.0
    return {
        "n": int(truth.size),
        "median_ape": float(np.median(np.abs(signed))),
        "mape": float(np.abs(signed).mean()),
        "p90_ape": float(np.quantile(np.abs(signed), 0.9)),
        "bias": float(np.median(signed)),
        "coverage": _inside(truth, lower, upper),
        "width": float(np.median(upper / lower)),
        "naive_median_ape": float(np.median(np.abs(roofline))),
        "naive_bias": float(np.median(roofline)),
    }


def errors(members: Sequence[Row], quantity: str) -> FloatArray:
    """Return the absolute relative errors of one quantity, of the runs that measured it."""
    truth = np.array([measured(row, quantity) for row in members])
    value = np.array([float(row[_PREDICTED[quantity][0]]) for row in members])
    known = np.isfinite(truth)
    found: FloatArray = np.abs(value[known] / truth[known] - 1.0)
    return found


def _inside(truth: FloatArray, lower: FloatArray, upper: FloatArray) -> float:
    return float(((lower <= truth) & (truth <= upper)).mean())


def groups(members: Sequence[Row]) -> Iterator[tuple[tuple[str, ...], list[Row]]]:
    """Yield each group with its runs, in order of its name, then the runs of each framework, then all runs."""
    by: dict[tuple[str, ...], list[Row]] = {}
    for row in members:
        by.setdefault(tuple(str(row[name]) for name in GROUP), []).append(row)
    yield from sorted(by.items())
    for framework in sorted({key[0] for key in by}):
        yield (framework, ALL, ALL, ALL), [row for row in members if row["framework"] == framework]
    yield (ALL,) * len(GROUP), [*members]


def table(results: Results, scalars: str) -> list[Row]:
    """Return one row per quantity and group, with its errors and the medians of its scalars."""
    members, found = runs(results, scalars), []
    for quantity in QUANTITIES:
        for key, part in groups(members):
            row = score(part, quantity)
            if not row:
                continue
            medians = {
                name: float(np.median([float(run[name]) for run in part]))
                for name in ("host_s", "slow", "first_token_s")
            }
            found.append({"quantity": quantity, **dict(zip(GROUP, key)), **row, **({} if ALL in key else medians)})
    return found


def left_out(results: Results) -> list[Row]:
    """Return how many aggregated runs are scored, merged and left out, by reason and framework."""
    cells = read_columns(results.root / EXCLUDED, needed=("excluded", "framework"))
    reasons = list(zip(cells["excluded"], cells["framework"]))
    for row in results.table(RUNS).rows:
        if row["scalars"] == OTHERS:
            reasons.append((str(row["excluded"]) or "scored", str(row["framework"])))
            reasons += [("repeat of a configuration, in its median", str(row["framework"]))] * (
                int(row["repeats"]) - 1
            )
    frameworks = sorted({framework for _, framework in reasons})
    rows: list[Row] = []
    for reason in sorted({reason for reason, _ in reasons}, key=lambda text: (text != "scored", text)):
        counts = {name: reasons.count((reason, name)) for name in frameworks}
        rows.append({"reason": reason, **counts, "n": sum(counts.values())})
    total = {name: sum(int(row[name]) for row in rows) for name in (*frameworks, "n")}
    return [*rows, {"reason": "all aggregated runs", **total}]
