"""Memory of a deployment: parameters and KV cache per tensor-parallel rank."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from scylla_sim.checks import FloatArray, positive
from scylla_sim.ops.forward import draft_model
from scylla_sim.specs.draft import Draft
from scylla_sim.specs.dtypes import DTYPES
from scylla_sim.specs.model import Model

# -- Memory ----------------------------------------------------------------------------------------------------


def draft_parameters(draft: Draft, target: Model) -> float:
    """Weights a draft adds to the device, its share of the target's embedding and head not counted."""
    if draft.model is not None:
        return float(draft.model.parameters)
    hidden = float(target.hidden_size)
    if draft.kind == "medusa":
        return draft.num_layers * (hidden * hidden + target.head_parameters)
    if draft.kind != "head":
        return 0.0
    joined = 2.0 if draft.fused_features == 1 else float(draft.fused_features)
    model = draft_model(draft, target)
    own_head = 0.0 if draft.reads_target_head else float(model.head_parameters)
    second = hidden * model.attention_input_width if draft.fused_features > 1 else 0.0
    return joined * hidden * hidden + model.decoder_parameters + own_head + second


def _kept_elements(model: Model, context: FloatArray) -> FloatArray:
    """Numbers in the KV cache of one sequence; layers with a sliding window keep no more than that."""
    tokens = sum(
        (
            count * (np.minimum(context, window) if window else context)
            for window, count in model.window_layers.items()
        ),
        np.zeros_like(context),
    )
    return model.kv_elements_per_layer * tokens


def resident_bytes(
    target: Model,
    draft: Draft,
    *,
    batch: ArrayLike,
    context: ArrayLike,
    tp: int = 1,
    dtype: str = "bfloat16",
    kv_dtype: str = "bfloat16",
) -> FloatArray:
    """Bytes of weights and KV cache that each GPU holds for a batch (activations and engine buffers apart).

    Ranks share what they shard; latent projections, routers, and KV heads fewer than ranks are replicated.
    """
    b, s = np.broadcast_arrays(positive("batch", batch), positive("context", context))
    replicated = (tp - 1) * target.replicated_parameters
    weights = DTYPES[dtype].stored_bytes * (target.parameters + replicated + draft_parameters(draft, target))
    kept = _kept_elements(target, s)
    if draft.kind in ("head", "model"):
        kept = kept + _kept_elements(draft_model(draft, target), s)
    copies = max(1.0, tp / target.cached_heads)
    held: FloatArray = (weights + copies * DTYPES[kv_dtype].stored_bytes * kept * b) / tp
    return held
