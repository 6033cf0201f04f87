"""Throughput lost by the draft length that a prediction chooses, compared with the best measured one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from paper.sources import served_runs
from scylla_sim.checks import FloatArray
from scylla_sim.records import Row

OFF = 0
"""Draft length of plain decoding, whose speed-up is 1."""
FIXED = (3, 5)
"""Draft lengths that are compared as choices for every load."""


@dataclass(frozen=True)
class Ladder:
    """Runs of one series at one batch that differ in their draft length; plain decoding comes first.

    Attributes
    ----------
    source, series, batch
        What the runs share.
    lengths
        Draft lengths, shape (n,); the first one is `OFF`.
    measured, predicted
        Speed-ups, shape (n,).
    """

    source: str
    series: str
    batch: int
    lengths: FloatArray
    measured: FloatArray
    predicted: FloatArray


def ladders(runs: Sequence[Row]) -> list[Ladder]:
    """Return the ladders of chains with stated tokens per cycle and at least two draft lengths."""
    found: dict[tuple[str, str, int], list[Row]] = {}
    for row in runs:
        chain = row["top_k"] == 1 and served_runs.kind(row) in (served_runs.MAIN, served_runs.BLOCK)
        if chain and row["tau_from"] == "given" and row["measured_speedup"] is not None:
            found.setdefault((str(row["source"]), str(row["series"]), int(row["batch"])), []).append(row)
    return [
        _ladder(*key, members) for key, members in found.items() if len({row["draft_len"] for row in members}) > 1
    ]


def _ladder(source: str, series: str, batch: int, members: Sequence[Row]) -> Ladder:
    lengths, measured, predicted = (
        np.concatenate([[first], served_runs.numbers(members, name)])
        for first, name in ((OFF, "draft_len"), (1.0, "measured_speedup"), (1.0, "speedup"))
    )
    return Ladder(source, series, batch, lengths, measured, predicted)


def regret(ladder: Ladder, choice: int) -> float:
    """Return the share of the best measured throughput that a choice loses.

    Examples
    --------
    >>> some = Ladder("a", "b", 1, np.array([0, 3, 5]), np.array([1.0, 2.0, 1.5]), np.array([1.0, 1.7, 1.8]))
    >>> regret(some, followed(some)), regret(some, fixed(some, 3))
    (0.25, 0.0)
    """
    return float(1.0 - ladder.measured[choice] / ladder.measured.max())


def followed(ladder: Ladder) -> int:
    """Return the index of the highest predicted speed-up, plain decoding included."""
    return int(np.argmax(ladder.predicted))


def fixed(ladder: Ladder, length: int) -> int:
    """Return the index of the measured draft length nearest to a fixed one; never plain decoding."""
    return 1 + int(np.argmin(np.abs(ladder.lengths[1:] - length)))


def choices() -> dict[str, Callable[[Ladder], int]]:
    """Return the name of each way to choose, and the choice."""
    always = {f"always_{length}": (lambda ladder, at=length: fixed(ladder, at)) for length in FIXED}
    return {"followed": followed, **always}


def regrets(found: Sequence[Ladder]) -> dict[str, FloatArray]:
    """Return the regrets of every ladder, by the way to choose."""
    return {
        name: np.array([regret(ladder, choose(ladder)) for ladder in found]) for name, choose in choices().items()
    }
