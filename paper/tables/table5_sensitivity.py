"""Table ``table5-sensitivity``: errors and verdicts of Table 5 under other assumptions."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from paper.render.table import EVIDENCE, Column, Table, percent_column
from paper.render.values import joined, mean, percent
from paper.sources import published
from paper.sources.results import Results, commits
from paper.tables.table5 import METHODS
from scylla_sim.records import Row

SPECULATIVE = ("eagle2", "scylla")
"""Methods that count: the context was inferred from the plain column, so that column is no evidence."""
COLUMN_ERROR = 0.15
"""Accepted mean absolute error of a speculative column."""
LARGE_BATCH = 16
"""Smallest batch called large. From here on, Table 5 reports about twice the throughput of EAGLE-2."""
VERDICTS = {True: "partly", False: "contradicted"}
"""Whether a speculative column holds -> status of the claim."""
CONTEXTS = (5120, 20480)
COMMUNICATION = (0.0, 0.5, 2.0)
"""Other contexts, and seconds of communication over the predicted ones."""


@dataclass(frozen=True)
class Cell:
    """Predicted throughput of one cell, with the range over published tokens per cycle, in tokens/s."""

    rate: float
    lower: float
    upper: float


Cells = dict[str, dict[int, Cell]]
"""Method -> batch -> cell."""


def a_column_holds(errors: Mapping[str, float]) -> bool:
    """Return whether a speculative column has an accepted mean absolute error.

    Examples
    --------
    >>> a_column_holds({"eagle2": 0.2, "scylla": 0.14})
    True
    """
    return min(errors[method] for method in SPECULATIVE) <= COLUMN_ERROR


def _cells(results: Results, suffix: str, context: int | None = None) -> Cells:
    """Return the cells of the result files of one assumption, at one context if the files have several."""
    found: Cells = {}
    for method in METHODS:
        rows = results.table(f"steps/table5-{method}{suffix}.json").rows
        rows = [row for row in rows if context in (None, row["context_len"])]
        found[method] = {int(row["batch_size"]): _cell(row, row["tokens_per_s"]) for row in rows}
    return found


def _cell(row: Row, rate: float) -> Cell:
    tau = row["tokens_per_cycle"]
    lower, upper = (row.get(f"tokens_per_cycle_{end}") or tau for end in ("lower", "upper"))
    return Cell(rate, rate * lower / tau, rate * upper / tau)


def _communication_s(results: Results, method: str) -> dict[int, float]:
    """Return the seconds of communication of a cycle by batch."""
    found: dict[int, float] = defaultdict(float)
    for row in results.table(f"steps/table5-{method}-parts.json").rows:
        if row["kind"] == "all_reduce":
            found[int(row["batch_size"])] += row["seconds"]
    return found


def _with_communication(results: Results, factor: float) -> Cells:
    """Return the cells with other seconds of communication."""
    found: Cells = {}
    for method in METHODS:
        seconds = _communication_s(results, method)
        rows = {int(row["batch_size"]): row for row in results.table(f"steps/table5-{method}.json").rows}
        found[method] = {
            batch: _cell(row, row["tokens_per_s"] / (1.0 + (factor - 1.0) * seconds[batch] / row["cycle_s"]))
            for batch, row in rows.items()
        }
    return found


def variants(results: Results) -> dict[str, Cells]:
    """Return the cells under each assumption; the first one is that of Table 5."""
    base = _cells(results, "")
    ends = {
        end: {
            method: {batch: Cell(rate, rate, rate) for batch, one in by.items() if (rate := getattr(one, end))}
            for method, by in base.items()
        }
        for end in ("lower", "upper")
    }
    return {
        "as in Table 5 of this run": base,
        **{f"context of {context} tokens": _cells(results, "-contexts", context) for context in CONTEXTS},
        "lowest published tokens per cycle": ends["lower"],
        "highest published tokens per cycle": ends["upper"],
        **{f"{factor:g} times the communication": _with_communication(results, factor) for factor in COMMUNICATION},
        "links of an H100 instead of an H800": _cells(results, "-h100"),
        "overhead of SGLang of 2025": _cells(results, "-engine"),
    }


def _row(name: str, cells: Cells) -> Row:
    """Return errors and verdicts under one assumption."""
    reported = {
        method: published.series("table5", "batch_size", "tokens_per_s", method=method) for method in METHODS
    }
    signed = {
        method: [cells[method][int(batch)].rate / rate - 1.0 for batch, rate in reported[method].items()]
        for method in METHODS
    }
    errors = {method: mean([abs(one) for one in values]) for method, values in signed.items()}
    inside = [
        cells[method][int(batch)].lower <= rate <= cells[method][int(batch)].upper
        for method in SPECULATIVE
        for batch, rate in reported[method].items()
    ]
    large = [batch for batch in reported["scylla"] if batch >= LARGE_BATCH]
    ranged = any(one.upper > one.lower for one in cells["scylla"].values())
    return {
        "assumption": name,
        **{f"{method}_error": error for method, error in errors.items()},
        "eagle2_low": sum(one < -0.15 for one in signed["eagle2"]),
        "in_range": f"{sum(inside)} of {len(inside)}" if ranged else None,
        "gain": mean([cells["scylla"][int(batch)].rate / cells["eagle2"][int(batch)].rate for batch in large]),
        "verdict": VERDICTS[a_column_holds(errors)],
    }


def table5_sensitivity(results: Results) -> Table:
    """Return errors and verdicts of Table 5 under other contexts, tokens per cycle, communication and overheads."""
    tables = [results.table(f"steps/table5-{method}.json") for method in METHODS]
    rows = [_row(name, cells) for name, cells in variants(results).items()]
    levels = ", ".join(tables[0].levels())
    moved = [row["assumption"] for row in rows if row["verdict"] != rows[0]["verdict"]]
    nearest = min(rows[1:], key=lambda row: row["eagle2_error"])
    return Table(
        "table5-sensitivity",
        "Table 5 under other assumptions: which one moves which verdict",
        (
            Column("assumption", "assumption"),
            *(percent_column(f"{method}_error", f"{name}: mean error") for method, name in METHODS.items()),
            Column("eagle2_low", "EAGLE-2: batches over 15 % low", digits=0),
            Column("in_range", "reported in the range"),
            Column("gain", f"Scylla / EAGLE-2, batch {LARGE_BATCH} and above", "x", digits=2),
            Column("verdict", "Table 5"),
            EVIDENCE,
        ),
        [{**row, "evidence": f"published, {levels}"} for row in rows],
        joined({"reported": "published (secondary)", "predicted": levels}),
        commits(tables),
        sources=[row["source"] for row in published.rows("table5")],
        notes=[
            "Table 5 is partly reproduced if a speculative column has a mean error of at most "
            f"{percent(COLUMN_ERROR, 0)}. The plain column does not count: the context was inferred from it.",
            "Reported in the range: speculative cells whose reported throughput lies between the predictions with "
            "the lowest and the highest published tokens per cycle.",
            f"Assumptions that change the verdict: {', '.join(moved) or 'none'}. EAGLE-2 is nearest with "
            f"{nearest['assumption']}.",
            "The paper states neither context, tokens per cycle of this target, links nor engine.",
        ],
    )
