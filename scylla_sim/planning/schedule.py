"""Which draft length at which batch: the fastest of some candidates, how sure that is, and where speculation ends.

Plain decoding is a candidate like any other. The batch at which it wins, and beyond which nothing ever beats it
again, is the crossover; it is found by pricing every batch up to the one that fills the memory, so that jumps of
the cost (tiles, waves, captured graph sizes) are seen as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scylla_sim.acceptance.speculative_config import SpeculativeConfig, no_drafting
from scylla_sim.checks import FloatArray, fail, whole
from scylla_sim.planning.crossover import Crossover, Span, crossover, spans_of
from scylla_sim.prediction.steps import Deployment
from scylla_sim.prediction.throughput import Prediction, predict_each
from scylla_sim.specs.draft import Draft
from scylla_sim.specs.model import Model
from scylla_sim.stats.estimate import Estimate

MAX_SEQUENCES = 1024
"""Batches searched unless asked otherwise: the most sequences vLLM runs at once by default on large GPUs."""
LARGEST_SEARCH = 16384
"""Most batches that are priced at once, in some hundreds of megabytes; engines run fewer sequences."""


@dataclass(frozen=True)
class Choice:
    """The fastest candidate at one batch and context.

    Attributes
    ----------
    speedup, speedup_lower, speedup_upper
        Over plain decoding, with its 90 % interval; 1 where plain decoding is the choice.
    next_best, lead
        The second fastest candidate, and the share by which the choice leads it.
    may_be_best
        Candidates that may be the fastest: those whose throughput over the choice's has 1 in its interval, and the
        choice. Errors that candidates share do not count, see `scylla_sim.prediction.uncertainty`.
    loss_at_most
        If the choice is wrong, the share by which another may be faster: the highest upper end of those ratios.
    gain_over_fixed
        Over the one drafting that is best for all batches and contexts given (`Schedule.fixed`).
    """

    batch_size: int
    context_len: int
    drafting: SpeculativeConfig
    tpot_s: float
    tokens_per_s: float
    plain_tokens_per_s: float
    speedup: float
    speedup_lower: float
    speedup_upper: float
    next_best: SpeculativeConfig | None
    lead: float
    may_be_best: tuple[SpeculativeConfig, ...]
    loss_at_most: float
    gain_over_fixed: float
    bound: str
    fits_memory: bool
    evidence: str


@dataclass(frozen=True)
class Schedule:
    """What to run where.

    Attributes
    ----------
    fixed, fixed_chain
        The one drafting, and the one chain, with the highest geometric mean of throughput over the batches and
        contexts given; ``None`` where there is no such candidate.
    fixed_gain, fixed_chain_gain
        Its geometric mean speed-up over plain decoding.
    spans, chain_spans
        Drafting by batch from 1 on, all contexts together (geometric mean), changed where that is worth it
        (`spans_of`); of all candidates, and of chains and plain decoding alone.
    """

    choices: list[Choice]
    crossovers: list[Crossover]
    fixed: SpeculativeConfig | None
    fixed_gain: float
    fixed_chain: SpeculativeConfig | None
    fixed_chain_gain: float
    spans: list[Span]
    chain_spans: list[Span]


@dataclass(frozen=True)
class _Load:
    """Target, candidates (plain decoding first) and where they run."""

    target: Model
    candidates: Sequence[SpeculativeConfig]
    deployment: Deployment
    draft_deployment: Deployment | None

    def predict(self, batch: FloatArray, context: FloatArray) -> list[Prediction]:
        return list(
            predict_each(
                self.target,
                self.candidates,
                self.deployment,
                batch=batch,
                context=context,
                draft_deployment=self.draft_deployment,
            )
        )


def _chains(candidates: Sequence[SpeculativeConfig]) -> list[int]:
    """Candidates that draft one token a depth, plain decoding among them."""
    return [i for i, item in enumerate(candidates) if item.top_k == 1]


def _fixed(
    candidates: Sequence[SpeculativeConfig], rate: FloatArray, fits: NDArray[np.bool_], of: Sequence[int]
) -> tuple[int | None, float]:
    """The drafting of ``of`` with the highest geometric mean of throughput, and that of its speed-up.

    Points at which some candidate does not fit in memory do not count, unless there are no others.
    """
    drafted = [i for i in of if candidates[i].draft.kind != "none"]
    if not drafted:
        return None, 1.0
    counted = np.logical_and.reduce(fits)
    counted = counted if counted.any() else ~counted
    means = np.log(rate[drafted] / rate[0])[:, counted].mean(axis=1)
    return drafted[int(np.argmax(means))], float(np.exp(means.max()))


def _choices(
    load: _Load, found: Sequence[Prediction], rate: FloatArray, fits: NDArray[np.bool_], fixed: int | None
) -> list[Choice]:
    """The fastest candidate at every point of the grid that ``found`` was predicted on."""
    allowed = np.where(fits | ~fits.any(axis=0), rate, -np.inf)
    order = np.argsort(-allowed, axis=0, kind="stable")
    upper = np.ones_like(rate)
    for j in np.unique(order[0]).tolist():
        here = order[0] == j
        for i, out in enumerate(found):
            if i != j:
                upper[i][here] = np.broadcast_to(out.over(found[j]).upper, here.shape)[here]
    upper = np.where(np.isfinite(allowed), upper, 0.0)
    bounds = [np.array(out.bound()).reshape(out.batch.shape) for out in found]
    choices = []
    for at in np.ndindex(rate.shape[1:]):
        j = int(order[(0, *at)])
        runner = int(order[(1, *at)]) if len(found) > 1 else j
        out, ends = found[j], upper[(slice(None), *at)]
        known = runner != j and np.isfinite(allowed[(runner, *at)])
        sure = [i for i in range(len(found)) if i == j or ends[i] > 1.0]
        best = float(rate[(j, *at)])
        speedup = out.speedup_estimate.broadcast_to(out.batch.shape)
        choices.append(
            Choice(
                batch_size=int(out.batch[at]),
                context_len=int(out.context[at]),
                drafting=load.candidates[j],
                tpot_s=float(out.tpot_s[at]),
                tokens_per_s=best,
                plain_tokens_per_s=float(out.plain_tokens_per_s[at]),
                speedup=float(out.speedup[at]),
                speedup_lower=float(speedup.lower[at]),
                speedup_upper=float(speedup.upper[at]),
                next_best=load.candidates[runner] if known else None,
                lead=best / float(rate[(runner, *at)]) - 1.0 if known else 0.0,
                may_be_best=tuple(load.candidates[i] for i in sure),
                loss_at_most=max(float(ends.max()) - 1.0, 0.0),
                gain_over_fixed=0.0 if fixed is None else best / float(rate[(fixed, *at)]) - 1.0,
                bound=str(bounds[j][at]),
                fits_memory=bool(fits[(j, *at)]),
                evidence=out.verify.evidence(),
            )
        )
    return choices


def _searched(load: _Load, context: int, sizes: FloatArray) -> tuple[list[Crossover], FloatArray]:
    """Crossovers of one context, best first, and the logarithm of every candidate's throughput at every batch."""
    found = load.predict(sizes, np.full_like(sizes, context))
    drafted = [out for out in found if out.config.draft.kind != "none"]
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


def _spans(candidates: Sequence[SpeculativeConfig], scores: Sequence[FloatArray], of: Sequence[int]) -> list[Span]:
    """Drafting by batch, over the contexts at which all candidates fit in memory."""
    stacked = np.stack(scores)[:, of]
    fits = np.logical_and.reduce(np.isfinite(stacked), axis=1)
    last = int(np.logical_or.reduce(fits).sum())
    if last == 0 or len(of) == 1:
        return []
    mean = np.where(fits[:, None], stacked, 0.0).sum(axis=0)[:, :last] / fits.sum(axis=0)[:last]
    return [Span(first, end, candidates[of[chosen]]) for first, end, chosen in spans_of(mean)]


def schedule(
    target: Model,
    draftings: Sequence[SpeculativeConfig],
    deployment: Deployment,
    *,
    batch: Sequence[int],
    context: Sequence[int],
    max_batch: int = MAX_SEQUENCES,
    draft_deployment: Deployment | None = None,
) -> Schedule:
    """Fastest drafting for each batch and context, the crossover of each context, and one schedule over batches.

    Parameters
    ----------
    draftings
        Candidates; plain decoding is added.
    batch, context
        Where to choose; the grid is their product.
    max_batch
        Last batch of the search for crossovers, at least the largest of ``batch``; memory may end it earlier.

    Examples
    --------
    >>> from scylla_sim.calibration import device_calibration
    >>> from scylla_sim.specs import catalog
    >>> where = Deployment(device_calibration.shipped("h100-sxm"), catalog.engine("vllm"))
    >>> head = catalog.draft("eagle3")
    >>> some = [SpeculativeConfig(head, n, 1, n + 1, tau, tau, tau) for n, tau in ((1, 1.62), (4, 2.39))]
    >>> found = schedule(catalog.model("llama-3.1-8b"), some, where, batch=[1, 256], context=[1024])
    >>> [choice.drafting.draft_len for choice in found.choices]
    [4, 1]
    """
    if not draftings:
        raise fail("draftings", 0, "must be at least one candidate")
    whole("max_batch", max_batch, 1, LARGEST_SEARCH)
    whole("batch", list(batch), 1, LARGEST_SEARCH)
    load = _Load(target, [no_drafting(Draft("none", "none")), *draftings], deployment, draft_deployment)
    grid = np.meshgrid(np.asarray(batch, dtype=float), np.asarray(context, dtype=float), indexing="ij")
    found = load.predict(*grid)
    rate = np.stack([out.tokens_per_s for out in found])
    everything, chains = range(len(found)), _chains(load.candidates)
    fits = np.stack([out.fits_memory for out in found])
    fixed, gain = _fixed(load.candidates, rate, fits, everything)
    chain, chain_gain = _fixed(load.candidates, rate, fits, chains)
    sizes = np.arange(1.0, max(max_batch, *batch) + 1.0)
    searched = [_searched(load, size, sizes) for size in dict.fromkeys(context)]
    scores = [score for _, score in searched]
    return Schedule(
        choices=_choices(load, found, rate, fits, fixed),
        crossovers=[item for crossovers, _ in searched for item in crossovers],
        fixed=None if fixed is None else load.candidates[fixed],
        fixed_gain=gain,
        fixed_chain=None if chain is None else load.candidates[chain],
        fixed_chain_gain=chain_gain,
        spans=_spans(load.candidates, scores, everything),
        chain_spans=_spans(load.candidates, scores, chains),
    )
