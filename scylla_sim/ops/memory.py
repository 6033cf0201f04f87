"""Device memory of a deployment: parameters and KV cache of each tensor-parallel rank."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from scylla_sim.checks import FloatArray, positive
from scylla_sim.ops.draft import draft_model, joined_inputs
from scylla_sim.specs.draft import Draft
from scylla_sim.specs.dtypes import DTYPES
from scylla_sim.specs.model import Model


def draft_parameters(draft: Draft, target: Model) -> float:
    """Return the weights that a draft adds to the device.

    An embedding or a vocabulary projection that the draft shares with the target is not counted.
    """
    if draft.model is not None:
        return float(draft.model.parameters)
    hidden = float(target.hidden_size)
    if draft.kind == "medusa":
        return draft.num_layers * (hidden * hidden + target.head_parameters)
    if draft.kind != "head":
        return 0.0
    model = draft_model(draft, target)
    own_head = 0.0 if draft.reads_target_head else float(model.head_parameters)
    second = hidden * model.attention_input_width if draft.fused_features > 1 else 0.0
    return joined_inputs(draft) * hidden * hidden + model.decoder_parameters + own_head + second


def _kv_elements(model: Model, context: FloatArray) -> FloatArray:
    """Return the elements in the KV cache of one sequence; layers with a sliding window keep only the window."""
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
    replicated = (tp - 1) * target.replicated_parameters
    weights = DTYPES[dtype].stored_bytes * (target.parameters + replicated + draft_parameters(draft, target))
    kept = _kv_elements(target, s)
    if draft.kind in ("head", "model"):
        kept = kept + _kv_elements(draft_model(draft, target), s)
    copies = max(1.0, tp / target.cached_heads)
    held: FloatArray = (weights + copies * DTYPES[kv_dtype].stored_bytes * kept * b) / tp
    return held
