"""The batch from which speculation no longer helps, and the ranges of batches with one draft configuration each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scylla_sim.acceptance.speculative_config import SpeculativeConfig
from scylla_sim.checks import FloatArray
from scylla_sim.stats.estimate import Estimate

MIN_SWITCH_GAIN = 0.02
"""Minimum relative gain, per doubling of the batch, for switching the draft configuration.

The best draft length changes with every GEMM tile that fills. Such gains are smaller than the model error."""


@dataclass(frozen=True)
class Crossover:
    """First batch from which the autoregressive baseline is at least as fast, up to the last batch searched.

    Attributes
    ----------
    context_len
        Tokens in the KV cache of each sequence.
    config
        The candidate, or ``None`` for the best candidate at each batch.
    batch, lower, upper
        Crossover of the speed-up, and of the lower and upper end of its interval. ``None`` if the speed-up (or that
        end) is above 1 at the last batch searched.
    searched_to
        Last batch searched.
    limit
        Reason for the end of the search: ``memory`` when larger batches do not fit, else ``max_batch``, or
        ``max_num_seqs`` if the engine runs no more sequences.
    """

    context_len: int
    config: SpeculativeConfig | None
    batch: int | None
    lower: int | None
    upper: int | None
    searched_to: int
    limit: str


@dataclass(frozen=True)
class Span:
    """Range of batches, ``first`` to ``last``, with one draft configuration."""

    first: int
    last: int
    config: SpeculativeConfig


def crossover_batch(speedup: FloatArray) -> int | None:
    """Return the first batch from which the speed-up never exceeds 1 again.

    Parameters
    ----------
    speedup
        Speed-up at the batches 1, 2, 3, ..., shape (batches,).

    Returns
    -------
    int or None
        ``None`` if the speed-up is above 1 at the last batch, or if there is no batch.

    Examples
    --------
    >>> crossover_batch(np.array([1.4, 0.9, 1.1, 0.8])), crossover_batch(np.array([0.9, 0.8]))
    (4, 1)
    >>> crossover_batch(np.array([0.8, 1.2])) is None
    True
    """
    faster = np.flatnonzero(speedup > 1.0)
    if speedup.size == 0 or (faster.size and faster[-1] == speedup.size - 1):
        return None
    return int(faster[-1]) + 2 if faster.size else 1


def crossover(
    context: int,
    config: SpeculativeConfig | None,
    speedup: Estimate,
    fits: NDArray[np.bool_],
    *,
    beyond: str = "max_batch",
) -> Crossover:
    """Return the crossover of one candidate.

    Parameters
    ----------
    context
        Tokens in the KV cache of each sequence.
    config
        The candidate, or ``None`` for the best of all.
    speedup
        Speed-up at the batches 1, 2, 3, ..., shape (batches,).
    fits
        Whether each batch fits in memory, shape (batches,).
    beyond
        Reason for the end of the search if all batches fit.
    """
    size = int(fits.sum())  # a larger batch never needs less memory
    batch, lower, upper = (crossover_batch(end[:size]) for end in (speedup.value, speedup.lower, speedup.upper))
    return Crossover(context, config, batch, lower, upper, size, beyond if size == fits.size else "memory")


def spans_of(score: FloatArray, min_switch_gain: float = MIN_SWITCH_GAIN) -> list[tuple[int, int, int]]:
    """Return ranges of batches with one candidate each that maximize the total score minus the cost of switches.

    The weight of a batch is its width on a logarithmic scale, because loads differ by factors. A switch costs
    ``min_switch_gain`` over one doubling of the batch. Dynamic programming over the batches finds the optimum.

    Parameters
    ----------
    score
        Logarithm of throughput, shape (candidates, batches), for the batches 1, 2, 3, ...; minus infinity where a
        candidate does not fit in memory.
    min_switch_gain
        Minimum relative gain, per doubling of the batch, for a switch.

    Returns
    -------
    list of (first batch, last batch, candidate)

    Examples
    --------
    >>> spans_of(np.log([[2.0, 2.0, 1.0, 1.0], [1.0, 1.0, 1.5, 2.0]]))
    [(1, 2, 0), (3, 4, 1)]
    >>> spans_of(np.log([[2.0, 2.0, 1.999, 2.0], [1.0, 1.0, 2.0, 1.0]]))
    [(1, 4, 0)]
    """
    candidates, size = score.shape
    weight = np.log1p(1.0 / np.arange(1, size + 1))
    switch_cost = min_switch_gain * np.log(2.0)
    total = np.zeros(candidates)
    came_from = np.empty((size, candidates), dtype=np.int64)
    for b in range(size):
        leader = int(np.argmax(total))
        stay = total >= total[leader] - switch_cost
        came_from[b] = np.where(stay, np.arange(candidates), leader)
        total = np.where(stay, total, total[leader] - switch_cost) + weight[b] * score[:, b]
    chosen = np.empty(size, dtype=np.int64)
    at = int(np.argmax(total))
    for b in range(size - 1, -1, -1):
        chosen[b] = at
        at = int(came_from[b, at])
    starts = np.flatnonzero(np.diff(chosen, prepend=-1))
    return [
        (int(start) + 1, int(end), int(chosen[start])) for start, end in zip(starts, [*starts[1:].tolist(), size])
    ]


def spans_over(
    candidates: Sequence[SpeculativeConfig], scores: Sequence[FloatArray], drafted: Sequence[int]
) -> list[Span]:
    """Return the best candidate by batch for a server that loads its draft, or the baseline if that is better.

    Parameters
    ----------
    candidates
        The baseline first, the draft that drafts nothing last.
    scores
        For each context, the logarithm of throughput, shape (candidates, batches); minus infinity where a candidate
        does not fit in memory. Only contexts count at which all of ``drafted`` fit.
    drafted
        Indices of the candidates that draft tokens.
    """
    allowed = [len(candidates) - 1, *drafted]
    stacked = np.stack(scores)
    fits = np.logical_and.reduce(np.isfinite(stacked[:, allowed]), axis=1)
    last = int(np.logical_or.reduce(fits).sum())
    if last == 0 or not drafted:
        return []
    counted = fits[:, None, :last]
    mean = np.where(counted, stacked[..., :last], 0.0).sum(axis=0) / fits[:, :last].sum(axis=0)
    found = [(first, end, allowed[chosen]) for first, end, chosen in spans_of(mean[allowed])]
    weight = np.log1p(1.0 / np.arange(1, last + 1))
    total = sum(float(weight[first - 1 : end] @ mean[chosen, first - 1 : end]) for first, end, chosen in found)
    if total <= float(weight @ mean[0]):
        return [Span(1, last, candidates[0])]
    return [Span(first, end, candidates[chosen]) for first, end, chosen in found]
