"""Seconds of the steps that read prompts.

`prefill_step` estimates one step over the new tokens of some prompts, `prompt_step` all steps of one prompt. The
operations are those of `scylla_sim.ops.forward.prefill_ops`. `draft_prompt_step` estimates the pass in which a
draft reads the prompt for its own KV cache.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from scylla_sim.checks import fail, in_range, positive, whole
from scylla_sim.ops.decoder import DECODING, FRESH
from scylla_sim.ops.draft import draft_ops
from scylla_sim.ops.forward import prefill_ops
from scylla_sim.prediction.step_time import EMPTY, LAUNCH, OpTime, Step, step_of
from scylla_sim.prediction.steps import Deployment, hidden, step_of_ops
from scylla_sim.specs.draft import Draft
from scylla_sim.specs.model import Model
from scylla_sim.stats.estimate import Estimate

MLA_DECODING = "latent_attention"
"""Attention of an MLA draft, whose prefill has no data: it is left out."""

MAX_STEP_TOKENS = 8192
"""Largest number of new tokens of one step: the largest GEMM rows that calibrations use.

It is also vLLM's default ``max_num_batched_tokens`` on GPUs with at least 70 GiB, and SGLang's default
``chunked_prefill_size`` there.
"""


def prefill_step(
    model: Model, deployment: Deployment, *, tokens: ArrayLike, cached: ArrayLike = 0, sequences: ArrayLike = 1
) -> Step:
    """Estimate one step over ``tokens`` new tokens of each of ``sequences`` prompts.

    Parameters
    ----------
    tokens
        New tokens of each prompt in this step.
    cached
        Earlier tokens of each prompt, which are in the KV cache: earlier chunks, or a shared prefix.
    sequences
        Prompts in the step. All three broadcast, and the result has their common shape.

    Returns
    -------
    Step
        Operations and seconds, with their 90 % interval. The evidence of attention is ``theory`` if any prompt has
        cached tokens, because only fresh prompts were measured.

    Raises
    ------
    InputError
        If a step has more than `MAX_STEP_TOKENS` new tokens. Engines split them; see `prompt_step`.

    Examples
    --------
    >>> from scylla_sim.calibration import device_calibration
    >>> from scylla_sim.specs import catalog
    >>> deployment = Deployment(device_calibration.shipped("h100-sxm"), catalog.engine("ideal"))
    >>> model = catalog.model("llama-3.1-8b")
    >>> fresh = prefill_step(model, deployment, tokens=[1024, 2048])
    >>> later = prefill_step(model, deployment, tokens=1024, cached=1024)
    >>> 0.02 < float(fresh.seconds[0]) < 0.03, bool(fresh.seconds[0] + later.seconds > fresh.seconds[1])
    (True, True)
    >>> [part.evidence for step in (fresh, later) for part in step.parts if part.name == "attention"]
    ['silicon', 'theory']
    """
    q, old, b = np.broadcast_arrays(
        positive("tokens", tokens), in_range("cached", cached, 0), positive("sequences", sequences)
    )
    most = float(np.max(q * b))
    if most > MAX_STEP_TOKENS:
        hint = "give tokens of one chunk, and its earlier tokens as cached"
        raise fail("tokens", f"{most:g}", f"must be at most {MAX_STEP_TOKENS} in one step", hint)
    ops = prefill_ops(model, tokens=q, cached=old, sequences=b, tp=deployment.tp, dtype=deployment.dtype)
    return _at_least(step_of_ops(ops, deployment, q * b, b), model, deployment)


def _at_least(step: Step, model: Model, deployment: Deployment) -> Step:
    """Return a step that takes at least the engine's host time per layer of a prefill."""
    engine = deployment.engine
    if not engine.prefill_layer_s:
        return step
    least = engine.overhead("prefill_layer_s").scaled(model.num_layers)
    waiting = Estimate(*(np.maximum(end - step.seconds, 0.0) for end in (least.value, least.lower, least.upper)))
    zero = np.zeros_like(step.seconds)
    behind = waiting.value > 0.0
    parts = tuple(hidden(part, behind) for part in step.parts) if behind.any() else step.parts
    return step_of((*parts, OpTime("waiting_for_host", LAUNCH, model.num_layers, waiting, zero, zero, "theory")))


def prompt_step(
    model: Model, deployment: Deployment, *, tokens: int, cached: int = 0, chunk: int = MAX_STEP_TOKENS
) -> Step:
    """Estimate the whole prefill of one prompt, in chunks, as one step.

    Parameters
    ----------
    tokens, cached
        New tokens of the prompt, and earlier ones in the KV cache.
    chunk
        Largest number of tokens of a step.

    Examples
    --------
    >>> from scylla_sim.calibration import device_calibration
    >>> from scylla_sim.specs import catalog
    >>> deployment = Deployment(device_calibration.shipped("h100-sxm"), catalog.engine("ideal"))
    >>> whole, halves = (
    ...     float(prompt_step(catalog.model("llama-3.1-8b"), deployment, tokens=8192, chunk=size).seconds)
    ...     for size in (8192, 4096)
    ... )
    >>> 1.0 < halves / whole < 1.2
    True
    """
    left, size = int(whole("tokens", tokens, 1)), int(whole("chunk", chunk, 1, MAX_STEP_TOKENS))
    first = int(whole("cached", cached, 0))
    starts = range(0, left, size)
    steps = [
        prefill_step(model, deployment, tokens=min(size, left - start), cached=first + start) for start in starts
    ]
    return steps[0] if len(steps) == 1 else step_of(tuple(part for step in steps for part in step.parts))


def draft_prompt_step(
    draft: Draft,
    target: Model,
    deployment: Deployment,
    *,
    tokens: int,
    cached: int = 0,
    chunk: int = MAX_STEP_TOKENS,
) -> Step:
    """Estimate the pass in which a draft reads one prompt, in chunks; empty for drafts without a KV cache.

    A head reads the target's features of all tokens, a draft model the tokens. Block drafters and MLP stages are
    taken to read no prompt. The attention of a head is that of a fresh prompt, also for later chunks.

    Examples
    --------
    >>> from scylla_sim.calibration import device_calibration
    >>> from scylla_sim.specs import catalog
    >>> deployment = Deployment(device_calibration.shipped("h100-sxm"), catalog.engine("ideal"))
    >>> target = catalog.model("llama-3.1-8b")
    >>> head = draft_prompt_step(catalog.draft("eagle3"), target, deployment, tokens=2048)
    >>> 0.02 < float(head.seconds / prompt_step(target, deployment, tokens=2048).seconds) < 0.08
    True
    >>> draft_prompt_step(catalog.draft("ngram"), target, deployment, tokens=2048) == EMPTY
    True
    """
    if draft.kind == "model" and draft.model is not None:
        return prompt_step(draft.model, deployment, tokens=tokens, cached=cached, chunk=chunk)
    if draft.kind != "head":
        return EMPTY
    parts: list[OpTime] = []
    one = np.ones(())
    for start in range(0, tokens, chunk):
        q = np.asarray(float(min(chunk, tokens - start)))
        ops = draft_ops(
            *(draft, target),
            batch=one,
            context=cached + start + q,
            width=q,
            scored=one,
            tp=deployment.tp,
            dtype=deployment.dtype,
        )
        read = [replace(op, kind=FRESH) if op.kind == DECODING else op for op in ops if op.kind != MLA_DECODING]
        parts += step_of_ops(read, deployment, q, one).parts
    return step_of(tuple(parts))
