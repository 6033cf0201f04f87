"""Tables ``gpu-steps`` and ``gpu-host``: whole steps of measured GPUs, in CUDA graphs and eager."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from paper.render.table import EVIDENCE, Column, Table, ms_column
from paper.render.values import span
from paper.sources.gpu_records import Campaign, campaigns, drafting
from paper.sources.results import Results
from paper.tables.errors import ROOFLINE_NOTE, word
from paper.tables.gpu_table import BATCH, BLIND_NOTE, CONTEXT, DEVICE, FLOOR_NOTE, SCORES, each, gpu_table, scored
from scylla_sim.records import Row

ROLES = ("plain", "verify", "draft", "prefill")
"""Roles of a step, in the order of the table."""

_CONFIGURATION = (
    *("model", "dtype", "batch", "context", "tokens", "batch_size", "context_len"),
    *("draft", "draft_len", "top_k", "verify_tokens"),
)
"""Columns that eager and graphed rows of one configuration share."""


def steps(results: Results) -> Table:
    """Return errors of whole steps in CUDA graphs, by role, model and batch."""

    def rows(campaign: Campaign) -> list[Row]:
        by = ("role", "model", "dtype", "batch")
        times: dict[tuple[str, ...], list[float]] = {}
        for row in campaign.rows("step"):
            if row["graph"] == 1:
                key = tuple(f"{row[name]:g}" if name == "batch" else str(row[name]) for name in by)
                times.setdefault(key, []).append(row["latency_ms"])
        known = {tuple(str(row[name]) for name in by): row for row in scored(campaign, "step", by)}
        order = sorted(times, key=lambda key: (ROLES.index(key[0]), key[1], key[2], float(key[3])))
        return [
            known.get(key, dict(zip(by, key)))
            | {"batch": float(key[3]), "dtype": word("dtype", key[2]), "measured": span(times[key])}
            for key in order
        ]

    return gpu_table(
        "gpu-steps",
        "Whole steps on measured GPUs: plain, verify, draft and prefill steps in CUDA graphs",
        (
            *(DEVICE, Column("role", "step"), Column("model", "model"), Column("dtype", "dtype"), BATCH),
            *(Column("measured", "measured (ms)"), *SCORES, EVIDENCE),
        ),
        each(results, "step", rows),
        [
            BLIND_NOTE,
            ROOFLINE_NOTE,
            FLOOR_NOTE,
            "A range of measured times covers all contexts and numbers of tokens.",
        ],
    )


def host(results: Results) -> Table:
    """Return times of the same work in a CUDA graph and launched from Python."""

    def rows(campaign: Campaign) -> list[Row]:
        return [*_pairs(campaign.rows("specdecode"), "cycle_s"), *_pairs(campaign.rows("step"), "latency_ms")]

    found = [(campaign, "specdecode", rows(campaign)) for campaign in campaigns(results)]
    return gpu_table(
        "gpu-host",
        "Time of launching from Python on measured GPUs: the same work in a CUDA graph and eager",
        (
            *(DEVICE, Column("what", "work"), BATCH, CONTEXT),
            ms_column("graph_s", "CUDA graph"),
            ms_column("eager_s", "eager"),
            Column("ratio", "eager / graph", digits=2),
            Column("graph_speedup", "speed-up in a graph", digits=2),
            Column("eager_speedup", "eager speed-up", digits=2),
            EVIDENCE,
        ),
        found,
        ["Both speed-ups are relative to plain steps launched in the same way."],
    )


def _pairs(rows: Sequence[Row], column: str) -> list[Row]:
    """Return eager rows next to the graphed row of the same configuration; ``column`` holds the time."""

    def key(row: Row) -> tuple[Any, ...]:
        return tuple(row.get(name) for name in _CONFIGURATION)

    graphed = {key(row): row for row in rows if row["graph"] == 1}
    out = []
    for row in rows:
        twin = graphed.get(key(row))
        if row["graph"] == 1 or twin is None:
            continue
        scale = 1e-3 if column == "latency_ms" else 1.0
        is_cycle = column == "cycle_s"
        what = f"cycle, drafting {drafting(row)}" if is_cycle else f"{row['role']} step, {row['tokens']:g} tokens"
        shown: Row = {"what": what, "batch": row["batch_size" if is_cycle else "batch"]}
        shown |= {"context": row["context_len" if is_cycle else "context"]}
        shown |= {"graph_s": scale * twin[column], "eager_s": scale * row[column]}
        shown["ratio"] = shown["eager_s"] / shown["graph_s"]
        if is_cycle:
            shown |= {"graph_speedup": twin["speedup"], "eager_speedup": row["speedup"]}
        out.append(shown)
    return out
