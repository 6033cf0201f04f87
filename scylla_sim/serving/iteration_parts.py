"""Parts of an iteration: decoding over batch and context, and the operations that prompts add.

The functions return arrays over whole numbers, so that an iteration is a sum of look-ups. `IterationModel` in
`scylla_sim.serving.iteration` holds them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from scylla_sim.acceptance.speculative_config import SpeculativeConfig
from scylla_sim.checks import FloatArray
from scylla_sim.ops.decoder import DECODING, FRESH
from scylla_sim.ops.draft import draft_ops
from scylla_sim.ops.forward import prefill_ops
from scylla_sim.ops.memory import MemoryPlan, max_sequences
from scylla_sim.ops.op import Op
from scylla_sim.prediction.overheads import step_overhead_counts, with_overheads
from scylla_sim.prediction.prefill import MAX_STEP_TOKENS, prefill_step
from scylla_sim.prediction.step_time import LAUNCH, Step
from scylla_sim.prediction.steps import Deployment, step_of_ops
from scylla_sim.prediction.throughput import predict_each
from scylla_sim.specs.draft import Draft
from scylla_sim.specs.model import Model
from scylla_sim.stats.estimate import Estimate

TYPICAL_TOKENS = 1024
"""Prompt tokens at which the relative interval of a prefill is taken; it varies little with the tokens."""


@dataclass(frozen=True)
class Decoding:
    """Iterations without prompts, over batch (rows, from 0) and mean context (columns).

    Attributes
    ----------
    seconds
        Seconds of an iteration, with their 90 % interval; shape (batches, contexts). The interval includes that of
        the tokens per cycle: a lower acceptance counts as a slower iteration.
    waiting_s
        Seconds of it that the device waits for launches of the target's step; same shape.
    beside_s
        Seconds of drafting and of the engine, which prompts do not change; shape (batches,).
    verify_tokens, tokens_per_cycle, draft_lens
        Tokens that the target scores for each sequence, tokens that a sequence gains, and draft length; shape
        (batches,).
    against_plain
        Ends of ``seconds`` for a comparison with plain decoding, whose errors cancel in part; the same shape.
    """

    seconds: Estimate
    waiting_s: FloatArray
    beside_s: FloatArray
    verify_tokens: FloatArray
    tokens_per_cycle: FloatArray
    draft_lens: FloatArray
    against_plain: Estimate


def decoding(
    model: Model,
    configs: Mapping[int, SpeculativeConfig],
    deployment: Deployment,
    draft_deployment: Deployment | None,
    *,
    max_batch: int,
    contexts: FloatArray,
) -> Decoding:
    """Return iterations of 0 to ``max_batch`` sequences as `scylla_sim.prediction.throughput.predict` gives them.

    Parameters
    ----------
    configs
        First batch of a range of batches -> its configuration; the first range starts at 1.
    contexts
        Mean contexts, shape (contexts,).
    """
    shape = (max_batch + 1, contexts.size)
    value, lower, upper, fast, slow, waiting = (np.zeros(shape) for _ in range(6))
    beside, verified, gained, lengths = (np.zeros(max_batch + 1) for _ in range(4))
    gained[0] = verified[0] = 1.0
    starts = [*sorted(configs), max_batch + 1]
    for start, end in pairwise(starts):
        batch = np.arange(start, min(end, max_batch + 1), dtype=np.float64)
        if not batch.size:
            continue
        config, at = configs[start], slice(start, start + batch.size)
        (found,) = predict_each(
            model,
            [config],
            deployment,
            batch=batch[:, None],
            context=contexts[None, :],
            draft_deployment=draft_deployment,
        )
        rate, gain = found.tokens_per_s_estimate, found.speedup_estimate
        value[at] = found.cycle_s
        lower[at] = found.cycle_s * (rate.value / rate.upper)
        upper[at] = found.cycle_s * (rate.value / rate.lower)
        fast[at] = found.cycle_s * (gain.value / gain.upper)
        slow[at] = found.cycle_s * (gain.value / gain.lower)
        waiting[at] = sum((part.seconds for part in found.verify.parts if part.kind == LAUNCH), np.zeros(()))
        beside[at] = (found.cycle_s - found.verify.seconds)[:, contexts.size // 2]
        verified[at], gained[at], lengths[at] = config.verify_tokens, config.tokens_per_cycle, config.draft_len
    return Decoding(
        seconds=Estimate(value, lower, upper),
        waiting_s=waiting,
        beside_s=beside,
        verify_tokens=verified,
        tokens_per_cycle=gained,
        draft_lens=lengths,
        against_plain=Estimate(value, fast, slow),
    )


@dataclass(frozen=True)
class Prompts:
    """Operations of prompts, over whole numbers.

    Attributes
    ----------
    rows_s
        Operations whose time depends only on the tokens of a step, such as GEMMs; shape (tokens from 0,).
    head_s
        Final norm, vocabulary projection and sampling, which run for sampled tokens only; shape (tokens from 0,).
    attention_s
        Operations of one prompt's chunk, such as attention; shape (offsets, tokens from 0).
    offsets
        Earlier tokens of the prompt, ascending from 0; shape (offsets,).
    least_s
        Least seconds of a step of so many tokens, by its launches or the host; shape (tokens from 0,).
    lower, upper
        Ends of the 90 % interval of a prompt's seconds, relative to the value.
    """

    rows_s: FloatArray
    head_s: FloatArray
    attention_s: FloatArray
    offsets: FloatArray
    least_s: FloatArray
    lower: float
    upper: float


def _split_ops(model: Model, deployment: Deployment) -> tuple[set[str], set[str]]:
    """Return the operations that depend only on the tokens of a step, and those that depend only on its prompts.

    Three passes tell them apart: their columns stay the same when one prompt becomes two, or when it grows.
    """
    tp, dtype = deployment.tp, deployment.dtype
    passes = (
        prefill_ops(model, tokens=tokens, cached=cached, sequences=sequences, tp=tp, dtype=dtype)
        for tokens, cached, sequences in ((1024, 512, 1), (512, 1536, 2), (2048, 512, 1))
    )
    rows, heads = set(), set()
    for one, halves, longer in zip(*passes):
        if _same(one, halves):
            rows.add(one.name)
        elif _same(one, longer):
            heads.add(one.name)
    return rows, heads


def _same(one: Op, other: Op) -> bool:
    return all(np.array_equal(one.columns[name], other.columns[name]) for name in one.columns)


def _busy(step: Step, names: set[str] | None = None) -> FloatArray:
    """Return the seconds of a step's operations, or of some of them, without waiting for launches."""
    chosen = [one for one in step.parts if one.kind != LAUNCH and (names is None or one.name in names)]
    return sum((one.seconds for one in chosen), np.zeros(()))


def prompts(
    model: Model,
    deployment: Deployment,
    *,
    max_tokens: int,
    max_rows: int,
    offsets: FloatArray,
    only: tuple[FloatArray, FloatArray, FloatArray] | None = None,
) -> Prompts:
    """Return the operations of the target that prompts add to an iteration; `with_draft` adds those of a draft.

    Parameters
    ----------
    max_tokens
        Largest number of tokens of an iteration.
    max_rows
        Largest number of sampled tokens of an iteration.
    offsets
        Earlier tokens of a prompt, ascending from 0, shape (offsets,).
    only
        Tokens of a step, tokens of a chunk and sampled tokens that are tabulated; all others are NaN. Ascending
        whole numbers from 1; steps and chunks up to the lesser of ``max_tokens`` and `MAX_STEP_TOKENS`, which is
        the last step. One sampled token is among them. Default: all.

    Notes
    -----
    A step beyond `MAX_STEP_TOKENS` takes the GEMM time of that many tokens in proportion, because calibrations end
    there, and its attention is that of several chunks.
    """
    plain = model if model.moe is None else replace(model, moe=replace(model.moe, expert_overlap=None))
    rows, heads = _split_ops(plain, deployment)
    count = min(max_tokens, MAX_STEP_TOKENS)
    tokens, chunks, last = only or (*(np.arange(1.0, count + 1.0),) * 2, np.arange(1.0, max_rows + 1.0))
    step = prefill_step(plain, deployment, tokens=tokens)
    others = {part.name for part in step.parts if part.kind != LAUNCH} - rows - heads
    sampled = _sampled(plain, deployment, heads, last)
    beside = _busy(step, heads) - sampled[1]  # the head outside a CUDA graph, which the step of a prompt may be
    rows_s = np.broadcast_to(_busy(step, rows) + beside, tokens.shape)
    whole = with_overheads(step, deployment.engine, step_overhead_counts(deployment.tp))
    at = min(int(np.searchsorted(tokens, TYPICAL_TOKENS)), tokens.size - 1)
    return Prompts(
        rows_s=_beyond(_spread(rows_s, tokens), max_tokens),
        head_s=sampled,
        attention_s=_attention(plain, deployment, others, chunks, offsets, max_tokens),
        offsets=offsets,
        least_s=_beyond(_spread(_least(step, model, deployment, tokens), tokens), max_tokens),
        lower=float(whole.lower[at] / whole.value[at]),
        upper=float(whole.upper[at] / whole.value[at]),
    )


def with_draft(found: Prompts, draft: Draft, model: Model, deployment: Deployment) -> Prompts:
    """Return the operations of prompts that a draft, which runs on a deployment, reads into its own cache too."""
    read, max_tokens = found.rows_s[: MAX_STEP_TOKENS + 1], found.rows_s.size - 1
    tokens = np.flatnonzero(np.isfinite(read))[1:].astype(np.float64)
    seconds = read[tokens.astype(np.intp)] + draft_rows_seconds(draft, model, deployment, tokens)
    return replace(found, rows_s=_beyond(_spread(seconds, tokens), max_tokens))


def _spread(seconds: FloatArray, tokens: FloatArray) -> FloatArray:
    """Return seconds over all tokens from 0, which take none; tokens that were not asked for are NaN."""
    found = np.full((*seconds.shape[:-1], int(tokens[-1]) + 1), np.nan)
    found[..., 0] = 0.0
    found[..., tokens.astype(np.intp)] = seconds
    return found


def _beyond(seconds: FloatArray, max_tokens: int) -> FloatArray:
    """Return seconds over tokens from 0, continued in proportion to the tokens."""
    last = seconds.size - 1
    more = np.arange(last + 1.0, max_tokens + 1.0)
    return np.concatenate([seconds, seconds[last] / last * more])


def _sampled(model: Model, deployment: Deployment, heads: set[str], rows: FloatArray) -> FloatArray:
    """Return the seconds of the output head over the sampled tokens, from 0; those not asked for are NaN."""
    ops = prefill_ops(model, tokens=1, sequences=rows, tp=deployment.tp, dtype=deployment.dtype)
    graphs = replace(deployment, engine=replace(deployment.engine, max_graph_tokens=0, max_graph_batch=0))
    step = step_of_ops([op for op in ops if op.name in heads], graphs, rows, rows)
    return _spread(_busy(step), rows)


def _attention(
    model: Model,
    deployment: Deployment,
    names: set[str],
    tokens: FloatArray,
    offsets: FloatArray,
    max_tokens: int,
) -> FloatArray:
    """Return the seconds of the operations of one prompt's chunk; shape (offsets, tokens from 0)."""
    q, old = np.meshgrid(tokens, offsets)
    ops = prefill_ops(model, tokens=q, cached=old, tp=deployment.tp, dtype=deployment.dtype)
    own = [op for op in ops if op.name in names]
    seconds = np.broadcast_to(_busy(step_of_ops(own, deployment, q, np.ones_like(q))), q.shape) if own else 0.0 * q
    last = min(max_tokens, MAX_STEP_TOKENS)
    found = np.full((offsets.size, max_tokens + 1), np.nan)
    found[:, : int(tokens[-1]) + 1] = _spread(seconds, tokens)
    for start in range(last, max_tokens if tokens.size == last else last, last):
        size = min(last, max_tokens - start)  # further chunks, each after the earlier ones
        for at, place in enumerate(np.interp(offsets + start, offsets, np.arange(offsets.size))):
            low = min(int(place), offsets.size - 2)
            later = seconds[low, :size] + (place - low) * (seconds[low + 1, :size] - seconds[low, :size])
            found[at, start + 1 : start + size + 1] = found[at, start] + later
    return found


def _least(step: Step, model: Model, deployment: Deployment, tokens: FloatArray) -> FloatArray:
    """Return the least seconds of a step of prompts: its launches outside a CUDA graph, or the host's work."""
    engine = deployment.engine
    launches = sum(part.count for part in step.parts if part.kind != LAUNCH)
    launch_s = 0.0 if deployment.launches_add else launches * engine.launch_s
    eager = deployment.eager(tokens, np.ones_like(tokens))
    return np.maximum(np.where(eager, launch_s, 0.0), engine.prefill_layer_s * model.num_layers)


def draft_rows_seconds(draft: Draft, model: Model, deployment: Deployment, tokens: FloatArray) -> FloatArray:
    """Return the seconds in which a draft reads a prompt; block drafters and MLP stages are taken to read none.

    Its attention is that of a fresh prompt, also for later chunks.
    """
    if draft.kind not in ("head", "model"):
        return np.zeros_like(tokens)
    one = np.ones_like(tokens)
    ops = draft_ops(
        draft,
        model,
        batch=one,
        context=tokens,
        width=tokens,
        scored=one,
        tp=deployment.tp,
        dtype=deployment.dtype,
    )
    read = [replace(op, kind=FRESH) if op.kind == DECODING else op for op in ops if op.kind != "latent_attention"]
    return _busy(step_of_ops(read, deployment, tokens, one))


def kv_pool_tokens(
    model: Model,
    configs: Sequence[SpeculativeConfig],
    deployment: Deployment,
    draft_deployment: Deployment | None,
    *,
    context: float,
) -> Estimate:
    """Return the tokens that the KV pool holds in sequences of ``context`` tokens, over the range of the engine.

    The draft's weights and cache, and the slots of the longest cycle, are taken off. The value is the middle of
    the range. Memory is as in `scylla_sim.ops.memory`.
    """
    where = draft_deployment or deployment
    widest = max(configs, key=lambda config: config.verify_tokens)
    plan = MemoryPlan(
        model,
        widest.draft,
        tp=deployment.tp,
        dtype=deployment.dtype,
        draft_dtype=where.dtype,
        kv_dtype=deployment.kv_dtype,
        draft_tp=where.tp,
        op_dtypes=deployment.op_dtypes,
        slots=widest.verify_tokens,
    )
    lower, upper = (
        float(count) * context
        for count in max_sequences(plan, deployment.calibration.hardware, deployment.engine.memory, context=context)
    )
    return Estimate.of((lower + upper) / 2.0, lower, upper)
