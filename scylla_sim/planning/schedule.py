"""Best draft configuration for each batch, its uncertainty, and the batch from which speculation no longer helps.

The autoregressive baseline (no draft) is a candidate like any other. The crossover is the batch from which the
baseline is never slower than the other candidates. The search predicts every batch that fits in memory, because
costs jump between batches: GEMM tiles fill, waves start, and CUDA graphs exist for some sizes only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scylla_sim.acceptance.speculative_config import SpeculativeConfig, no_drafting
from scylla_sim.checks import FloatArray, fail, whole
from scylla_sim.planning.crossover import Crossover, Span, crossover, spans_over
from scylla_sim.prediction.served_load import ServedLoad
from scylla_sim.prediction.steps import Deployment
from scylla_sim.prediction.throughput import Prediction, predict_each
from scylla_sim.specs.draft import Draft
from scylla_sim.specs.model import Model
from scylla_sim.stats.estimate import Estimate, exact

MAX_SEQUENCES = 1024
"""Default for the last batch of the search: vLLM's default for the sequences of one step on large GPUs."""
MAX_SEARCH = 16384
"""Upper limit of the last batch of the search. It needs some hundreds of megabytes; engines run fewer sequences."""


NOT_IDLE = exact(0.0)
"""Cost of a loaded draft that drafts nothing, for an engine without one."""


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
        Relative gain over the one configuration that is best for all batches and contexts (`Schedule.fixed`).
    bound
        Cost that dominates the cycle: memory, compute, communication or overhead.
    fits_memory
        Whether target, draft and caches fit in memory.
    evidence, evidence_shares
        Level of evidence of the weakest large part of a cycle, and the share of the cycle at each level.
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
    gain_over_fixed: float
    bound: str
    fits_memory: bool
    evidence: str
    evidence_shares: Mapping[str, float]


@dataclass(frozen=True)
class Schedule:
    """Choices for all batches and contexts.

    Attributes
    ----------
    choices
        Fastest candidate at each batch and context.
    crossovers
        For each context: the crossover of the best candidate, then those of all candidates.
    fixed, fixed_chain
        Configuration, and chain, with the highest geometric mean of throughput over all batches and contexts;
        ``None`` if there is no such candidate.
    fixed_gain, fixed_chain_gain
        Their geometric mean speed-up over the baseline.
    spans, chain_spans
        Configuration by batch from 1 on, with few switches (`spans_over`), for the geometric mean over all
        contexts. ``spans`` uses all candidates, ``chain_spans`` chains only. A server that drafts at other batches
        keeps its draft where it drafts nothing (``draft_len`` 0). If it never drafts, or loses on balance, the only
        span is the baseline.
    idle_draft
        Share of a step that a loaded draft costs where it drafts nothing.
    fixed_p_slower
        For each batch, the probabilities over the contexts that ``fixed`` is slower than the baseline.
    """

    choices: list[Choice]
    crossovers: list[Crossover]
    fixed: SpeculativeConfig | None
    fixed_gain: float
    fixed_chain: SpeculativeConfig | None
    fixed_chain_gain: float
    spans: list[Span]
    chain_spans: list[Span]
    idle_draft: Estimate = NOT_IDLE
    fixed_p_slower: Mapping[int, Sequence[float]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Load:
    """Target, candidates with the baseline first, where they run, and the lengths of requests."""

    target: Model
    candidates: Sequence[SpeculativeConfig]
    deployment: Deployment
    draft_deployment: Deployment | None
    served: ServedLoad | None

    def predict(
        self, batch: FloatArray, context: FloatArray, measured_plain_s: FloatArray | None = None
    ) -> list[Prediction]:
        """Return the predictions of all candidates on a grid."""
        found = predict_each(
            *(self.target, self.candidates, self.deployment),
            batch=batch,
            context=context,
            draft_deployment=self.draft_deployment,
            measured_plain_s=measured_plain_s,
            load=self.served,
        )
        return list(found)


def _chains(candidates: Sequence[SpeculativeConfig]) -> list[int]:
    """Return the indices of the candidates that draft one token per depth, the baseline included."""
    return [i for i, item in enumerate(candidates) if item.top_k == 1]


def _fixed(
    candidates: Sequence[SpeculativeConfig], rate: FloatArray, fits: NDArray[np.bool_], allowed: Sequence[int]
) -> tuple[int | None, float]:
    """Return the index of the allowed candidate with the highest geometric mean speed-up, and this mean.

    Points at which a candidate does not fit in memory are left out, unless there are no others.
    """
    drafted = [i for i in allowed if candidates[i].draft.kind != "none"]
    if not drafted:
        return None, 1.0
    counted = np.logical_and.reduce(fits)
    counted = counted if counted.any() else ~counted
    means = np.log(rate[drafted] / rate[0])[:, counted].mean(axis=1)
    return drafted[int(np.argmax(means))], float(np.exp(means.max()))


def _choices(
    load: _Load, found: Sequence[Prediction], rate: FloatArray, fits: NDArray[np.bool_], fixed: int | None
) -> list[Choice]:
    """Return the fastest candidate at every point of the grid of ``found``.

    ``rate`` (throughput) and ``fits`` (in memory) have the shape (candidates, batches, contexts).
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
                config=load.candidates[j],
                tokens_per_s=best,
                next_best=None if runner_up is None else load.candidates[runner_up],
                lead=0.0 if runner_up is None else best / float(rate[(runner_up, *at)]) - 1.0,
                may_be_best=tuple(load.candidates[i] for i in may_be_best),
                loss_at_most=max(float(gains.max()) - 1.0, 0.0),
                gain_over_fixed=0.0 if fixed is None else best / float(rate[(fixed, *at)]) - 1.0,
                bound=str(bounds[j][at]),
                fits_memory=bool(fits[(j, *at)]),
                evidence=str(levels[j][at]),
                evidence_shares=shares[j][at],
            )
        )
    return choices


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
    return {
        "batch_size": int(out.batch[at]),
        "context_len": int(out.context[at]),
        "tpot_s": float(out.tpot_s[at]),
        "plain_tokens_per_s": float(out.plain_tokens_per_s[at]),
        "speedup": float(out.speedup[at]),
        "speedup_lower": float(speedup.lower[at]),
        "speedup_upper": float(speedup.upper[at]),
        "p_slower": float(np.broadcast_to(out.p_slower, out.batch.shape)[at]),
    }


def _searched(load: _Load, context: int, sizes: FloatArray) -> tuple[list[Crossover], FloatArray]:
    """Return the crossovers of one context, the best candidate's first, and the log throughput of all candidates.

    The log throughput has shape (candidates, batches) and is minus infinity where a candidate does not fit.
    """
    found = load.predict(sizes, np.full_like(sizes, context))
    drafted = [out for out in found if out.config.draft_len > 0]
    crossovers = []
    for out in drafted:
        speedup = out.speedup_estimate.broadcast_to(sizes.shape)
        crossovers.append(crossover(context, out.config, speedup, out.fits_memory))
    fits: NDArray[np.bool_] = np.stack([out.fits_memory for out in drafted])
    speedups = [out.speedup_estimate.broadcast_to(sizes.shape) for out in drafted]
    best = Estimate(
        *(
            np.where(fits, [getattr(speedup, end) for speedup in speedups], 0.0).max(axis=0)
            for end in ("value", "lower", "upper")
        )
    )
    score = np.stack([np.where(out.fits_memory, np.log(out.tokens_per_s), -np.inf) for out in found])
    some: NDArray[np.bool_] = np.logical_or.reduce(fits)
    return [crossover(context, None, best, some), *crossovers], score


def schedule(
    target: Model,
    configs: Sequence[SpeculativeConfig],
    deployment: Deployment,
    *,
    batch: Sequence[int],
    context: Sequence[int],
    max_batch: int = MAX_SEQUENCES,
    draft_deployment: Deployment | None = None,
    measured_plain_s: Mapping[int, float] | None = None,
    served: ServedLoad | None = None,
) -> Schedule:
    """Find the fastest draft configuration for each batch and context, and the crossover of each context.

    Parameters
    ----------
    target
        Target model.
    configs
        Candidates; the autoregressive baseline is added.
    deployment
        Where the target runs.
    batch, context
        Sequences decoded together, and tokens in each one's KV cache. The grid is their product.
    max_batch
        Last batch of the search for crossovers, 1 to `MAX_SEARCH`. The search ends at the largest of ``batch`` if
        that is larger, and earlier if memory is full.
    draft_deployment
        Where the draft runs; default: ``deployment``.
    measured_plain_s
        Measured seconds per output token of plain decoding, by batch. It scales the throughput of all candidates at
        a batch alike, so that choices and crossovers do not depend on it.
    served
        Lengths of the served requests, whose prefills take time; default: decoding only.

    Raises
    ------
    InputError
        When there is no candidate, or a batch is outside its range.

    Examples
    --------
    >>> from scylla_sim.calibration import device_calibration
    >>> from scylla_sim.specs import catalog
    >>> where = Deployment(device_calibration.shipped("h100-sxm"), catalog.engine("vllm"))
    >>> head = catalog.draft("eagle3")
    >>> some = [SpeculativeConfig(head, n, 1, n + 1, tau, tau, tau) for n, tau in ((1, 1.62), (4, 2.39))]
    >>> found = schedule(catalog.model("llama-3.1-8b"), some, where, batch=[1, 256], context=[1024])
    >>> [choice.config.draft_len for choice in found.choices]
    [4, 1]
    """
    if not configs:
        raise fail("configs", 0, "must hold at least one candidate")
    whole("max_batch", max_batch, 1, MAX_SEARCH)
    whole("batch", list(batch), 1, MAX_SEARCH)
    load = _Load(target, [no_drafting(Draft("none", "none")), *configs], deployment, draft_deployment, served)
    grid = np.meshgrid(np.asarray(batch, dtype=float), np.asarray(context, dtype=float), indexing="ij")
    measured = None if measured_plain_s is None else np.array([measured_plain_s[b] for b in batch])[:, None]
    found = load.predict(grid[0], grid[1], measured)
    rate = np.stack([out.tokens_per_s for out in found])
    everything, chains = range(len(found)), _chains(load.candidates)
    fits = np.stack([out.fits_memory for out in found])
    fixed, gain = _fixed(load.candidates, rate, fits, everything)
    chain, chain_gain = _fixed(load.candidates, rate, fits, chains)
    sizes = np.arange(1.0, max(max_batch, *batch) + 1.0)
    with_idle = replace(load, candidates=[*load.candidates, no_drafting(configs[0].draft)])
    searched = [_searched(with_idle, size, sizes) for size in dict.fromkeys(context)]
    scores = [score for _, score in searched]
    return Schedule(
        choices=_choices(load, found, rate, fits, fixed),
        crossovers=[item for crossovers, _ in searched for item in crossovers],
        fixed=None if fixed is None else load.candidates[fixed],
        fixed_gain=gain,
        fixed_chain=None if chain is None else load.candidates[chain],
        fixed_chain_gain=chain_gain,
        fixed_p_slower={} if fixed is None else dict(zip(batch, found[fixed].p_slower.tolist())),
        spans=spans_over(with_idle.candidates, scores, everything[1:]),
        chain_spans=spans_over(with_idle.candidates, scores, chains[1:]),
        idle_draft=deployment.engine.overhead("idle_draft"),
    )
