"""Best draft configuration for each batch, its uncertainty, and the batch from which speculation no longer helps.

The autoregressive baseline (no draft) is a candidate like any other. The crossover is the batch from which the
baseline is never slower than the other candidates. The search predicts every batch that fits in memory, because
costs jump between batches: GEMM tiles fill, waves start, and CUDA graphs exist for some sizes only.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from scylla_sim.acceptance.speculative_config import SpeculativeConfig, no_drafting
from scylla_sim.checks import FloatArray, fail, whole
from scylla_sim.ops.memory import LARGE_GPU_BYTES
from scylla_sim.planning.break_even import BreakEven, break_evens
from scylla_sim.planning.choices import Choice, choices_of
from scylla_sim.planning.context_crossover import ContextCrossover, context_crossovers, nodes
from scylla_sim.planning.crossover import Crossover, Span, crossover, spans_over
from scylla_sim.prediction.served_load import ServedLoad
from scylla_sim.prediction.static_batch import predict_each
from scylla_sim.prediction.steps import Deployment
from scylla_sim.prediction.throughput import Prediction
from scylla_sim.specs.draft import Draft
from scylla_sim.specs.engine import Engine
from scylla_sim.specs.hardware import Hardware
from scylla_sim.specs.model import Model
from scylla_sim.stats.estimate import Estimate, exact

MAX_SEQUENCES = 1024
"""Default for the last batch of the search: vLLM's default for the sequences of one step on large GPUs."""
MAX_SEARCH = 16384
"""Upper limit of the last batch of the search. It needs some hundreds of megabytes; engines run fewer sequences."""


NOT_IDLE = exact(0.0)
"""Cost of a loaded draft that drafts nothing, for an engine without one."""


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
    limit
        Reason why ``spans`` end: ``memory``, ``draft_memory`` if larger batches fit without the draft,
        ``max_batch`` or ``max_num_seqs``.
    plain_last
        Last batch of the search that fits in memory without a draft, at the shortest context; 0 if none does.
    largest_batch
        Most sequences that fit with a draft at the favourable end of the engine's settings; the other batches of
        this class fit at the unfavourable end.
    break_even
        Tokens per cycle at which each candidate breaks even, for each batch and context.
    contexts
        For each batch, the contexts at which the best candidate pays; empty with a served load, whose lengths
        give the context.
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
    limit: str = "max_batch"
    plain_last: int = 0
    largest_batch: int = 0
    break_even: Sequence[BreakEven] = ()
    contexts: Sequence[ContextCrossover] = ()


@dataclass(frozen=True)
class _Load:
    """Target, candidates with the baseline first, where they run, the lengths of requests and of static answers."""

    target: Model
    candidates: Sequence[SpeculativeConfig]
    deployment: Deployment
    draft_deployment: Deployment | None
    served: ServedLoad | None
    static_output_len: int | None

    def predict(
        self, batch: FloatArray, context: FloatArray, measured_plain_s: FloatArray | None = None
    ) -> list[Prediction]:
        """Return the predictions of all candidates on a grid."""
        found = predict_each(
            *(self.target, self.candidates, self.deployment),
            output_len=self.static_output_len,
            batch=batch,
            context=context,
            draft_deployment=self.draft_deployment,
            measured_plain_s=measured_plain_s,
            load=self.served,
        )
        return list(found)


def default_max_sequences(engine: Engine, hardware: Hardware) -> int:
    """Return the most sequences that vLLM runs by default, over its versions; 0 for another or unknown engine.

    The presets of other engines have the profiled sequences of vLLM for their memory only.

    Examples
    --------
    >>> from scylla_sim.specs import catalog
    >>> default_max_sequences(catalog.engine("vllm"), catalog.hardware("l40s"))
    256
    """
    use, large = engine.memory, hardware.memory_bytes >= LARGE_GPU_BYTES
    most = (use.profiled_sequences if large else use.small_gpu_sequences)[1]
    return int(most) if engine.framework == "vllm" else 0


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


def _searched(load: _Load, context: int, sizes: FloatArray, beyond: str) -> tuple[list[Crossover], FloatArray]:
    """Return the crossovers of one context, the best candidate's first, and the log throughput of all candidates.

    The log throughput has shape (candidates, batches) and is minus infinity where a candidate does not fit.
    """
    found = load.predict(sizes, np.full_like(sizes, context))
    drafted = [out for out in found if out.config.draft_len > 0]
    crossovers = []
    for out in drafted:
        speedup = out.speedup_estimate.broadcast_to(sizes.shape)
        crossovers.append(crossover(context, out.config, speedup, out.fits_memory, beyond=beyond))
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
    return [crossover(context, None, best, some, beyond=beyond), *crossovers], score


def _limit(spans: Sequence[Span], plain_last: int, searched: int, beyond: str) -> str:
    """Return the reason for the end of the spans, see `Schedule.limit`."""
    last = spans[-1].last if spans else 0
    if last == searched:
        return beyond
    return "draft_memory" if plain_last > last else "memory"


def _contexts(load: _Load, batch: Sequence[int]) -> list[ContextCrossover]:
    """Return the contexts at which the best candidate pays, for each batch."""
    grid = np.meshgrid(np.unique(np.asarray(batch, dtype=float)), nodes(load.target.max_context), indexing="ij")
    return context_crossovers(load.predict(grid[0], grid[1]))


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
    static_output_len: int | None = None,
    beyond: str = "max_batch",
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
    static_output_len
        Tokens of every answer of static batches, which wait for their slowest sequence; default: none.
    beyond
        Reason for the end of the search at ``max_batch``: ``max_num_seqs`` if the engine runs no more sequences.

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
    candidates = [no_drafting(Draft("none", "none")), *configs]
    load = _Load(target, candidates, deployment, draft_deployment, served, static_output_len)
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
    searched = [_searched(with_idle, size, sizes, beyond) for size in dict.fromkeys(context)]
    scores = [score for _, score in searched]
    spans = spans_over(with_idle.candidates, scores, everything[1:])
    plain_last = max(int(np.isfinite(score[0]).sum()) for score in scores)
    return Schedule(
        choices=choices_of(load.candidates, found, rate, fits=fits, fixed=fixed),
        crossovers=[item for crossovers, _ in searched for item in crossovers],
        fixed=None if fixed is None else load.candidates[fixed],
        fixed_gain=gain,
        fixed_chain=None if chain is None else load.candidates[chain],
        fixed_chain_gain=chain_gain,
        fixed_p_slower={} if fixed is None else dict(zip(batch, found[fixed].p_slower.tolist())),
        spans=spans,
        chain_spans=spans_over(with_idle.candidates, scores, chains[1:]),
        idle_draft=deployment.engine.overhead("idle_draft"),
        limit=_limit(spans, plain_last, sizes.size, beyond),
        plain_last=plain_last,
        largest_batch=int(max(np.max(out.max_sequences[1]) for out in found[1:])),
        break_even=break_evens(found),
        contexts=() if served is not None else _contexts(load, batch),
    )
