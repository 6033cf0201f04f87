"""The fastest draft configuration at each batch and context, and the others that may be the fastest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scylla_sim.acceptance.speculative_config import SpeculativeConfig
from scylla_sim.checks import FloatArray
from scylla_sim.prediction.cycle import Cycle
from scylla_sim.prediction.throughput import Prediction


@dataclass(frozen=True)
class Choice:
    """Fastest candidate at one batch and context.

    Attributes
    ----------
    config
        Configuration of the fastest candidate.
    tpot_s
        Seconds per output token of one sequence.
    tokens_per_s, plain_tokens_per_s
        Throughput of all sequences with the choice, and with the autoregressive baseline.
    speedup, speedup_lower, speedup_upper
        Speed-up over the baseline, with its 90 % interval; 1 where the baseline is the choice.
    p_slower
        Probability that the speed-up is below 1; 0 where the baseline is the choice.
    next_best, lead
        Second fastest candidate, and the relative lead of the choice over it.
    may_be_best
        The choice, and every candidate whose throughput relative to the choice has an interval that reaches above
        1. Errors that candidates share cancel, see `scylla_sim.prediction.uncertainty`.
    loss_at_most
        Largest relative gain of another candidate over the choice, at the upper end of those intervals.
    gain_over_fixed
        Relative gain over the one configuration that is best for all batches and contexts (`Schedule.fixed`);
        ``None`` where that does not fit in memory, and the choice does.
    bound
        Cost that dominates the cycle: memory, compute, communication or overhead.
    fits_memory
        Whether target, draft and caches fit in memory.
    draft_fits
        Whether a candidate that drafts fits in memory; if not, the baseline is the choice for that reason.
    evidence, evidence_shares
        Level of evidence of the weakest large part of a cycle, and the share of the cycle at each level.
    prefill_per_token_s
        Seconds of prefills per output token of a served load; 0 for decoding only.
    prefill_share, plain_prefill_share
        Their share of the time, with the choice and with the baseline.
    batch_wait
        Wait for the slowest sequence of a static batch; 1 if the batch is refilled.
    """

    batch_size: int
    context_len: int
    config: SpeculativeConfig
    tpot_s: float
    tokens_per_s: float
    plain_tokens_per_s: float
    speedup: float
    speedup_lower: float
    speedup_upper: float
    p_slower: float
    next_best: SpeculativeConfig | None
    lead: float
    may_be_best: tuple[SpeculativeConfig, ...]
    loss_at_most: float
    gain_over_fixed: float | None
    bound: str
    fits_memory: bool
    draft_fits: bool
    evidence: str
    evidence_shares: Mapping[str, float]
    prefill_per_token_s: float
    prefill_share: float
    plain_prefill_share: float
    batch_wait: float


def choices_of(
    candidates: Sequence[SpeculativeConfig],
    found: Sequence[Prediction],
    rate: FloatArray,
    *,
    fits: NDArray[np.bool_],
    fixed: int | None,
) -> list[Choice]:
    """Return the fastest candidate at every point of a grid of batch and context.

    Parameters
    ----------
    candidates
        The configurations, with the baseline first.
    found
        Their predictions on the grid.
    rate, fits
        Throughput, and whether a candidate fits in memory, shape (candidates, batches, contexts).
    fixed
        Index of the best configuration for the whole grid; ``None`` if there is none.
    """
    allowed = np.where(fits | ~fits.any(axis=0), rate, -np.inf)
    order = np.argsort(-allowed, axis=0, kind="stable")
    ratios = np.where(np.isfinite(allowed), _upper_ratios(found, order[0]), 0.0)
    bounds, levels, shares = (
        [np.array(values, dtype=object).reshape(out.batch.shape) for out, values in zip(found, of_each)]
        for of_each in zip(*((out.bound(), out.evidence, out.evidence_shares) for out in found))
    )
    choices = []
    for at in np.ndindex(rate.shape[1:]):
        j, *others = order[(slice(None), *at)].tolist()
        best, gains = float(rate[(j, *at)]), ratios[(slice(None), *at)]
        runner_up = next((i for i in others[:1] if np.isfinite(allowed[(i, *at)])), None)
        may_be_best = [i for i in range(len(found)) if i == j or gains[i] > 1.0]
        choices.append(
            Choice(
                **_at(found[j], at),
                config=candidates[j],
                tokens_per_s=best,
                next_best=None if runner_up is None else candidates[runner_up],
                lead=0.0 if runner_up is None else best / float(rate[(runner_up, *at)]) - 1.0,
                may_be_best=tuple(candidates[i] for i in may_be_best),
                loss_at_most=max(float(gains.max()) - 1.0, 0.0),
                gain_over_fixed=_gain(best, fixed, rate[(slice(None), *at)], allowed[(slice(None), *at)]),
                bound=str(bounds[j][at]),
                fits_memory=bool(fits[(j, *at)]),
                draft_fits=bool(fits[(slice(1, None), *at)].any()),
                evidence=str(levels[j][at]),
                evidence_shares=shares[j][at],
            )
        )
    return choices


def _gain(best: float, fixed: int | None, rate: FloatArray, allowed: FloatArray) -> float | None:
    """Return the relative gain over the fixed configuration; ``None`` if only that does not fit in memory."""
    if fixed is None:
        return 0.0
    return best / float(rate[fixed]) - 1.0 if np.isfinite(allowed[fixed]) else None


def _upper_ratios(found: Sequence[Prediction], best: NDArray[np.int64]) -> FloatArray:
    """Return the upper end of the throughput ratio of each candidate to the best one, shape as ``rate``.

    ``best`` holds the index of the best candidate, shape (batches, contexts).
    """
    upper = np.ones((len(found), *best.shape))
    for j in np.unique(best).tolist():
        here = best == j
        for i, out in enumerate(found):
            if i != j:
                upper[i][here] = np.broadcast_to(out.over(found[j]).upper, here.shape)[here]
    return upper


def _at(out: Prediction, at: tuple[int, ...]) -> dict[str, Any]:
    """Return the numbers of a prediction at one point of its grid, by the fields of `Choice`."""
    speedup = out.speedup_estimate.broadcast_to(out.batch.shape)

    def load_s(cycle: Cycle) -> float:
        return float(np.broadcast_to(cycle.load.value, out.batch.shape)[at])

    return {
        "batch_size": int(out.batch[at]),
        "context_len": int(out.context[at]),
        "tpot_s": float(out.tpot_s[at]),
        "plain_tokens_per_s": float(out.plain_tokens_per_s[at]),
        "speedup": float(out.speedup[at]),
        "speedup_lower": float(speedup.lower[at]),
        "speedup_upper": float(speedup.upper[at]),
        "p_slower": float(np.broadcast_to(out.p_slower, out.batch.shape)[at]),
        "prefill_per_token_s": load_s(out.plain_cycle),
        "prefill_share": load_s(out.cycle) / float(np.broadcast_to(out.cycle.lasting_s, out.batch.shape)[at]),
        "plain_prefill_share": load_s(out.plain_cycle)
        / float(np.broadcast_to(out.plain_cycle.seconds, out.batch.shape)[at]),
        "batch_wait": 1.0 if out.wait is None else float(out.wait.value[at]),
    }
