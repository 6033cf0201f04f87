"""Table ``serving-speculation``: published closed loops with and without speculative decoding."""

from __future__ import annotations

import math

from paper.render.table import EVIDENCE, Column, Table, ms_column, percent_column
from paper.render.values import joined
from paper.sources.results import Results, commits
from scylla_sim.records import Row
from scylla_sim.units import MILLI

RUNS = "serving/closed-loops.json"
_COLUMNS = (
    Column("id", "run"),
    Column("device", "device"),
    Column("batch", "in flight", digits=0),
    Column("input_len", "input", digits=0),
    Column("draft", "draft"),
    Column("e2e_s", "E2E", "s", digits=2),
    Column("measured_e2e_s", "E2E measured", "s", digits=2),
    percent_column("e2e_error", "E2E error", signed=True),
    ms_column("tpot_s", "TPOT"),
    ms_column("measured_tpot_s", "TPOT measured"),
    percent_column("tpot_error", "TPOT error", signed=True),
    ms_column("ttft_s", "TTFT, mean"),
    ms_column("measured_ttft_s", "TTFT measured, median"),
    Column("gain", "gain", digits=2),
    Column("gain_lower", "lower", digits=2),
    Column("gain_upper", "upper", digits=2),
    Column("measured_gain", "gain measured", digits=2),
    Column("assumed", "assumed"),
    EVIDENCE,
)


def _number(row: Row, name: str) -> float | None:
    """Return a cell as a number; ``None`` for an empty one."""
    return float(row[name]) if row.get(name) not in (None, "") else None


def _times(row: Row) -> Row:
    """Return predicted and measured times of a run, with their errors."""
    tpot, ttft = (_number(row, name) for name in ("tpot_ms", "ttft_p50_ms"))
    found: Row = {
        "e2e_s": _number(row, "e2e_s"),
        "measured_e2e_s": _number(row, "measured_e2e_s"),
        "tpot_s": _number(row, "predicted_s"),
        "measured_tpot_s": None if tpot is None else MILLI * tpot,
        "ttft_s": _number(row, "ttft_s"),
        "measured_ttft_s": None if ttft is None else MILLI * ttft,
    }
    for name in ("e2e", "tpot"):
        truth = found[f"measured_{name}_s"]
        found[f"{name}_error"] = None if truth is None else found[f"{name}_s"] / truth - 1.0
    return found


def _gain(row: Row, plain: Row) -> Row:
    """Return the requests per second over those without a draft, as if the errors of both were independent."""
    value = float(row["requests_per_s"]) / float(plain["requests_per_s"])
    ends = {}
    for end, other, sign in (("lower", "upper", -1.0), ("upper", "lower", 1.0)):
        parts = [
            abs(float(one[f"requests_per_s_{side}"]) / float(one["requests_per_s"]) - 1.0)
            for one, side in ((row, end), (plain, other))
        ]
        ends[f"gain_{end}"] = max(value * (1.0 + sign * math.hypot(*parts)), 0.0)
    times = [_times(one) for one in (plain, row)]
    name = next((name for name in ("measured_e2e_s", "measured_tpot_s") if times[0][name] is not None), "")
    rates = [_number(one, "measured_requests_per_s") for one in (row, plain)]
    measured = times[0][name] / times[1][name] if name else None
    if rates[0] is not None and rates[1] is not None:
        measured = rates[0] / rates[1]
    return {"gain": value, **ends, "measured_gain": measured}


def serving_speculation(results: Results) -> Table:
    """Return published closed loops beside their predictions."""
    table = results.table(RUNS)
    plain = {row["pair"]: row for row in table.rows if not row["draft"]}
    rows = [
        {
            **{name: row[name] for name in ("id", "device", "assumed")},
            **{name: _number(row, name) for name in ("batch", "input_len")},
            "draft": f"{row['draft']}, {row['draft_len']}" if row["draft"] else "none",
            **_times(row),
            **(_gain(row, plain[row["pair"]]) if row["draft"] else {}),
            "evidence": "published",
        }
        for row in table.rows
    ]
    return Table(
        "serving-speculation",
        "Published closed loops with and without speculative decoding",
        _COLUMNS,
        rows,
        joined({"measured": "published", "predicted": "calibrated kernels, engine preset"}),
        commits([table]),
        sources=["paper/published/closed_loops.csv, which names the source of every run"],
        notes=[
            "Gain: requests per second with a draft over those without. Its interval takes the errors of both as "
            "independent, and is therefore wide. Measured: the ratio of requests per second, else of TPOT.",
            "Nothing is fitted to these latencies. The preset is fitted to step times of the A100 runs, and the "
            "cost of an idle draft to those of DepthChart.",
            "DepthChart is reported, not scored: its prefix cache and its draft are assumed, and a TTFT that is "
            "several times the predicted one shows that its requests arrive in waves.",
        ],
    )
