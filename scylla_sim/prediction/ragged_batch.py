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

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from scylla_sim.acceptance import profiles
from scylla_sim.acceptance.generation import cycles_distribution
from scylla_sim.acceptance.positions import PositionLaw, law_of
from scylla_sim.checks import FloatArray
from scylla_sim.prediction.scenario import Scenario
from scylla_sim.stats.estimate import Estimate

PROMPT_SPREAD = Estimate.of(0.0, 0.0, 0.42)
"""Standard deviation between prompts of one task of the log odds of acceptance at position 1: none, and the mean
of three tasks."""
NODES = 9
"""Prompts of different rates in the quadrature over `PROMPT_SPREAD`."""
NEGLIGIBLE = 1e-12
"""Share of the sequences below which none runs."""
LARGEST_LOG_ODDS, STEPS = 20.0, 50
"""Range and steps of the bisection for the rate of a mean prompt."""


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
    at, weights = np.polynomial.hermite_e.hermegauss(NODES)
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


def batch_seconds(shares: FloatArray, *, batch: int, sizes: Sequence[int], cycle_s: FloatArray) -> float:
    """Return the mean seconds of a batch until its last sequence ends.

    Parameters
    ----------
    shares
        Share of the sequences that run in each cycle; see `unfinished`.
    sizes, cycle_s
        Numbers of running sequences in ascending order, and the seconds of a cycle with them.

    Examples
    --------
    >>> batch_seconds(np.array([1.0, 1.0, 0.5]), batch=2, sizes=[1, 2], cycle_s=np.array([1.0, 2.0]))
    5.0
    """
    share = shares[shares > NEGLIGIBLE]
    some_run: FloatArray = -np.expm1(batch * np.log1p(-np.minimum(share, 1.0 - NEGLIGIBLE)))
    seconds = np.interp(batch * share / some_run, sizes, cycle_s)
    return float((some_run * seconds).sum())


def slowdown(served: Scenario, tokens_per_cycle: float, *, output_len: int) -> Estimate:
    """Return the seconds of a batch without refill, relative to those at its mean number of cycles and full size.

    Parameters
    ----------
    served
        Scenario with a draft and one batch.
    output_len
        Tokens of every answer.
    """
    batch = int(np.max(served.batch))
    sizes = sorted({min(2**at, batch) for at in range(batch.bit_length() + 1)})
    (out,) = replace(served, batch=sizes).predict().predictions
    cycle_s = out.cycle_s.reshape(-1)
    law, draft_len = law_of(out.config.draft.method_name), out.config.draft_len

    def factor(spread: float) -> float:
        shares = unfinished(tokens_per_cycle, law, draft_len=draft_len, output_len=output_len, spread=spread)
        seconds = batch_seconds(shares, batch=batch, sizes=sizes, cycle_s=cycle_s)
        return seconds / (output_len / tokens_per_cycle * float(cycle_s[-1]))

    spreads = (PROMPT_SPREAD.value, PROMPT_SPREAD.lower, PROMPT_SPREAD.upper)
    return Estimate.of(*(factor(float(spread)) for spread in spreads))


def slowed(rate: Estimate, by: Estimate) -> Estimate:
    """Return a throughput or a speed-up of a batch that takes longer by an independent factor.

    Examples
    --------
    >>> float(slowed(Estimate.of(2.0, 1.8, 2.2), Estimate.of(1.25, 1.25, 1.25)).value)
    1.6
    """
    value = rate.value / by.value
    down = np.hypot(np.log(rate.value / rate.lower), np.log(by.upper / by.value))
    up = np.hypot(np.log(rate.upper / rate.value), np.log(by.value / by.lower))
    return Estimate(value, value * np.exp(-down), value * np.exp(up))
