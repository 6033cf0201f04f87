"""The answer of a prediction in one or two sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from scylla_sim.prediction.verdict import BASELINE
from scylla_sim.text.digits import interval, number
from scylla_sim.text.tables import Column

Rows = Sequence[Mapping[str, Any]]


def answer(rows: Rows, varied: Sequence[Column], *, pays_up_to: str = "") -> str:
    """Return how fast drafting is at the first and at the last batch, or which configuration is the fastest there.

    Parameters
    ----------
    rows
        Rows of a `Result`, or of several.
    varied
        Columns of the configuration in which rows differ, batch and context excluded.
    pays_up_to
        Last batch at which drafting pays, in words; empty where it is not known.

    Examples
    --------
    >>> row = {"draft_len": 3, "top_k": 1, "verify_tokens": 4, "batch_size": 1, "context_len": 1024, "verdict": ""}
    >>> fast = row | {"speedup": 1.6549, "speedup_lower": 1.4, "speedup_upper": 1.85}
    >>> answer([fast], [])
    'Drafting 3 tokens is 1.65 [1.40-1.85] times faster at batch 1.'
    """
    points = list(dict.fromkeys((row["batch_size"], row["context_len"]) for row in rows))
    several = len({context for _, context in points}) > 1
    at = {(b, s): f"batch {number(b)}" + (f", context {number(s)}" if several else "") for b, s in points}
    first, last = points[0], points[-1]
    if varied:
        return " ".join(_fastest(rows, varied, point, at[point]) for point in dict.fromkeys((first, last)))
    return _one(rows, points, at, pays_up_to) + _memory(rows, at)


def _one(rows: Rows, points: Sequence[tuple[int, int]], at: Mapping[tuple[int, int], str], pays_up_to: str) -> str:
    """Return the answer for one configuration."""
    first, last = points[0], points[-1]
    ends = [next(row for row in rows if (row["batch_size"], row["context_len"]) == p) for p in (first, last)]
    if ends[0]["verdict"] == BASELINE:
        return _plain(ends[: len(points)], [at[first], at[last]])
    text = f"{_drafting(ends[0])} is {_times(ends[0])} at {at[first]}"
    if first == last:
        return f"{text}."
    pays = f", pays up to {pays_up_to}" if pays_up_to else ""
    return f"{text}{pays}, and is {_times(ends[1])} at {at[last]}."


def _memory(rows: Rows, at: Mapping[tuple[int, int], str]) -> str:
    """Return a sentence on what may not fit in memory; empty if everything fits."""
    over = [at[row["batch_size"], row["context_len"]] for row in rows if not row.get("fits_memory", True)]
    if not over:
        return ""
    where = "any of these batches" if len(over) == len(rows) > 1 else f"{over[0]}{' and more' if over[1:] else ''}"
    return f" It may not fit in memory at {where}."


def _drafting(row: Mapping[str, Any]) -> str:
    """Return what a configuration does, as the subject of a sentence."""
    if row["draft_len"] == 0:
        return "A draft that drafts nothing"
    if row["top_k"] > 1:
        return f"A tree of {row['verify_tokens']} tokens"
    return f"Drafting {row['draft_len']} token{'s' if row['draft_len'] > 1 else ''}"


def _times(row: Mapping[str, Any]) -> str:
    """Return the speed-up of a row in words; a loss is named as a share of plain decoding."""
    text = interval(row["speedup"], row["speedup_lower"], row["speedup_upper"], decimals=2)
    return f"{text} times faster" if row["speedup"] > 1.0 else f"{text} times as fast as plain decoding"


def _plain(rows: Rows, at: Sequence[str]) -> str:
    """Return the time per token of plain decoding."""
    texts = [f"{number(1e3 * row['tpot_s'])} ms a token at {where}" for row, where in zip(rows, at)]
    return f"Plain decoding takes {' and '.join(texts)}."


def _fastest(rows: Rows, varied: Sequence[Column], point: tuple[int, int], at: str) -> str:
    """Return the configuration with the most tokens per second at one batch and context."""
    here = [row for row in rows if (row["batch_size"], row["context_len"]) == point]
    fitting = [row for row in here if row.get("fits_memory", True)]
    if not fitting:
        return f"Nothing is sure to fit in memory at {at}."
    best = max(fitting, key=lambda row: float(row["tokens_per_s"]))
    named = ", ".join(f"{column.heading} {column.cell(best)}" for column in varied)
    rate = f"{number(best['tokens_per_s'])} tokens/s"
    speed = "" if best["verdict"] == BASELINE else f", {_times(best)}"
    return f"Most tokens/s at {at}: {named} ({rate}{speed})."
