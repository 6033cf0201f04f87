"""Device memory of a deployment: parameters and KV cache of each tensor-parallel rank."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from scylla_sim.checks import FloatArray, positive
from scylla_sim.ops.block_draft import head_parameters, stage_parameters
from scylla_sim.ops.draft import draft_model, joined_inputs, reads_second_input
from scylla_sim.specs.draft import Draft
from scylla_sim.specs.dtypes import DTYPES
from scylla_sim.specs.model import Model


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


def _kv_elements(model: Model, context: FloatArray) -> FloatArray:
    """Return the elements in the KV cache of one sequence; layers with a sliding window keep only the window."""
    return sum(
        (
            elements * (np.minimum(context, window) if window else context)
            for window, elements in model.cache_layers.items()
        ),
        np.zeros_like(context),
    )


def _draft_bytes(
    target: Model, draft: Draft, batch: FloatArray, context: FloatArray, tp: int, *, dtype: str, kv_dtype: str
) -> FloatArray:
    """Return the bytes of the weights and the KV cache of a draft on each of its ``tp`` ranks."""
    held = DTYPES[dtype].stored_bytes * draft_parameters(draft, target) / tp + np.zeros_like(context)
    if draft.kind in ("head", "block", "model"):
        model = draft_model(draft, target)
        copies = max(1.0, tp / model.cached_heads)
        held = held + copies * DTYPES[kv_dtype].stored_bytes * _kv_elements(model, context) * batch / tp
    return held


def resident_bytes(
    target: Model,
    draft: Draft,
    *,
    batch: ArrayLike,
    context: ArrayLike,
    tp: int = 1,
    dtype: str = "bfloat16",
    kv_dtype: str = "bfloat16",
    draft_tp: int | None = None,
) -> FloatArray:
    """Return the bytes of weights and KV cache on each GPU, without activations and engine buffers.

    TP ranks share most weights. They replicate latent projections, routers, and KV heads if there are fewer heads
    than TP ranks.

    Parameters
    ----------
    batch, context
        Broadcasting arrays: sequences, and tokens in each KV cache.
    tp
        Tensor-parallel ranks.
    dtype, kv_dtype
        Data types of the weights and of the KV cache.
    draft_tp
        Tensor-parallel ranks of the draft. The result is that of a GPU that runs the draft. Default: ``tp``.

    Returns
    -------
    ndarray
        Bytes, in the common shape of ``batch`` and ``context``.

    Examples
    --------
    >>> from scylla_sim.specs import catalog
    >>> llama, none = catalog.model("llama-3.1-8b"), catalog.draft("none")
    >>> round(float(resident_bytes(llama, none, batch=1, context=1024)) / 1e9, 1)
    16.2
    """
    b, s = np.broadcast_arrays(positive("batch", batch), positive("context", context))
    if draft_tp is not None and draft_tp != tp:
        alone = resident_bytes(
            target, Draft("none", "none"), batch=b, context=s, tp=tp, dtype=dtype, kv_dtype=kv_dtype
        )
        return alone + _draft_bytes(target, draft, b, s, draft_tp, dtype=dtype, kv_dtype=kv_dtype)
    replicated = (tp - 1) * target.replicated_parameters
    weights = DTYPES[dtype].stored_bytes * (target.parameters + replicated + draft_parameters(draft, target))
    kept = _kv_elements(target, s)
    if draft.kind in ("head", "block", "model"):
        kept = kept + _kv_elements(draft_model(draft, target), s)
    copies = max(1.0, tp / target.cached_heads)
    states = target.state_bytes * b
    held: FloatArray = (weights + copies * DTYPES[kv_dtype].stored_bytes * kept * b + states) / tp
    return held
