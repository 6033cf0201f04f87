"""The parts of a cycle: every operation, and groups of them beside the plain step."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from scylla_sim.checks import FloatArray
from scylla_sim.kernels.registry import OPERATIONS
from scylla_sim.prediction.answer import Rows
from scylla_sim.prediction.evidence import overhead_evidence
from scylla_sim.prediction.footer import deployment_line, evidence_line
from scylla_sim.prediction.step_time import LAUNCH
from scylla_sim.prediction.throughput import Prediction
from scylla_sim.records import Row
from scylla_sim.text.digits import interval, number, wrapped
from scylla_sim.text.tables import Column, text_table

OTHER_KERNELS = "other kernels"
KERNEL_GROUPS = {
    "gemm": "GEMM",
    "decode_attention": "attention",
    "context_attention": "attention",
    "latent_attention": "attention",
    "experts": "experts",
    "all_reduce": "all-reduce",
    "elementwise": OTHER_KERNELS,
}
"""Operation -> its line in a breakdown."""
_GROUP_OF = {
    kind.name: KERNEL_GROUPS.get(item.name, OTHER_KERNELS) for item in OPERATIONS.values() for kind in item.kinds
} | {LAUNCH: "kernel launches"}
OVERHEAD_GROUPS = {"host_s": "engine: step", "tp_host_s": "engine: step", "token_s": "engine: verified tokens"}
"""Overhead of an engine -> its line in a breakdown. The others occur with a draft only."""
DRAFTING = "engine: drafting"
FLOOR = "never below a plain step"
WAIT = "wait for the slowest sequence"
ALL_COLUMNS = (
    Column("batch_size", "batch", fold=True),
    Column("context_len", "context", fold=True),
    *(Column("phase"), Column("op"), Column("count")),
    Column("seconds", "ms", scale=1e3),
    Column("share", scale=100.0, unit=" %", decimals=1),
    Column("datasheet_s", "datasheet ms", scale=1e3),
    Column("evidence", fold=True),
    Column("kernels", fold=True),
)
"""Columns of the table of every operation."""


def _at(array: Any, prediction: Prediction, point: int) -> float:
    """Return the value of an array at one point of the flattened grid."""
    return float(np.broadcast_to(array, prediction.batch.shape).reshape(-1)[point])


def operations(prediction: Prediction) -> Iterator[Row]:
    """Yield a row for every operation of draft and verify, and for every overhead, at each point of the grid."""
    for point in range(prediction.batch.size):
        where = {
            "batch_size": int(_at(prediction.batch, prediction, point)),
            "context_len": int(_at(prediction.context, prediction, point)),
        }
        for row in (*_op_rows(prediction, point), *_overhead_rows(prediction, point)):
            yield {**where, **row}


def _op_rows(prediction: Prediction, point: int) -> Iterator[Row]:
    """Yield a row for every operation; launches that add nothing are left out."""
    cycle = _at(prediction.cycle_s, prediction, point)
    for phase, step in (("draft", prediction.draft), ("verify", prediction.verify)):
        for part in step.parts:
            seconds = _at(part.seconds, prediction, point)
            if part.kind == LAUNCH and seconds == 0.0:
                continue
            yield {
                "phase": phase,
                "op": part.name,
                "kind": part.kind,
                "count": part.count,
                "seconds": seconds,
                "share": seconds / cycle,
                "datasheet_s": _at(np.maximum(part.memory_s, part.compute_s), prediction, point),
                "evidence": part.evidence,
                "kernels": part.backend.kernels if part.backend else "",
            }


def _overhead_rows(prediction: Prediction, point: int) -> Iterator[Row]:
    """Yield a row for every overhead of the engine that costs time."""
    cycle = _at(prediction.cycle_s, prediction, point)
    for name, count in prediction.cycle.overhead_counts.items():
        count_at, cost = _at(count, prediction, point), getattr(prediction.engine, name)
        seconds = count_at * cost
        if seconds > 0.0:
            yield {
                "phase": "overhead",
                "op": name.removesuffix("_s"),
                "kind": "overhead",
                "count": 1 if name == "idle_draft" else int(count_at),
                "seconds": seconds,
                "share": seconds / cycle,
                "datasheet_s": None,
                "evidence": overhead_evidence(prediction.engine, name),
                "kernels": "",
            }


Group = tuple[FloatArray, FloatArray]
"""Seconds of a group in the cycle and in the plain step, over the flattened grid."""


def groups(prediction: Prediction) -> dict[str, Group]:
    """Return the seconds of each group of a cycle and of the plain step; groups without time are left out.

    The seconds of all groups add up to those of the cycle, with its prefills and the wait of a static batch.
    """
    found: dict[str, list[FloatArray]] = {}
    shape = prediction.batch.shape

    def add(name: str, side: int, seconds: Any) -> None:
        both = found.setdefault(name, [np.zeros(prediction.batch.size), np.zeros(prediction.batch.size)])
        both[side] = both[side] + np.broadcast_to(seconds, shape).reshape(-1)

    add("draft", 0, prediction.draft.seconds)
    for side, step in enumerate((prediction.verify, prediction.plain)):
        for part in step.parts:
            add(f"verify: {_GROUP_OF[part.kind]}", side, part.seconds)
    for side, cycle in enumerate((prediction.cycle, prediction.plain_cycle)):
        for name, count in cycle.overhead_counts.items():
            add(OVERHEAD_GROUPS.get(name, DRAFTING), side, getattr(prediction.engine, name) * count)
        add("prefills", side, cycle.load.value)
    parts = np.sum([both[0] for both in found.values()], axis=0)
    add(FLOOR, 0, np.maximum(prediction.cycle.seconds.reshape(-1) - parts, 0.0).reshape(shape))
    add(WAIT, 0, prediction.cycle.lasting_s - prediction.cycle.seconds)
    return {
        name: (cycle, plain)
        for name, (cycle, plain) in found.items()
        if np.any(np.abs(cycle) > 1e-9 * prediction.cycle.seconds.reshape(-1)) or np.any(plain > 0.0)
    }


def breakdown_report(rows: Rows, predictions: Sequence[Prediction], labels: Sequence[str]) -> str:
    """Return the groups of a cycle as a table, beside the plain step if there is one point only.

    Parameters
    ----------
    rows
        Rows of one or several results.
    predictions
        Predictions behind the rows, in their order.
    labels
        What tells each row apart: its batch, its context, its configuration.
    """
    one = len(rows) == 1
    found = [(groups(each), point) for each in predictions for point in range(each.batch.size)]
    table = _beside_plain(rows[0], found[0][0], labels[0]) if one else _points(rows, found, labels)
    evidence = evidence_line([shares for each in predictions for shares in each.evidence_shares])
    where = wrapped(deployment_line(rows), indent="  ")
    return f"{table}{where}{wrapped(evidence)}--all lists every operation.\n"


def _speedup(row: Mapping[str, Any]) -> str:
    """Return the speed-up of a row with its interval."""
    return interval(row["speedup"], row["speedup_lower"], row["speedup_upper"], decimals=2)


def _beside_plain(row: Mapping[str, Any], found: dict[str, Group], label: str) -> str:
    """Return the table of one point, under a sentence about the largest differences."""
    drafting = row["draft_len"] > 0
    cycle_s, plain_s = (sum(float(both[side][0]) for both in found.values()) for side in (0, 1))
    lines = [(_with_passes(name, row), float(cycle[0]), float(plain[0])) for name, (cycle, plain) in found.items()]
    lines.append(("total", cycle_s, plain_s))
    cells: list[Row] = [
        {
            "part": name,
            "cycle": cycle,
            "share": cycle / cycle_s,
            "plain": plain or None,
            "plain_share": plain / plain_s if plain else None,
            "more": f"{'-' if cycle < plain else '+'}{number(1e3 * abs(cycle - plain), decimals=2)}",
        }
        for name, cycle, plain in lines
    ]
    cells.append({"part": "per token", "cycle": row["tpot_s"], "plain": row["plain_tpot_s"], "more": ""})
    columns = [
        Column("part", label, right=False),
        Column("cycle", "cycle ms" if drafting else "ms", scale=1e3, decimals=2),
        Column("share", scale=100.0, unit=" %", decimals=0),
        Column("plain", "plain ms", scale=1e3, decimals=2),
        Column("plain_share", "share", scale=100.0, unit=" %", decimals=0),
        Column("more", "more ms", right=True),
    ]
    shown = columns if drafting else columns[:3]
    return wrapped(_largest(row, lines, cycle_s, plain_s)) + text_table(cells, shown)


def _with_passes(name: str, row: Mapping[str, Any]) -> str:
    """Return the name of a group, with the passes of the draft."""
    return f"draft, K = {row['draft_len']}" if name == "draft" else name


def _largest(
    row: Mapping[str, Any], lines: Sequence[tuple[str, float, float]], cycle_s: float, plain_s: float
) -> str:
    """Return a sentence about a cycle, the plain step and the two groups that differ most."""
    if row["draft_len"] == 0:
        name, most, _ = max(lines[:-1], key=lambda line: line[1])
        return f"A step takes {number(1e3 * cycle_s)} ms; {name} takes {number(1e3 * most)} of them."
    largest = sorted(lines[:-1], key=lambda line: line[2] - line[1])[:2]
    texts = [f"{number(1e3 * (cycle - plain))} in {name}" for name, cycle, plain in largest]
    return (
        f"A cycle takes {number(1e3 * cycle_s)} ms and yields {number(float(row['tokens_per_cycle']))} tokens; "
        f"a plain step takes {number(1e3 * plain_s)} ms. Speed-up: {_speedup(row)}. "
        f"The largest differences are {' and '.join(texts)}."
    )


def _points(rows: Rows, found: Sequence[tuple[dict[str, Group], int]], labels: Sequence[str]) -> str:
    """Return the table of several points: one line per group, one column per point."""
    names = dict.fromkeys(name for parts, _ in found for name in parts)
    lines: list[Row] = [
        {"part": name, **{str(i): _ms(parts, name, at) for i, (parts, at) in enumerate(found)}} for name in names
    ]
    for name, key in (("total", None), ("per token", "tpot_s"), ("plain decoding, per token", "plain_tpot_s")):
        values = [
            sum(float(both[0][at]) for both in parts.values()) if key is None else float(row[key])
            for row, (parts, at) in zip(rows, found)
        ]
        lines.append({"part": name, **{str(i): value for i, value in enumerate(values)}})
    if any(row["draft_len"] for row in rows):
        gains = {str(i): number(row["speedup"], decimals=2) for i, row in enumerate(rows)}
        lines.append({"part": "speed-up", **gains})
    columns = [Column(str(i), label, scale=1e3, decimals=2, right=True) for i, label in enumerate(labels)]
    return text_table(lines, [Column("part", "ms of a cycle"), *columns])


def _ms(parts: dict[str, Group], name: str, at: int) -> float | None:
    """Return the seconds of a group at one point; ``None`` where it takes no time."""
    return float(parts[name][0][at]) or None if name in parts else None
