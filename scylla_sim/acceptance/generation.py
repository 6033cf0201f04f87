"""Number of draft-verify cycles in a whole generation: its distribution, quantiles and mean.

A generation of N tokens ends in the cycle that reaches N tokens. The tokens of this cycle beyond N are discarded.
Short generations therefore get fewer than tau tokens per cycle.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from scylla_sim.acceptance.profiles import cycle_distribution
from scylla_sim.checks import FloatArray, fail, in_range, whole

_NEGLIGIBLE = 1e-16
"""Probability at which the tail of a distribution is cut."""

MAX_TOKENS = 100_000
"""Longest generation that a command accepts; it takes seconds."""


def cycles_distribution(acceptance_rate: ArrayLike, num_tokens: int) -> FloatArray:
    """Return the distribution of the number of cycles for ``num_tokens`` tokens, for independent cycles.

    Parameters
    ----------
    acceptance_rate
        One conditional profile, shape (draft_len,). For a tree, use its equivalent chain:
        `scylla_sim.acceptance.trees.depth_survival`, then `scylla_sim.acceptance.profiles.to_conditional`.
    num_tokens
        Tokens to generate, at least 1.

    Returns
    -------
    ndarray
        Shape (largest number of cycles + 1,). Entry m is the probability of exactly m cycles, without the tail
        below 1e-16.

    Examples
    --------
    >>> cycles_distribution([0.5], 2).tolist()
    [0.0, 0.5, 0.5]
    """
    step = cycle_distribution(acceptance_rate)
    if step.ndim != 1:
        raise fail("acceptance_rate", step.shape, "must be one profile")
    wanted = int(whole("num_tokens", num_tokens, 1))
    # unfinished[j]: probability that the cycles so far emitted j tokens in total, with j < num_tokens.
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
    """Return the smallest number of cycles that suffices for ``num_tokens`` tokens with a given probability.

    Examples
    --------
    >>> [cycles_quantile([0.8, 0.7, 0.6], 100, q) for q in (0.5, 0.99)]
    [37, 44]
    """
    wanted = float(in_range("probability", probability, 0, 1))
    within = np.cumsum(cycles_distribution(acceptance_rate, num_tokens))
    return int(np.searchsorted(within, wanted - 1e-12))


def generation_tokens_per_cycle(acceptance_rate: ArrayLike, num_tokens: int) -> float:
    """Return ``num_tokens`` divided by the mean number of cycles.

    The result is below tau, because the last cycle discards tokens.

    Examples
    --------
    >>> [round(generation_tokens_per_cycle([0.8, 0.7, 0.6], n), 3) for n in (1, 10, 1000)]
    [1.0, 2.433, 2.693]
    """
    distribution = cycles_distribution(acceptance_rate, num_tokens)
    return num_tokens / float(distribution @ np.arange(distribution.size))


def summary(acceptance_rate: ArrayLike, num_tokens: int) -> dict[str, float]:
    """Return the median and the 99th percentile of the number of cycles, and the tokens per cycle.

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
