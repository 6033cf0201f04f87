"""Results as text: the answer first, one table, and what its numbers rest on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from scylla_sim.prediction.answer import Rows, answer
from scylla_sim.prediction.footer import deployment_line, evidence_line, interval_coverage
from scylla_sim.prediction.throughput import Prediction
from scylla_sim.text.digits import WIDTH, wrapped
from scylla_sim.text.tables import Column, fold, text_table

CONFIG_COLUMNS = (
    Column("hardware", "GPU", fold=True),
    Column("tp", "TP", fold=True),
    Column("precision", fold=True),
    Column("draft", fold=True),
    Column("draft_len", "K", fold=True),
    Column("top_k", "top-k", fold=True),
)
"""Columns that tell configurations apart."""
TABLE_COLUMNS = (
    *CONFIG_COLUMNS,
    Column("batch_size", "batch"),
    Column("context_len", "context", fold=True),
    Column("verify_tokens", "verified", fold=True),
    Column("tokens_per_cycle", "tokens/cycle", fold=True, optional=True),
    Column("tpot_s", "ms/token", scale=1e3),
    Column("plain_tpot_s", "plain ms", scale=1e3, optional=True),
    Column("tokens_per_s", "tokens/s"),
    Column("plain_tokens_per_s", "plain t/s", optional=True),
    Column("speedup", "speed-up [90 %]", ends=("speedup_lower", "speedup_upper"), decimals=2),
    Column("p_slower", "P(slower)", decimals=2, optional=True),
    Column("bound", "limited by", fold=True, optional=True),
    Column("fits_memory", "fits", fold=True),
)
"""Columns of the printed table. Those that `fold` stand under it where all rows agree."""
DRAFTED = ("tokens_per_cycle", "plain_tpot_s", "plain_tokens_per_s", "speedup", "p_slower", "verify_tokens")
"""Columns that say nothing without a draft."""


def report(
    rows: Rows,
    predictions: Sequence[Prediction],
    *,
    max_rows: int | None = None,
    width: int = WIDTH,
    pays_up_to: str = "",
) -> str:
    """Return the answer, the table, and the lines under it.

    Parameters
    ----------
    rows
        Rows of one or several results.
    predictions
        Predictions behind the rows, in their order.
    max_rows
        Number of rows to print; default: all.
    width
        Columns of the text.
    pays_up_to
        Last batch at which drafting pays, in words.
    """
    baseline = all(row["draft"] == "none" for row in rows)
    columns = [column for column in TABLE_COLUMNS if not (baseline and column.key in DRAFTED)]
    kept, _ = fold(rows, columns)
    varied = [column for column in kept if column in CONFIG_COLUMNS]
    table = text_table(rows[:max_rows], [replace(column, fold=False) for column in _needed(kept)], width=width)
    more = f"... {len(rows) - max_rows} more rows\n" if max_rows is not None and len(rows) > max_rows else ""
    shares = [shares for prediction in predictions for shares in prediction.evidence_shares]
    under = [
        deployment_line(
            rows,
            draft_len=_same(rows, "draft_len"),
            also=_common(rows, columns, kept, {"context_len": "context {}", "bound": "limited by {}"}),
            drafting=_common(rows, columns, kept, {"tokens_per_cycle": "{} tokens a cycle"}),
        ),
        evidence_line(shares, acceptance=rows[-1]["acceptance_evidence"]),
        coverage(predictions),
    ]
    texts = [wrapped(line, width=width) for line in (answer(rows, varied, pays_up_to=pays_up_to), *under)]
    return texts[0] + table + more + "".join(texts[1:])


def _needed(kept: Sequence[Column]) -> list[Column]:
    """Return the columns without those that follow from others: the verified tokens of chains."""
    names = {column.key for column in kept}
    chains = "draft_len" in names and "top_k" not in names
    return [column for column in kept if not (column.key == "verify_tokens" and chains)]


def _same(rows: Rows, key: str) -> int | None:
    """Return the value that all rows have; ``None`` if they differ."""
    values = {row[key] for row in rows}
    return values.pop() if len(values) == 1 else None


def _common(rows: Rows, columns: Sequence[Column], kept: Sequence[Column], words: Mapping[str, str]) -> str:
    """Return the columns of some keys that moved out of the table, in words."""
    moved = [column for column in columns if column.key in words and column not in kept]
    return ", ".join(words[column.key].format(column.cell(rows[0])) for column in moved)


def coverage(predictions: Sequence[Prediction]) -> str:
    """Return what the 90 % intervals of some predictions cover."""
    drafting = [one.config for one in predictions if one.config.draft_len > 0]
    uncertain = any(config.tau_lower < config.tau_upper for config in drafting)
    return interval_coverage(
        predictions[0].engine,
        tp=max(one.deployment.tp for one in predictions),
        acceptance=uncertain if drafting else None,
        load=predictions[0].load is not None,
        static=any(one.wait is not None and one.config.draft_len > 0 for one in predictions),
    )


def point_labels(rows: Rows, *, batch: bool = True) -> list[str]:
    """Return what tells each row apart from the others: batch, context and configuration, as far as they vary.

    Examples
    --------
    >>> rows = [dict.fromkeys(("hardware", "tp", "precision", "draft", "top_k", "context_len"), 1)] * 2
    >>> point_labels([row | {"draft_len": 3, "batch_size": i} for i, row in enumerate(rows)])
    ['batch 0', 'batch 1']
    """
    columns = [*CONFIG_COLUMNS, Column("context_len", "context", fold=True)]
    if batch:
        columns.insert(0, Column("batch_size", "batch", fold=True))
    varied = [column for column in columns if len({row[column.key] for row in rows}) > 1]
    if not varied:
        return [f"batch {rows[0]['batch_size']}" if batch else f"K = {rows[0]['draft_len']}"] * len(rows)
    return [", ".join(f"{column.heading} {column.cell(row)}" for column in varied) for row in rows]
