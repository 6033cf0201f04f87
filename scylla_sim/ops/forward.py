"""FLOPs and bytes: the list of operations that one forward pass executes, and what a deployment keeps in memory.

Nothing here knows a device. `forward_ops` lists what one tensor-parallel rank of the target runs to score
``tokens`` tokens a sequence; `draft_ops` what one sequential pass of the draft runs. The facts of single operations
(`scylla_sim.ops.op`) are to be had under this name too.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from scylla_sim.checks import FloatArray, fail, positive, whole
from scylla_sim.ops.decoder import Pass, decoder_layers
from scylla_sim.ops.op import Op, moving, scalar
from scylla_sim.specs.draft import Draft
from scylla_sim.specs.dtypes import element_bytes
from scylla_sim.specs.model import Model


def check_tensor_parallel(model: Model, tp: int) -> int:
    """``tp`` must divide the heads and all MLPs; KV heads are replicated when there are fewer than ranks."""
    ranks = int(whole("tp", tp, 1))
    shared = {"num_heads": model.num_heads}
    if model.num_layers > model.moe_layers:
        shared["intermediate_size"] = model.intermediate_size
    if model.moe is not None:
        shared["expert intermediate_size"] = model.moe.intermediate_size
        shared["shared_intermediate_size"] = model.moe.shared_intermediate_size
    for name, size in shared.items():
        if size % ranks:
            raise fail("tp", ranks, f"must divide {name}={size} of {model.name}")
    if model.mla is None and model.num_kv_heads % ranks and ranks % model.num_kv_heads:
        raise fail(
            "tp", ranks, f"must divide num_kv_heads={model.num_kv_heads} of {model.name}, or be its multiple"
        )
    return ranks


def _head(hidden: int, vocab: int, rows: FloatArray, tp: int, out: float) -> list[Op]:
    """Final norm, vocabulary projection, and sampling over float32 logits."""
    ops = [
        moving("final_norm", 1, 4.0 * out * hidden * rows, rows),
        Op("lm_head", "gemm", 1, {"m": rows, "n": scalar(vocab / tp), "k": scalar(hidden)}),
        moving("sampling", 1, 2.0 * 4.0 * vocab * rows),
    ]
    if tp > 1:  # gathering the logits moves half of what an all-reduce of them would
        size = 0.5 * out * vocab * rows
        ops.insert(2, Op("logits_gather", "all_reduce", 1, {"bytes": size, "num_gpus": scalar(tp)}))
    return ops


def forward_ops(
    model: Model,
    *,
    batch: ArrayLike,
    context: ArrayLike,
    tokens: ArrayLike = 1,
    tp: int = 1,
    dtype: str = "bfloat16",
) -> list[Op]:
    """Operations of one forward pass that scores ``tokens`` tokens of each of ``batch`` sequences.

    Parameters
    ----------
    batch, context, tokens
        Broadcasting arrays: sequences, tokens in each one's KV cache, tokens scored per sequence (1 is plain
        decoding, draft tree + 1 is verification).
    tp
        Tensor-parallel ranks; the list is that of one rank.

    Notes
    -----
    GEMMs have ``batch * tokens`` rows; attention reads each sequence's KV once for all its tokens; of a mixture of
    experts, those are read that any of the rows is routed to.

    Examples
    --------
    >>> from scylla_sim.specs import catalog
    >>> ops = forward_ops(catalog.model("llama-3.1-8b"), batch=1, context=1024)
    >>> round(sum(float(op.memory_bytes("bfloat16", "bfloat16")) for op in ops) / 1e9, 1)
    15.2
    """
    b, s, q = np.broadcast_arrays(
        positive("batch", batch), positive("context", context), positive("tokens", tokens)
    )
    ranks = check_tensor_parallel(model, tp)
    out = element_bytes(dtype).output
    rows = b * q
    embedding = moving("embedding", 1, 2.0 * out * model.hidden_size * rows)
    return [
        embedding,
        *decoder_layers(model, Pass(rows, b, s, q, ranks, out)),
        *_head(model.hidden_size, model.vocab_size, rows, ranks, out),
    ]


def draft_model(draft: Draft, target: Model) -> Model:
    """The transformer that a draft runs: its own, or decoder layers of the target's shape.

    Layers of a head attend the whole context. Their MLP is dense, of the ``intermediate_size`` in the target's
    config, unless the draft keeps the target's experts.
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
    """Operations of one sequential draft pass over ``width`` candidates of each sequence; empty without a model.

    A head reads the embedding and the target's features through a projection of its input (EAGLE-3: three features,
    and a first layer twice as wide), then runs its decoder layers and the vocabulary projection, which often
    dominates. Medusa's heads are one parallel pass, each a residual block and a projection.
    """
    b, s, q = np.broadcast_arrays(positive("batch", batch), positive("context", context), positive("width", width))
    if draft.kind in ("none", "ngram"):
        return []
    out = element_bytes(dtype).output
    if draft.kind == "model":
        return forward_ops(draft_model(draft, target), batch=b, context=s, tokens=q, tp=tp, dtype=dtype)
    rows, hidden = b * q, float(target.hidden_size)
    if draft.kind == "medusa":
        block = {"m": rows, "n": scalar(hidden / tp), "k": scalar(hidden)}
        ops = [Op("medusa_block", "gemm", draft.num_layers, block)]
        return ops + [
            replace(op, count=draft.num_layers)
            for op in _head(target.hidden_size, target.vocab_size, rows, tp, out)
        ]
    model = draft_model(draft, target)
    ranks = check_tensor_parallel(model, tp)
    joined = 2.0 if draft.fused_features == 1 else float(draft.fused_features)
    fuse = Op("fuse_features", "gemm", 1, {"m": rows, "n": scalar(hidden / ranks), "k": scalar(joined * hidden)})
    layers = decoder_layers(model, Pass(rows, b, s, q, ranks, out))
    if draft.fused_features > 1:  # EAGLE-3 joins embedding and feature at the first layer's attention input
        layers += [
            replace(op, name=op.name.replace("_proj", "_second_input"), count=1)
            for op in layers
            if op.name in ("qkv_proj", "qkv_a_proj", "q_proj", "kv_a_proj")
        ]
    embedding = moving("embedding", 1, 2.0 * out * hidden * rows)
    return [embedding, fuse, *layers, *_head(model.hidden_size, model.vocab_size, rows, ranks, out)]
