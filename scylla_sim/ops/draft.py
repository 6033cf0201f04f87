"""Operations of one sequential pass of a draft: EAGLE heads, Medusa heads, and draft models.

`draft_ops` is the list of operations, for example of an EAGLE-3 head.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from scylla_sim.checks import positive
from scylla_sim.ops.decoder import Pass, decoder_layers
from scylla_sim.ops.forward import check_tensor_parallel, forward_ops, output_head
from scylla_sim.ops.op import Op, elementwise, scalar
from scylla_sim.specs.draft import Draft
from scylla_sim.specs.dtypes import element_bytes
from scylla_sim.specs.model import Model

_ATTENTION_INPUTS = ("qkv_proj", "qkv_a_proj", "q_proj", "kv_a_proj")
"""Projections that read the input of an attention layer."""


def joined_inputs(draft: Draft) -> float:
    """Return the number of hidden-size vectors that a head fuses into its input.

    A head with one feature fuses it with the token embedding. EAGLE-3 fuses its features alone, and reads the
    embedding in the first layer.
    """
    return 2.0 if draft.fused_features == 1 else float(draft.fused_features)


def draft_model(draft: Draft, target: Model) -> Model:
    """Return the transformer that a draft runs: its own, or decoder layers of the target's shape.

    The layers of a head attend the whole context. Their MLP is dense, with the ``intermediate_size`` of the
    target's config, unless the draft keeps the target's experts.
    """
    if draft.model is not None:
        return draft.model
    moe = replace(target.moe, dense_layers=0) if target.moe and draft.keeps_experts else None
    return replace(
        target,
        name=f"{draft.name} head of {target.name}",
        num_layers=draft.num_layers,
        vocab_size=draft.vocab_size or target.vocab_size,
        moe=moe,
        windows=(),
    )


def draft_ops(
    draft: Draft,
    target: Model,
    *,
    batch: ArrayLike,
    context: ArrayLike,
    width: ArrayLike = 1,
    tp: int = 1,
    dtype: str = "bfloat16",
) -> list[Op]:
    """Return the operations of one sequential draft pass; an empty list for drafts without a model.

    Parameters
    ----------
    batch, context, width
        Broadcasting arrays: sequences, tokens in each KV cache, candidates of each sequence in this pass.
    tp
        Tensor-parallel ranks; the list is that of one rank.

    Raises
    ------
    InputError
        ``tp`` does not divide the draft's model.

    Notes
    -----
    - An EAGLE head projects the target's features, runs its decoder layers and projects to the vocabulary, which
      often dominates. EAGLE-3 fuses three features, and its first layer reads an input twice as wide.
    - Medusa heads are one parallel pass: each is a residual block and a vocabulary projection.

    Examples
    --------
    >>> from scylla_sim.specs import catalog
    >>> ops = draft_ops(catalog.draft("eagle3"), catalog.model("llama-3.1-8b"), batch=8, context=1024)
    >>> [op.name for op in ops if op.kind == "gemm"]  # doctest: +NORMALIZE_WHITESPACE
    ['fuse_features', 'qkv_proj', 'o_proj', 'gate_up_proj', 'down_proj', 'qkv_second_input', 'lm_head']
    """
    b, s, q = np.broadcast_arrays(positive("batch", batch), positive("context", context), positive("width", width))
    if draft.kind in ("none", "ngram"):
        return []
    if draft.kind == "model":
        return forward_ops(draft_model(draft, target), batch=b, context=s, tokens=q, tp=tp, dtype=dtype)
    out = element_bytes(dtype).output
    rows, hidden = b * q, float(target.hidden_size)
    if draft.kind == "medusa":
        block = {"m": rows, "n": scalar(hidden / tp), "k": scalar(hidden)}
        heads = output_head(target.hidden_size, target.vocab_size, rows, tp=tp, output_bytes=out)
        return [
            Op("medusa_block", "gemm", draft.num_layers, block),
            *(replace(op, count=draft.num_layers) for op in heads),
        ]
    model = draft_model(draft, target)
    ranks = check_tensor_parallel(model, tp)
    fused = {"m": rows, "n": scalar(hidden / ranks), "k": scalar(joined_inputs(draft) * hidden)}
    layers = decoder_layers(model, Pass(rows, b, s, q, ranks, out))
    if draft.fused_features > 1:  # EAGLE-3 joins embedding and feature at the first layer's attention input
        layers += [
            replace(op, name=op.name.replace("_proj", "_second_input"), count=1)
            for op in layers
            if op.name in _ATTENTION_INPUTS
        ]
    return [
        elementwise("embedding", 1, 2.0 * out * hidden * rows),
        Op("fuse_features", "gemm", 1, fused),
        *layers,
        *output_head(model.hidden_size, model.vocab_size, rows, tp=ranks, output_bytes=out),
    ]
