"""Where speculation ends, and where its best drafting changes: one number and one list of ranges over batches."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scylla_sim.acceptance.speculative_config import SpeculativeConfig
from scylla_sim.checks import FloatArray
from scylla_sim.stats.estimate import Estimate

WORTH = 0.02
"""A schedule changes its drafting only for a gain of this share over a doubling of the batch, or as much elsewhere:
the best length hops with every tile that fills, by less than the intervals of the kernels that say so."""


@dataclass(frozen=True)
class Crossover:
    """The first batch from which plain decoding is at least as fast at every batch up to ``searched_to``.

    Attributes
    ----------
    drafting
        One candidate, or ``None`` for the best of all at each batch.
    batch, lower, upper
        The crossover of the speed-up and of both ends of its interval; ``None`` where the speed-up (or that end) is
        above 1 at the last batch searched.
    searched_to
        The last batch at which target, draft and their caches fit in memory, or ``limit`` says otherwise.
    limit
        What ended the search: ``memory`` or ``max_batch``.
    """

    context_len: int
    drafting: SpeculativeConfig | None
    batch: int | None
    lower: int | None
    upper: int | None
    searched_to: int
    limit: str


@dataclass(frozen=True)
class Span:
    """Batches ``first`` to ``last`` with one drafting."""

    first: int
    last: int
    drafting: SpeculativeConfig


def crossover_batch(speedup: FloatArray) -> int | None:
    """First batch from which a speed-up never exceeds 1 again; ``speedup[0]`` is that of batch 1.

    Examples
    --------
    >>> crossover_batch(np.array([1.4, 0.9, 1.1, 0.8])), crossover_batch(np.array([0.9, 0.8]))
    (4, 1)
    >>> crossover_batch(np.array([0.8, 1.2])) is None
    True
    """
    pays = np.flatnonzero(speedup > 1.0)
    if speedup.size == 0 or (pays.size and pays[-1] == speedup.size - 1):
        return None
    return int(pays[-1]) + 2 if pays.size else 1


def crossover(
    context: int, drafting: SpeculativeConfig | None, speedup: Estimate, fits: NDArray[np.bool_]
) -> Crossover:
    """Return the crossover of one way of drafting from its speed-up at every batch from 1 on."""
    size = int(fits.sum())  # a larger batch never needs less memory
    batch, lower, upper = (crossover_batch(end[:size]) for end in (speedup.value, speedup.lower, speedup.upper))
    return Crossover(context, drafting, batch, lower, upper, size, "max_batch" if size == fits.size else "memory")


def spans_of(score: FloatArray, worth: float = WORTH) -> list[tuple[int, int, int]]:
    """Runs of batches with one candidate each: the highest total score, less what each change must be worth.

    Every batch counts by its share of a logarithmic scale, since loads differ by factors; a change costs ``worth``
    over one doubling. Solved exactly, by dynamic programming over the batches.

    Parameters
    ----------
    score
        Logarithm of throughput, shape (candidates, batches from 1 on); minus infinity where one does not fit.

    Returns
    -------
    First batch, last batch and candidate of each run.

    Examples
    --------
    >>> spans_of(np.log([[2.0, 2.0, 1.0, 1.0], [1.0, 1.0, 1.5, 2.0]]))
    [(1, 2, 0), (3, 4, 1)]
    >>> spans_of(np.log([[2.0, 2.0, 1.999, 2.0], [1.0, 1.0, 2.0, 1.0]]))
    [(1, 4, 0)]
    """
    candidates, size = score.shape
    weight = np.log1p(1.0 / np.arange(1, size + 1))
    price = worth * np.log(2.0)
    total = np.zeros(candidates)
    came_from = np.empty((size, candidates), dtype=np.int64)
    for b in range(size):
        leader = int(np.argmax(total))
        stay = total >= total[leader] - price
        came_from[b] = np.where(stay, np.arange(candidates), leader)
        total = np.where(stay, total, total[leader] - price) + weight[b] * score[:, b]
    chosen = np.empty(size, dtype=np.int64)
    at = int(np.argmax(total))
    for b in range(size - 1, -1, -1):
        chosen[b] = at
        at = int(came_from[b, at])
    starts = np.flatnonzero(np.diff(chosen, prepend=-1))
    return [
        (int(start) + 1, int(end), int(chosen[start])) for start, end in zip(starts, [*starts[1:].tolist(), size])
    ]
