"""Table ``design-by-law``: the draft to train for a 7B by each law of tokens and layers that Fig. 1 allows."""

from __future__ import annotations

from typing import Any

from paper.render.table import EVIDENCE, Column, Table
from paper.render.values import joined
from paper.sources.results import Results, commits
from scylla_sim.records import Row

BUDGETS = ("1B", "10B", "100B")
"""Pretraining tokens of the designs, as in the names of the files."""


def path(budget: str) -> str:
    """Return the result file of a budget."""
    return f"design/by-law-{budget}.json"


def _row(row: Row) -> dict[str, Any]:
    def span(name: str) -> str:
        low, high = row[f"{name}_range"]
        return f"{low}" if low == high else f"{low}-{high}"

    names = ("law", "batch_size", "layers", "draft_len", "tokens_per_cycle", "speedup", "speedup_lower")
    found = {name: row[name] for name in (*names, "speedup_upper", "evidence")}
    return found | {"train_tokens": row["train_tokens"]} | {f"{n}_good": span(n) for n in ("layers", "draft_len")}


def design_by_law(results: Results) -> Table:
    """Return the best draft by budget, batch and law, with the drafts within 2 % of it."""
    tables = [results.table(path(budget)) for budget in BUDGETS]
    rows = [_row(row) for table in tables for row in table.rows]
    ordered = sorted(rows, key=lambda row: (row["train_tokens"], row["batch_size"]))
    return Table(
        "design-by-law",
        "The draft to train for a 7B target, by budget, batch and law of tokens and layers",
        (
            Column("train_tokens", "training tokens", "B", scale=1e-9, digits=0),
            Column("batch_size", "batch", digits=0),
            Column("law", "law"),
            Column("layers", "layers", digits=0),
            Column("layers_good", "layers within 2 %"),
            Column("draft_len", "K", digits=0),
            Column("draft_len_good", "K within 2 %"),
            Column("tokens_per_cycle", "τ", digits=2),
            Column("speedup", "speed-up", digits=2),
            Column("speedup_lower", "lower", digits=2),
            Column("speedup_upper", "upper", digits=2),
            EVIDENCE,
        ),
        ordered,
        joined({"tokens per cycle": "published", "times": "calibrated kernels of the H100"}),
        commits(tables),
        notes=[
            "Llama-2-7B on one H100, vLLM, context 1,024, chains. τ is from Fig. 1 of the paper (Vicuna-7B). Its "
            "points do not tell the laws apart: theorems adds both effects, bounded stops rising at the end of the "
            "data, product makes layers more useful with more tokens.",
        ],
    )
