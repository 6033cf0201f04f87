"""Draft-verify cycles that a whole generation takes: the distribution behind the mean tau.

A generation of N tokens ends in the cycle that reaches N; what that cycle emits beyond N is thrown away, so a short
answer is worth less than tau tokens a cycle.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from scylla_sim.acceptance.profiles import cycle_distribution
from scylla_sim.checks import FloatArray, fail, in_range, whole

_NEGLIGIBLE = 1e-16
MAX_TOKENS = 100_000
"""Longest generation that a command works out; the distribution takes seconds there."""


def cycles_distribution(acceptance_rate: ArrayLike, num_tokens: int) -> FloatArray:
    """Exact distribution of the cycles needed for ``num_tokens`` tokens, cycles independent.

    Parameters
    ----------
    acceptance_rate
        One conditional profile, shape (draft_len,); of a tree use its equivalent chain
        (`scylla_sim.acceptance.trees.depth_survival`, `scylla_sim.acceptance.profiles.to_conditional`).
    num_tokens
        At least 1.

    Returns
    -------
    Shape (most cycles + 1,): entry m is the probability of exactly m cycles; the tail below 1e-16 is cut.

    Examples
    --------
    >>> cycles_distribution([0.5], 2).tolist()
    [0.0, 0.5, 0.5]
    """
    step = cycle_distribution(acceptance_rate)
    if step.ndim != 1:
        raise fail("acceptance_rate", step.shape, "must be one profile")
    wanted = int(whole("num_tokens", num_tokens, 1))
    # unfinished[j]: probability that the cycles so far emitted j < num_tokens tokens in total.
    unfinished = np.zeros(wanted)
    unfinished[0] = 1.0
    remaining = [1.0]
    for _ in range(wanted):
        unfinished = np.convolve(unfinished, np.concatenate([[0.0], step]))[:wanted]
        remaining.append(float(unfinished.sum()))
        if remaining[-1] < _NEGLIGIBLE:
            break
    left = np.array([1.0, *remaining])
    return np.asarray(np.maximum(left[:-1] - left[1:], 0.0))


def cycles_quantile(acceptance_rate: ArrayLike, num_tokens: int, probability: float) -> int:
    """Smallest number of cycles within which ``num_tokens`` tokens are out with the given probability.

    Examples
    --------
    >>> [cycles_quantile([0.8, 0.7, 0.6], 100, q) for q in (0.5, 0.99)]
    [37, 44]
    """
    wanted = float(in_range("probability", probability, 0, 1))
    within = np.cumsum(cycles_distribution(acceptance_rate, num_tokens))
    return int(np.searchsorted(within, wanted - 1e-12))


def generation_tokens_per_cycle(acceptance_rate: ArrayLike, num_tokens: int) -> float:
    """``num_tokens`` over the mean number of cycles: tau less what the last cycle throws away.

    Examples
    --------
    >>> [round(generation_tokens_per_cycle([0.8, 0.7, 0.6], n), 3) for n in (1, 10, 1000)]
    [1.0, 2.433, 2.693]
    """
    distribution = cycles_distribution(acceptance_rate, num_tokens)
    return num_tokens / float(distribution @ np.arange(distribution.size))


def summary(acceptance_rate: ArrayLike, num_tokens: int) -> dict[str, float]:
    """Median and 99th percentile of the cycles of a generation, and what a cycle of it is worth.

    Examples
    --------
    >>> summary([0.5], 2)["generation_cycles_p99"]
    2
    """
    return {
        "generation_tokens": num_tokens,
        "generation_cycles_p50": cycles_quantile(acceptance_rate, num_tokens, 0.5),
        "generation_cycles_p99": cycles_quantile(acceptance_rate, num_tokens, 0.99),
        "generation_tokens_per_cycle": generation_tokens_per_cycle(acceptance_rate, num_tokens),
    }
