"""Tables ``serving-runs*``: latencies of closed-loop serving runs, and the runs that are left out."""

from __future__ import annotations

from paper.render.table import EVIDENCE, Column, Table, ms_column, percent_column
from paper.render.values import joined
from paper.sources import serving_scores
from paper.sources.results import Results, commits
from paper.sources.serving_scores import HALF, OTHERS, RUNS
from paper.tables.errors import ERROR_COLUMNS, ROOFLINE_NOTE, WIDTH, word
from scylla_sim.records import Row

_GROUP = (
    Column("quantity", "quantity"),
    Column("framework", "engine"),
    Column("device", "device"),
    Column("checkpoint", "checkpoint"),
    Column("precision", "precision"),
)
_ERRORS = (
    Column("n", "runs", digits=0),
    *ERROR_COLUMNS,
    percent_column("coverage", "inside 90 % interval", digits=0),
    WIDTH,
)
_SCALARS = (
    ms_column("host_s", "host"),
    percent_column("slow", "slower prompts", digits=0, signed=True),
    ms_column("first_token_s", "first token"),
)
_SOURCES = [
    "runs of the Python package aiconfigurator-core (Apache-2.0), systems/silicon_sample.csv",
    "arrivals and settings: gpu_validate/silicon/serving_protocols.toml, which names the source of each",
]
_NOTES = (
    "A closed loop of the stated concurrency (scylla_sim/serving/closed_loop.py), with the engine preset of the "
    "version and with the arrivals of the source.",
    "TTFT and requests/s are compared only where the source documents the arrivals. Requests/s is the concurrency "
    "over TTFT + (output - 1) TPOT, measured and predicted alike.",
    "Table serving-runs-left-out counts the runs that are left out, by rule.",
    ROOFLINE_NOTE + " It has the same arrivals, and no host work.",
)


def _rows(results: Results, scalars: str) -> list[Row]:
    """Return the scores with their labels in words."""
    found = serving_scores.table(results, scalars)
    return [
        {
            **row,
            "framework": word("framework", row["framework"]),
            "precision": row["precision"] or "bf16",
            "evidence": "silicon",
        }
        for row in found
    ]


def serving_runs(results: Results) -> Table:
    """Return errors of serving runs with nothing fitted to their group."""
    return Table(
        "serving-runs",
        "Latency and throughput of serving runs, with nothing fitted to the group",
        (*_GROUP, *_ERRORS, *_SCALARS[:2], EVIDENCE),
        _rows(results, OTHERS),
        joined({"measured": "silicon", "predicted": "calibrated kernels, engine preset, scalars of other groups"}),
        commits([results.table(RUNS)]),
        sources=_SOURCES,
        notes=[
            *_NOTES,
            "Host time and slower prompts are medians of fits to the other groups of the same engine. The time "
            "between client and scheduler is 30 ms everywhere.",
        ],
    )


def serving_runs_fitted(results: Results) -> Table:
    """Return errors with three scalars per group, fitted to one half of it and scored on the other."""
    return Table(
        "serving-runs-fitted",
        "Latency and throughput of serving runs, with three scalars fitted to the other half of the group",
        (*_GROUP, *_ERRORS, *_SCALARS, EVIDENCE),
        _rows(results, HALF),
        joined({"measured": "silicon", "predicted": "calibrated kernels, engine preset, three scalars per group"}),
        commits([results.table(RUNS)]),
        sources=_SOURCES,
        notes=[
            *_NOTES,
            "The scalars minimize the mean error of TPOT and TTFT on half of the group. A hash assigns each (GPUs, "
            "input length, output length) to one half. The other half is scored here.",
        ],
    )


def left_out(results: Results) -> Table:
    """Return how many aggregated runs are scored, and why the others are not."""
    rows = serving_scores.left_out(results)
    frameworks = [name for name in rows[0] if name not in ("reason", "n")]
    return Table(
        "serving-runs-left-out",
        "Aggregated serving runs by rule of exclusion",
        (
            Column("reason", "runs"),
            *(Column(name, word("framework", name), digits=0) for name in frameworks),
            Column("n", "all", digits=0),
            EVIDENCE,
        ),
        [{**row, "evidence": "silicon"} for row in rows],
        joined({"measured": "silicon", "rules": "this project"}),
        commits([results.table(RUNS)]),
        sources=_SOURCES,
        notes=[
            "The rules apply in this order: no parallelism other than tensor parallelism on one node, no queue, no "
            "copy of another row, and work that the datasheet allows.",
            "Shortest possible time: all FLOPs of decode and prefill at the datasheet peak, or the bytes of the "
            "decode step at full bandwidth, whichever takes longer. A run below it did less work than the source "
            "states, for example because a prefix cache held the prompts.",
        ],
    )
