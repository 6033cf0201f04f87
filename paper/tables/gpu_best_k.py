"""Table ``gpu-best-k``: best draft shape on measured GPUs, measured and predicted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from paper.render.table import EVIDENCE, Column, Table, percent_column
from paper.render.values import percent
from paper.sources.gpu_records import PREDICTIONS, Campaign
from paper.sources.results import Results
from paper.tables.gpu_table import BATCH, CONTEXT, DEVICE, GIVEN_NOTE, each, gpu_table
from scylla_sim.records import Row

FIXED = (3, 5)
"""Draft lengths that a user may set once for all batches."""
PLAIN = "0"
"""Label of autoregressive decoding among the draft lengths."""


def _largest(values: Mapping[str, float]) -> str:
    """Return the key of the largest value."""
    return max(values, key=lambda name: values[name])


def choices(campaign: Campaign) -> list[Row]:
    """Return the best draft shape, or no draft, by batch and context, measured and predicted."""
    situations: dict[tuple[float, float], list[Row]] = {}
    for cycle in campaign.graphed_cycles():
        situations.setdefault((cycle["batch_size"], cycle["context_len"]), []).append(cycle)
    return [
        {"batch": batch, "context": context, **_choice(cycles)} for (batch, context), cycles in situations.items()
    ]


def _choice(cycles: Sequence[Row]) -> Row:
    """Return the best of some draft shapes, and the regret of each prediction and of fixed lengths."""
    measured = {PLAIN: 1.0} | {cycle["drafting"]: cycle["speedup"] for cycle in cycles}
    best = _largest(measured)
    row: Row = {"best": best, "speedup": measured[best]}
    for name in PREDICTIONS:
        predicted: dict[str, Any] = {cycle["drafting"]: cycle.get(f"{name}_speedup") for cycle in cycles}
        if None not in predicted.values():
            chosen = _largest({PLAIN: 1.0} | predicted)
            row |= {f"{name}_best": chosen, f"{name}_regret": 1 - measured[chosen] / measured[best]}
    for length in FIXED:
        if str(length) in measured:
            row[f"always_{length}_regret"] = 1 - measured[str(length)] / measured[best]
    return row


def best_lengths(campaign: Campaign) -> dict[float, list[tuple[float, float]]]:
    """Return (batch, best measured chain length) pairs by context, where length 0 is autoregressive decoding.

    The choices at a context are the lengths that were measured at every batch of it.
    """
    found: dict[float, dict[float, dict[float, float]]] = {}
    for row in campaign.graphed_cycles():
        if row["top_k"] == 1:
            there = found.setdefault(row["context_len"], {}).setdefault(row["batch_size"], {0.0: 1.0})
            there[row["draft_len"]] = row["speedup"]
    out = {}
    for context, batches in sorted(found.items()):
        shared = set.intersection(*map(set, batches.values()))
        out[context] = [
            (batch, max(sorted(shared), key=lambda length: speedups[length]))
            for batch, speedups in sorted(batches.items())
        ]
    return out


def _mean_loss(rows: Sequence[Row], length: int) -> str:
    """Return the mean regret of a fixed draft length in words."""
    regrets = [row[f"always_{length}_regret"] for row in rows if row.get(f"always_{length}_regret") is not None]
    lost = percent(sum(regrets) / len(regrets)) if regrets else "unknown"
    return f"always {length} loses {lost}"


def _regret_notes(campaign: Campaign, rows: Sequence[Row]) -> list[str]:
    """Return how often a prediction finds the best draft shape, and the loss from following it."""
    notes = []
    for name in PREDICTIONS:
        regrets = [row[f"{name}_regret"] for row in rows if row.get(f"{name}_regret") is not None]
        if regrets:
            fixed = ", ".join(_mean_loss(rows, length) for length in FIXED)
            notes.append(
                f"{campaign.gpu}, {name}: the predicted best is the measured best in "
                f"{sum(regret == 0 for regret in regrets)} of {len(regrets)} situations. Following the prediction "
                f"loses {percent(sum(regrets) / len(regrets))} on average; {fixed}."
            )
    return notes


def best_k(results: Results) -> Table:
    """Return the best draft shape by batch and context, and the loss of other choices."""
    found = each(results, "specdecode", choices)
    predicted = [
        column
        for name in PREDICTIONS
        for column in (
            Column(f"{name}_best", f"best by {name}"),
            percent_column(f"{name}_regret", f"regret of {name}"),
        )
    ]
    fixed = [percent_column(f"always_{length}_regret", f"regret of always {length}") for length in FIXED]
    best = (Column("best", "best measured"), Column("speedup", "speed-up of the best", digits=3))
    return gpu_table(
        "gpu-best-k",
        "Best draft length on measured GPUs, measured and predicted, and the loss of a fixed length",
        (DEVICE, BATCH, CONTEXT, *best, *predicted, *fixed, EVIDENCE),
        found,
        [
            "0 is autoregressive decoding, with a speed-up of 1. Regret: loss of speed-up compared with the best "
            "measured shape.",
            GIVEN_NOTE,
            *(note for campaign, _, rows in found for note in _regret_notes(campaign, rows)),
        ],
    )
