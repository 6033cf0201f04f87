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


def _kv_elements(model: Model, context: FloatArray) -> FloatArray:
    """Return the elements in the KV cache of one sequence; layers with a sliding window keep only the window."""
    return sum(
        (
            elements * (np.minimum(context, window) if window else context)
            for window, elements in model.cache_layers.items()
        ),
        np.zeros_like(context),
    )


def sequence_bytes(plan: MemoryPlan, context: ArrayLike) -> FloatArray:
    """Return the bytes of KV cache and of recurrent state of one sequence on each GPU, of target and draft.

    Ranks replicate KV heads that are fewer than ranks. Layers with linear attention keep one state per slot.

    Parameters
    ----------
    context
        Tokens of the sequence; ``plan.slots`` are added for the tokens of a cycle.
    """
    tokens = positive("context", context) + plan.slots
    held = _cache_bytes(plan.target, tokens, plan.tp, plan)
    if plan.draft.kind in ("head", "block", "model"):
        held = held + _cache_bytes(draft_model(plan.draft, plan.target), tokens, plan.draft_ranks, plan)
    return held


def _cache_bytes(model: Model, tokens: FloatArray, tp: int, plan: MemoryPlan) -> FloatArray:
    """Return the bytes of KV cache and of recurrent state of one sequence of one model on each GPU."""
    copies = max(1.0, tp / model.cached_heads)
    kept: FloatArray = copies * DTYPES[plan.kv_dtype].stored_bytes * _kv_elements(model, tokens)
    return (kept + model.state_bytes * max(plan.slots, 1)) / tp


def activation_bytes(model: Model, *, tokens: float, sequences: float, sampler_bytes: float, tp: int = 1) -> float:
    """Return the peak of the activations of one step on each GPU.

    The peak is in a layer or in the sampler. A layer holds its input and output, and either the projections of
    attention or the three intermediate arrays of the MLP. An MoE layer holds input and output of each expert.
    The sampler holds the logits of all sequences on every rank.

    Parameters
    ----------
    tokens, sequences
        Tokens of the step, and sequences whose next token it samples.
    sampler_bytes
        Bytes per logit; see `SAMPLER_BYTES`.
    """
    wide = max(model.attention_input_width, 3 * model.intermediate_size) / tp
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
    )
    communicator = use.communicator_bytes[end] if plan.tp > 1 else 0.0
    return activations + use.runtime_bytes[end] + communicator + use.graph_bytes[end]


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
        for share, end in zip(use.share, (1, 0))
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
    one = sequence_bytes(plan, context)
    lower, upper = (np.floor(pool / one) for pool in cache_bytes(plan, hardware, use))
    return lower, upper
