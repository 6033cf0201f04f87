"""Device memory of a deployment: weights, activations and KV cache of each tensor-parallel rank.

An engine divides a share of the memory that the driver reports. Weights, activations of the profiled step, CUDA
graphs and buffers come first. The KV cache gets the rest, and thereby limits the sequences that run together.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike

from scylla_sim.checks import FloatArray, positive
from scylla_sim.ops.block_draft import head_parameters, stage_parameters
from scylla_sim.ops.draft import draft_model, joined_inputs, reads_second_input
from scylla_sim.ops.kv_groups import BlockPool, CachedLayers, block_pool
from scylla_sim.ops.weights import exception_bytes
from scylla_sim.specs.draft import Draft
from scylla_sim.specs.dtypes import DTYPES
from scylla_sim.specs.engine import MemoryUse
from scylla_sim.specs.hardware import Hardware
from scylla_sim.specs.model import Model
from scylla_sim.units import GIBI

LARGE_GPU_BYTES = 70.0 * GIBI
"""Memory from which an engine profiles a step of ``profiled_sequences``; below, of ``small_gpu_sequences``.

Notes
-----
Source: vLLM, engine/arg_utils.py, condition of the larger defaults.
"""

SAMPLER_BYTES = (8.0, 41.0)
"""Bytes per logit of the sampler, with all its copies.

Notes
-----
The lower end is one copy of the logits in fp32 and one result of the same size. The upper end is derived: vLLM
reports a peak of 1.26 GiB for 256 sequences of Llama-3-8B (128,256 logits) with one and with two TP ranks, so the
peak is not in the layers (vllm-project/vllm #10511).
"""

FULL_BYTES = 2.0
"""Bytes of a weight that stays in 16 bits, and of an activation."""

_CACHING_DRAFTS = ("head", "block", "model")
"""Kinds of drafts with a KV cache."""


@dataclass(frozen=True)
class MemoryPlan:
    """How a target, a draft and their caches are stored.

    Attributes
    ----------
    target, draft
        The two models.
    tp, draft_tp
        TP ranks of the target and of the draft. The plan is that of a GPU that runs the draft.
    dtype, draft_dtype, kv_dtype
        Data types of the target's weights, of the draft's weights, and of the KV caches.
    op_dtypes
        Operation of the target -> data type of its weights, where it differs from ``dtype``.
    slots
        Cache slots of each sequence for the tokens of a cycle: verified tokens, root included.
    """

    target: Model
    draft: Draft
    tp: int = 1
    dtype: str = "bfloat16"
    draft_dtype: str = "bfloat16"
    kv_dtype: str = "bfloat16"
    draft_tp: int | None = None
    op_dtypes: Mapping[str, str] = field(default_factory=dict)
    slots: int = 1

    @property
    def draft_ranks(self) -> int:
        """TP ranks of the draft; those of the target unless the draft has its own."""
        return self.tp if self.draft_tp is None else self.draft_tp


def draft_parameters(draft: Draft, target: Model) -> float:
    """Return the weights that a draft adds to the device.

    An embedding or a vocabulary projection that the draft shares with the target is not counted.
    """
    if draft.kind == "model" and draft.model is not None:
        return float(draft.model.parameters)
    if draft.kind == "medusa":
        return _medusa_parameters(draft, target)
    if draft.kind == "mlp":
        return stage_parameters(draft, target)
    if draft.kind not in ("head", "block"):
        return 0.0
    model, width = draft_model(draft, target), float(target.hidden_size)
    hidden = float(model.hidden_size)
    own_head = 0.0 if draft.reads_target_head else float(model.head_parameters)
    second = hidden * model.attention_input_width if reads_second_input(draft) else 0.0
    weights = joined_inputs(draft) * width * hidden + model.decoder_parameters + own_head + second
    if draft.own_embedding:
        weights += hidden * (draft.model or target).vocab_size
    if draft.block is not None and draft.block.token_head is not None:
        weights += head_parameters(draft.block.token_head, model)
    return weights


def _medusa_parameters(draft: Draft, target: Model) -> float:
    """Return the weights of Medusa heads: residual blocks, and vocabulary projections of their own."""
    hidden = float(target.hidden_size)
    own = 0.0 if draft.reads_target_head else hidden * (draft.vocab_size or target.vocab_size)
    return draft.num_layers * (draft.blocks_per_head * hidden * hidden + own)


def unquantized_parameters(model: Model) -> int:
    """Return the weights that a quantized checkpoint keeps in 16 bits: embedding and vocabulary projection."""
    return model.parameters - model.decoder_parameters


def weight_bytes(plan: MemoryPlan) -> float:
    """Return the bytes of weights on each GPU.

    Ranks share most weights. They replicate latent projections and routers. With a data type below 16 bits, the
    embedding and the vocabulary projection of the target stay in 16 bits. Other projections have their own data
    type if the plan names one.

    Examples
    --------
    >>> from scylla_sim.specs import catalog
    >>> llama, none = catalog.model("llama-3.1-8b"), catalog.draft("none")
    >>> [round(weight_bytes(MemoryPlan(llama, none, dtype=name)) / 1e9, 1) for name in ("bfloat16", "fp8")]
    [16.1, 9.1]
    """
    target, stored = plan.target, DTYPES[plan.dtype].stored_bytes
    kept = unquantized_parameters(target)
    layers = target.parameters - kept + (plan.tp - 1) * target.replicated_parameters
    own = (stored * layers + max(stored, FULL_BYTES) * kept) / plan.tp
    own += exception_bytes(target, plan.dtype, plan.op_dtypes, plan.tp)
    return own + _draft_bytes(plan) / plan.draft_ranks


def _draft_bytes(plan: MemoryPlan) -> float:
    """Return the bytes of a draft's weights; a language model keeps its embedding and its head in 16 bits."""
    stored = DTYPES[plan.draft_dtype].stored_bytes
    held = stored * draft_parameters(plan.draft, plan.target)
    if plan.draft.kind == "model" and plan.draft.model is not None:
        held += max(FULL_BYTES - stored, 0.0) * unquantized_parameters(plan.draft.model)
    return held


def cached_layers(plan: MemoryPlan) -> list[CachedLayers]:
    """Return the layers with a KV cache or a recurrent state on each GPU, of target and draft.

    Ranks replicate KV heads that are fewer than ranks.
    """
    kinds = _model_layers(plan.target, plan.tp, plan.kv_dtype)
    if plan.draft.kind in _CACHING_DRAFTS:
        kinds += _model_layers(draft_model(plan.draft, plan.target), plan.draft_ranks, plan.kv_dtype)
    return kinds


def _model_layers(model: Model, tp: int, kv_dtype: str) -> list[CachedLayers]:
    """Return the layers of one model with a KV cache or a recurrent state on each of ``tp`` GPUs."""
    element = max(1.0, tp / model.cached_heads) / tp * DTYPES[kv_dtype].stored_bytes
    if model.mla is not None:
        kinds = [CachedLayers(model.num_layers, element * model.kv_elements_per_layer)]
        if model.mla.indexer is not None:
            kinds.append(CachedLayers(model.mla.indexer.layers, element * model.mla.indexer.head_dim))
    else:
        kinds = [CachedLayers(g.layers, element * g.cached_elements, g.window) for g in model.attention_groups]
    if model.linear is not None:
        kinds.append(CachedLayers(model.linear.layers, 0.0, state_bytes=model.linear.sequence_bytes / tp))
    return kinds


def sequence_bytes(plan: MemoryPlan, context: ArrayLike, pool: BlockPool | None = None) -> FloatArray:
    """Return the bytes of KV cache and of recurrent state of one sequence on each GPU, of target and draft.

    Layers with a sliding window keep only the window. Layers with linear attention keep one state per slot.

    Parameters
    ----------
    context
        Tokens of the sequence; ``plan.slots`` are added for the tokens of a cycle.
    pool
        Blocks of the cache, as `block_pools` returns; by default, tokens are kept one by one.
    """
    tokens = positive("context", context) + plan.slots
    if pool is not None:
        return pool.sequence_bytes(tokens, slots=plan.slots)
    held = np.zeros_like(tokens)
    for kind in cached_layers(plan):
        kept = np.minimum(tokens, kind.window) if kind.window else tokens
        held = held + kind.layers * (kind.token_bytes * kept + kind.state_bytes * max(plan.slots, 1))
    return held


def block_pools(plan: MemoryPlan, use: MemoryUse) -> list[BlockPool | None]:
    """Return the blocks of the cache at both ends of the versions of an engine; ``None`` without blocks."""
    kinds = tuple(cached_layers(plan))
    return [
        block_pool(kinds, block_tokens=int(tokens), pad_below=ratio) if tokens else None
        for tokens, ratio in zip(use.block_tokens, use.pad_below)
    ]


def activation_bytes(
    model: Model,
    *,
    tokens: float,
    sequences: float,
    sampler_bytes: float,
    tp: int = 1,
    in_place: bool = False,
) -> float:
    """Return the peak of the activations of one step on each GPU.

    The peak is in a layer or in the sampler. A layer holds its input and output, and either the projections of
    attention or the intermediate arrays of the MLP: three with a gate, else two. An MoE layer holds the input and
    output of each expert. The sampler holds the logits of all sequences on every rank.

    Parameters
    ----------
    tokens, sequences
        Tokens of the step, and sequences whose next token it samples.
    sampler_bytes
        Bytes per logit; see `SAMPLER_BYTES`.
    in_place
        Whether the activation of an MLP without gate overwrites its input. Derived: Apertus-1.5-8B with 16,384
        tokens leaves 1.2 GiB (swiss-ai/apertus-speculative-decoding), where two arrays take 1.6 GiB.
    """
    arrays = 3 if model.gated_mlp else 2 - in_place
    wide = max(model.attention_input_width, arrays * model.intermediate_size) / tp
    if model.moe is not None:
        routed = model.moe.experts_per_token * (2 * model.hidden_size + 3 * model.moe.intermediate_size / tp)
        wide = max(wide, routed)
    layer = FULL_BYTES * tokens * (2 * model.hidden_size + wide)
    return max(layer, sampler_bytes * sequences * model.vocab_size)


def reserved_bytes(plan: MemoryPlan, hardware: Hardware, use: MemoryUse, *, end: int) -> float:
    """Return the bytes that an engine reserves on each GPU beside weights and KV cache.

    Parameters
    ----------
    end
        0 for the lower end of every range, 1 for the upper end.
    """
    large = hardware.memory_bytes >= LARGE_GPU_BYTES
    sequences = (use.profiled_sequences if large else use.small_gpu_sequences)[end]
    activations = activation_bytes(
        plan.target,
        tokens=use.profiled_tokens[end],
        sequences=sequences,
        sampler_bytes=SAMPLER_BYTES[end],
        tp=plan.tp,
        in_place=end == 0,
    )
    communicator = use.communicator_bytes[end] if plan.tp > 1 else 0.0
    return activations + use.runtime_bytes[end] + communicator + use.graph_bytes[end]


def memory_share(plan: MemoryPlan, hardware: Hardware, use: MemoryUse) -> tuple[float, float]:
    """Return the lower and upper end of the share of the reported memory that an engine divides.

    An engine with a reserve sets the lower end by the GPU, the TP ranks and the draft. The upper end is that of its
    preset.

    Examples
    --------
    >>> from scylla_sim.specs import catalog
    >>> h100, sglang = catalog.hardware("h100-sxm"), catalog.engine("sglang").memory
    >>> llama = catalog.model("llama-3.1-8b")
    >>> plans = [MemoryPlan(llama, catalog.draft(name)) for name in ("none", "eagle3")]
    >>> [round(memory_share(plan, h100, sglang)[0], 3) for plan in plans]
    [0.836, 0.811]
    """
    lower, upper = use.share
    if use.reserve is None:
        return lower, upper
    kept = use.reserve.kept_bytes(hardware.memory_bytes, tp=plan.tp, draft_kind=plan.draft.kind)
    return min(max(1.0 - kept / hardware.memory_bytes, 0.01), upper), upper


def cache_bytes(plan: MemoryPlan, hardware: Hardware, use: MemoryUse) -> tuple[float, float]:
    """Return the lower and upper end of the KV cache on each GPU, in bytes; 0 if the weights do not fit.

    Examples
    --------
    >>> from scylla_sim.specs import catalog
    >>> plan = MemoryPlan(catalog.model("llama-3.1-8b"), catalog.draft("none"))
    >>> pool = cache_bytes(plan, catalog.hardware("h100-sxm"), catalog.engine("vllm").memory)
    >>> [round(end / 2**30, 1) for end in pool]
    [48.9, 57.5]
    """
    usable, weights = hardware.usable_memory_bytes, weight_bytes(plan)
    lower, upper = (
        max(share * usable - weights - reserved_bytes(plan, hardware, use, end=end), 0.0)
        for share, end in zip(memory_share(plan, hardware, use), (1, 0))
    )
    return lower, upper


def max_sequences(
    plan: MemoryPlan, hardware: Hardware, use: MemoryUse, *, context: ArrayLike
) -> tuple[FloatArray, FloatArray]:
    """Return the lower and upper end of the number of sequences whose KV caches fit together.

    Parameters
    ----------
    context
        Tokens in the KV cache of each sequence.

    Returns
    -------
    lower, upper
        Whole numbers, in the shape of ``context``.
    """
    ends = [sequence_bytes(plan, context, pool) for pool in block_pools(plan, use)]
    smallest, largest = cache_bytes(plan, hardware, use)
    return np.floor(smallest / np.maximum(*ends)), np.floor(largest / np.minimum(*ends))


def stated_tokens(plan: MemoryPlan, hardware: Hardware, use: MemoryUse, *, max_context: int) -> tuple[float, float]:
    """Return both ends of the pool in tokens as vLLM states it in its log, "GPU KV cache size".

    It is the number of sequences of ``max_context`` tokens that are just read, times ``max_context``. It does not
    depend on ``max_context`` if all layers keep every token.

    Parameters
    ----------
    max_context
        Longest sequence that the server accepts (``max_model_len``).
    """
    slots = plan.slots if plan.draft.kind != "none" else 0
    found = []
    for pool in block_pools(plan, use):
        for size, step in zip(cache_bytes(plan, hardware, use), use.profiled_tokens[::-1]):
            if pool is None:
                found.append(size / float(sequence_bytes(plan, max_context)) * max_context)
            else:
                given = {"max_context": max_context, "slots": slots}
                found.append(pool.stated_tokens(size, step_tokens=step, **given))
    return min(found), max(found)
