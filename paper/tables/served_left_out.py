"""Table ``served-left-out``: published runs, predicted with presets that are fitted without their source."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from paper.render.table import EVIDENCE, Column, Table, percent_column
from paper.sources import served_runs, served_scores
from paper.sources.results import Results, commits
from paper.tables.served import EVIDENCE_LEVELS, SOURCES
from scylla_sim.records import Row

RUNS = "left-out/served.json"
"""Result file of ``workflow/left_out.py``."""

GROUPINGS: dict[str, Callable[[Row], str]] = {
    "left out": lambda row: str(row["left_out"]),
    "batch kind": lambda row: str(row["batch_kind"]),
    "lengths": lambda row: str(row["lengths"]),
    "tokens per cycle": lambda row: str(row["tau_from"]),
}
"""Name of a grouping -> group of a run; a run without a draft has the tokens per cycle ``none``."""

_COLUMNS = (
    Column("quantity", "quantity"),
    Column("grouping", "by"),
    Column("group", "group"),
    Column("n", "runs", digits=0),
    percent_column("error", "mean error"),
    percent_column("bias", "bias", signed=True),
    percent_column("p90", "90th percentile"),
    percent_column("coverage", "inside 90 % interval", digits=0),
    Column("width", "median upper / lower end", digits=2),
    Column("slow", "runs measured at most 0.95", digits=0),
    percent_column("not_faster", "of these called slower or undecided", digits=0),
    percent_column("called_slower", "of these called slower", digits=0),
    percent_column("wrong", "wrong verdicts among all runs"),
)
_NOTES = (
    "Each source is left out in turn, and of SpecBundle each model. Fitted without it: the overheads of all "
    "presets, the overlap of experts, and the size of what differs between sources.",
    "Not fitted again, and chosen with all sources in view: the compute rate of FlashAttention-2, the lengths of "
    "tasks, the time of an eager prefill, and the forms.",
    "sglang-2026 has one source, so the other models of SpecBundle remain. trtllm-2026 has one source too; without "
    "it, the preset has the mean of all presets.",
    "Batches of the kind 'fixed, no refill' are scored and not fitted. The wait for their slowest sequence holds "
    "chance alone; that choice saw these runs.",
)


def _groups(runs: Sequence[Row]) -> Iterator[tuple[str, str, list[Row]]]:
    """Yield grouping, group and runs of every group, and of all runs."""
    for grouping, group_of in GROUPINGS.items():
        for name in dict.fromkeys(group_of(row) for row in runs):
            yield grouping, name, [row for row in runs if group_of(row) == name]
    yield served_scores.ALL, served_scores.ALL, [*runs]


def rows(runs: Sequence[Row]) -> list[Row]:
    """Return one row per quantity and group, and the mean over the groups that are left out."""
    found: list[Row] = []
    for quantity in served_runs.QUANTITIES:
        members = runs if quantity == "plain step" else served_scores.scored_part(runs)
        own = [
            {"quantity": quantity, "grouping": grouping, "group": name, **_score(part, quantity)}
            for grouping, name, part in _groups(members)
        ]
        own = [row for row in own if "error" in row]
        sources = [
            {key: cell for key, cell in row.items() if key not in ("quantity", "grouping", "group", "slow")}
            for row in own
            if row["grouping"] == "left out"
        ]
        labels = {"quantity": quantity, "grouping": served_scores.ALL, "group": served_scores.MACRO}
        found += [*own, {**labels, **served_scores.macro(sources)}] if sources else own
    return found


def _score(part: Sequence[Row], quantity: str) -> Row:
    """Return errors, coverage, width and verdicts of some runs."""
    scored = served_scores.score(served_runs.pairs(part, quantity))
    if quantity == "speedup" and scored:
        measured, p_slower = (served_runs.numbers(part, name) for name in ("measured_speedup", "p_slower"))
        scored |= served_scores.verdicts(np.asarray(measured), np.asarray(p_slower))
    return scored


def left_out(results: Results) -> Table:
    """Return the errors of every quantity on sources that gave no fit data."""
    table = results.table(RUNS)
    return Table(
        "served-left-out",
        "Served speculative decoding, predicted without the source of the run",
        (*_COLUMNS, EVIDENCE),
        [{**row, "evidence": "published"} for row in rows(served_runs.rows(results, RUNS))],
        EVIDENCE_LEVELS,
        commits([table]),
        sources=SOURCES,
        notes=_NOTES,
    )
