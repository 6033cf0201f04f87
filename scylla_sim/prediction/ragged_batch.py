"""Batches that nothing refills: the wait for the sequences that take most cycles.

Plain decoding ends equally long answers together. With speculation, sequences need different numbers of cycles:
each cycle accepts by chance, and prompts differ in their rates. Later cycles have fewer sequences and take less
time, but the batch lasts until its slowest sequence ends.

The value holds chance alone, which follows from the acceptance and the length of the answers. The interval ends
where prompts differ as they do one by one.

Source of `PROMPT_SPREAD`: pramodjella/speculative-decoding-draft-length-audit, results/eagle3_multik_llama8b.json
at commit bcac2584, EAGLE-3 on Llama-3.1-8B, draft length 3, 30 prompts of 128 tokens per task, one by one. The
number of cycles has coefficients of variation of 0.18 (humaneval), 0.13 (gsm8k) and 0.19 (mt_bench). Chance alone
gives 0.06 to 0.07. The rest is a standard deviation of 0.43, 0.28 and 0.54 in log odds of one rate for all
positions. With it as the value, batches of 4 and 8 of the same source err by some per cent, but speed-ups at 32
to 64 are 5 to 18 % too low. So it is an end of the interval only. This choice saw these runs.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike

from scylla_sim.acceptance import profiles
from scylla_sim.acceptance.generation import cycles_distribution
from scylla_sim.acceptance.positions import PositionLaw, law_of
from scylla_sim.acceptance.speculative_config import SpeculativeConfig
from scylla_sim.checks import FloatArray
from scylla_sim.stats.estimate import Estimate, exact

PROMPT_SPREAD = Estimate.of(0.0, 0.0, 0.42)
"""Standard deviation between prompts of one task of the log odds of acceptance at position 1: none, and the mean
of three tasks."""
PROMPT_SPREAD_ENDS = (PROMPT_SPREAD.value, PROMPT_SPREAD.lower, PROMPT_SPREAD.upper)
NODES = 9
"""Prompts of different rates in the quadrature over `PROMPT_SPREAD`."""
NEGLIGIBLE = 1e-12
"""Share of the sequences below which none runs."""
LARGEST_LOG_ODDS, STEPS = 20.0, 50
"""Range and steps of the bisection for the rate of a mean prompt."""
MAX_OUTPUT_LEN = 4096
"""Longest answers of a batch without refill: the time of this computation grows with their square."""


@lru_cache(maxsize=64)  # the same for all batches and contexts of a grid
def unfinished(
    tokens_per_cycle: float, law: PositionLaw, *, draft_len: int, output_len: int, spread: float
) -> FloatArray:
    """Return the share of sequences that still run after each number of cycles, from 0 on.

    Parameters
    ----------
    tokens_per_cycle
        Mean over all cycles of all sequences.
    spread
        Standard deviation between prompts; see `PROMPT_SPREAD`.

    Examples
    --------
    >>> unfinished(1.5, law_of("eagle3"), draft_len=1, output_len=3, spread=0.0).round(2).tolist()
    [1.0, 1.0, 0.25, 0.0]
    """
    at, weights = np.polynomial.hermite_e.hermegauss(NODES if spread > 0.0 else 1)
    weights = weights / weights.sum()
    first = _first_rates(tokens_per_cycle, law, draft_len=draft_len, factors=np.exp(spread * at), weights=weights)
    left = np.zeros(output_len + 1)
    for profile, weight in zip(law.profile(first, draft_len), weights.tolist()):
        ended = np.cumsum(cycles_distribution(profile, output_len))
        left += weight
        left[: ended.size] -= weight * ended
        left[ended.size :] -= weight
    shares: FloatArray = np.where(left > NEGLIGIBLE, np.minimum(left, 1.0), 0.0)
    return shares[: int(np.flatnonzero(shares).max()) + 2]


def _first_rates(
    tokens_per_cycle: float, law: PositionLaw, *, draft_len: int, factors: FloatArray, weights: FloatArray
) -> FloatArray:
    """Return rates at position 1 whose odds have given ratios, and whose mean number of cycles is that of tau."""
    low, high = -LARGEST_LOG_ODDS, LARGEST_LOG_ODDS
    rates = np.zeros_like(factors)
    for _ in range(STEPS):
        middle = 0.5 * (low + high)
        odds = np.exp(middle) * factors
        rates = odds / (1.0 + odds)
        cycles = float((weights / profiles.tokens_per_cycle(law.profile(rates, draft_len))).sum())
        low, high = (middle, high) if cycles > 1.0 / tokens_per_cycle else (low, middle)
    return rates


def batch_seconds(shares: FloatArray, *, batch: ArrayLike, sizes: FloatArray, cycle_s: FloatArray) -> FloatArray:
    """Return the mean seconds of batches until their last sequence ends.

    Parameters
    ----------
    shares
        Share of the sequences that run in each cycle; see `unfinished`.
    batch
        Sequences of each batch, shape (batches,) or a number.
    sizes, cycle_s
        Numbers of running sequences in ascending order, and the seconds of a cycle with them.

    Returns
    -------
    ndarray
        Shape of ``batch``.

    Examples
    --------
    >>> cycles = {"sizes": np.array([1, 2]), "cycle_s": np.array([1.0, 2.0])}
    >>> float(batch_seconds(np.array([1.0, 1.0, 0.5]), batch=2, **cycles))
    5.0
    """
    share, b = shares[shares > NEGLIGIBLE], np.asarray(batch, dtype=np.float64)[..., None]
    some_run: FloatArray = -np.expm1(b * np.log1p(-np.minimum(share, 1.0 - NEGLIGIBLE)))
    found: FloatArray = (some_run * np.interp(b * share / some_run, sizes, cycle_s)).sum(axis=-1)
    return found


def sizes_up_to(batch: float) -> FloatArray:
    """Return the numbers of running sequences whose cycles are predicted: powers of two up to a batch or beyond it.

    They do not depend on the other batches of a grid.

    Examples
    --------
    >>> sizes_up_to(24).tolist()
    [1.0, 2.0, 4.0, 8.0, 16.0, 32.0]
    """
    return np.asarray(2.0 ** np.arange(int(np.ceil(np.log2(batch))) + 1), dtype=np.float64)


def wait(
    config: SpeculativeConfig, *, output_len: int, batch: FloatArray, sizes: FloatArray, cycle_s: FloatArray
) -> Estimate:
    """Return the seconds of batches without refill, relative to those at their mean number of cycles and full size.

    Parameters
    ----------
    config
        Draft with its tokens per cycle; without drafted tokens, nobody waits.
    output_len
        Tokens of every answer.
    batch
        Sequences of each batch, shape (batches,).
    sizes, cycle_s
        Numbers of running sequences from `sizes_up_to`, and the seconds of a cycle with them.

    Examples
    --------
    >>> from scylla_sim.specs import catalog
    >>> config = SpeculativeConfig(catalog.draft("eagle3"), 3, 1, 4, 2.0, 2.0, 2.0)
    >>> sizes = sizes_up_to(8)
    >>> found = wait(config, output_len=64, batch=np.array([1.0, 8.0]), sizes=sizes, cycle_s=np.ones(sizes.size))
    >>> found.value.round(2).tolist(), found.upper.round(2).tolist()
    ([1.01, 1.15], [1.01, 1.27])
    """
    if config.draft_len == 0:
        return exact(np.ones_like(batch))
    tau, law = config.tokens_per_cycle, law_of(config.draft.method_name)
    mean_s = output_len / tau * np.interp(batch, sizes, cycle_s)

    def factor(spread: float) -> FloatArray:
        shares = unfinished(tau, law, draft_len=config.draft_len, output_len=output_len, spread=spread)
        return batch_seconds(shares, batch=batch, sizes=sizes, cycle_s=cycle_s) / mean_s

    ends = {spread: factor(spread) for spread in {float(end) for end in PROMPT_SPREAD_ENDS}}
    value, *others = (ends[float(end)] for end in PROMPT_SPREAD_ENDS)
    each = np.stack([value, *others])  # a batch of one waits for nobody, and its ends differ in the last digits
    return Estimate(value, each.min(axis=0), each.max(axis=0))
