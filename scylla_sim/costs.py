"""FLOPs and bytes: facts of a shape, and the list of operations that one forward pass executes.

Nothing here knows a device. `forward_ops` lists what one tensor-parallel rank of the target runs to score
``tokens`` tokens a sequence; `draft_ops` what one sequential pass of the draft runs. Columns of an operation are
arrays that broadcast over a grid of batches and contexts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from scylla_sim.checks import FloatArray, fail, one_of, positive, whole
from scylla_sim.specs import Draft, Model

Columns = Mapping[str, FloatArray]

STORED_BYTES = {
    "float32": 4.0,
    "bfloat16": 2.0,
    "fp8": 1.0,
    "fp8_block": 1.0,
    "int8_wo": 1.0,
    "int4_wo": 0.5,
    "sq": 1.0,
    "nvfp4": 0.5625,
}
"""Bytes of one weight (or KV element) by the dtype names of the kernels CSV; nvfp4 with its 1/16 of fp8 scales."""

ACTIVATION_BYTES = {**STORED_BYTES, "int8_wo": 2.0, "int4_wo": 2.0}

PRECISION_DTYPE = {"bf16": "bfloat16", "fp8": "fp8", "fp32": "float32"}
"""Precision of the command line -> dtype of the kernels CSV."""


@dataclass(frozen=True)
class ElementBytes:
    """Bytes of one element: as stored (weights, KV cache), as read by a GEMM, as written (bf16, or fp32)."""

    stored: float
    activation: float
    output: float


def element_bytes(dtype: str, kv_dtype: str = "") -> ElementBytes:
    """Element sizes of kernels of a dtype; for attention ``kv_dtype`` is what the cache stores."""
    one_of("dtype", dtype, STORED_BYTES)
    stored = STORED_BYTES[one_of("kv_dtype", kv_dtype, STORED_BYTES) if kv_dtype else dtype]
    return ElementBytes(stored, ACTIVATION_BYTES[dtype], 4.0 if dtype == "float32" else 2.0)


# -- One kernel ------------------------------------------------------------------------------------------------


def gemm_flops(c: Columns) -> FloatArray:
    """2 m n k."""
    return 2.0 * c["m"] * c["n"] * c["k"]


def gemm_bytes(c: Columns, size: ElementBytes) -> FloatArray:
    """Weights and operands once, output once."""
    m, n, k = c["m"], c["n"], c["k"]
    return size.stored * n * k + size.activation * m * k + size.output * m * n


def attended(c: Columns) -> FloatArray:
    """Tokens of the cache that are read: all of them, or the sliding window."""
    window = c["window"]
    return np.where(window > 0, np.minimum(c["kv_len"], np.maximum(window, 1.0)), c["kv_len"])


def attention_flops(c: Columns) -> FloatArray:
    """4 FLOPs per query row, key and head element (scores and values)."""
    return 4.0 * c["batch"] * c["num_heads"] * c["q_len"] * attended(c) * c["head_dim"]


def kv_bytes(c: Columns, size: ElementBytes) -> FloatArray:
    """One read of the keys and values of every sequence: all its query tokens share it."""
    return 2.0 * size.stored * c["batch"] * attended(c) * c["num_kv_heads"] * c["head_dim"]


def query_bytes(c: Columns, size: ElementBytes) -> FloatArray:
    """Queries in, results out."""
    return 2.0 * size.output * c["batch"] * c["q_len"] * c["num_heads"] * c["head_dim"]


def all_reduce_bytes(c: Columns) -> FloatArray:
    """Bytes over one GPU's link, one way, in a bandwidth-optimal all-reduce: 2 (P-1)/P of the message."""
    return 2.0 * (c["num_gpus"] - 1.0) / c["num_gpus"] * c["bytes"]


def _scalar(value: float) -> FloatArray:
    return np.asarray(float(value))


# -- One forward pass ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Op:
    """One operation of a pass.

    Attributes
    ----------
    kind
        ``gemm``, ``decode_attention`` (any ``q_len``), ``elementwise`` or ``all_reduce``.
    count
        How often the pass executes it (once a layer, mostly).
    columns
        Shape columns of the kernels CSV; arrays broadcasting over the grid.
    """

    name: str
    kind: str
    count: int
    columns: Columns

    def flops(self) -> FloatArray:
        """FLOPs of all executions; 0 for what only moves data."""
        if self.kind == "gemm":
            return self.count * gemm_flops(self.columns)
        if self.kind == "decode_attention":
            return self.count * attention_flops(self.columns)
        return np.zeros_like(self.columns["bytes"])

    def memory_bytes(self, dtype: str, kv_dtype: str) -> FloatArray:
        """Bytes of device memory moved by all executions, each tensor once."""
        if self.kind == "gemm":
            return self.count * gemm_bytes(self.columns, element_bytes(dtype))
        if self.kind == "decode_attention":
            size = element_bytes(dtype, kv_dtype)
            return self.count * (kv_bytes(self.columns, size) + query_bytes(self.columns, size))
        if self.kind == "elementwise":
            return self.count * self.columns["bytes"]
        return np.zeros_like(self.columns["bytes"])


def check_tensor_parallel(model: Model, tp: int) -> int:
    """``tp`` must divide the heads and the MLP; KV heads are replicated when there are fewer than ranks."""
    ranks = int(whole("tp", tp, 1))
    for name in ("num_heads", "intermediate_size"):
        if getattr(model, name) % ranks:
            raise fail("tp", ranks, f"must divide {name}={getattr(model, name)} of {model.name}")
    if model.num_kv_heads % ranks and ranks % model.num_kv_heads:
        raise fail(
            "tp", ranks, f"must divide num_kv_heads={model.num_kv_heads} of {model.name}, or be its multiple"
        )
    return ranks


def _layers(
    model: Model, rows: FloatArray, b: FloatArray, s: FloatArray, q: FloatArray, tp: int, out: float
) -> list[Op]:
    """Operations of the decoder layers: ``rows`` tokens in all, ``q`` a sequence, attending ``s`` each."""
    hidden, count = float(model.hidden_size), model.num_layers
    heads, kv_heads = model.num_heads // tp, max(model.num_kv_heads // tp, 1)
    mlp = model.intermediate_size / tp
    qkv = float((heads + 2 * kv_heads) * model.head_dim)

    def gemm(name: str, n: float, k: float) -> Op:
        return Op(name, "gemm", count, {"m": rows, "n": _scalar(n), "k": _scalar(k)})

    def moved(name: str, elements: FloatArray, times: int = 1) -> Op:
        return Op(name, "elementwise", times * count, {"bytes": out * elements})

    attention = {
        "batch": b,
        "kv_len": s,
        "q_len": q,
        "num_heads": _scalar(heads),
        "num_kv_heads": _scalar(kv_heads),
        "head_dim": _scalar(model.head_dim),
        "window": _scalar(0.0),
    }
    ops = [
        moved("norms", 4.0 * hidden * rows, times=2),  # fused residual add: two tensors in, two out
        gemm("qkv_proj", qkv, hidden),
        moved("rope_and_kv_write", 2.0 * qkv * rows),
        Op("attention", "decode_attention", count, attention),
        gemm("o_proj", hidden, float(heads * model.head_dim)),
        gemm("gate_up_proj", 2.0 * mlp, hidden),
        moved("activation", 3.0 * mlp * rows),
        gemm("down_proj", hidden, mlp),
    ]
    if tp > 1:
        ops.append(
            Op("all_reduce", "all_reduce", 2 * count, {"bytes": out * hidden * rows, "num_gpus": _scalar(tp)})
        )
    return ops


def _head(hidden: int, vocab: int, rows: FloatArray, tp: int, out: float) -> list[Op]:
    """Final norm, vocabulary projection, and sampling over float32 logits."""
    ops = [
        Op("final_norm", "elementwise", 1, {"bytes": 4.0 * out * hidden * rows}),
        Op("lm_head", "gemm", 1, {"m": rows, "n": _scalar(vocab / tp), "k": _scalar(hidden)}),
        Op("sampling", "elementwise", 1, {"bytes": 2.0 * 4.0 * vocab * rows}),
    ]
    if tp > 1:  # gathering the logits moves half of what an all-reduce of them would
        size = 0.5 * out * vocab * rows
        ops.insert(2, Op("logits_gather", "all_reduce", 1, {"bytes": size, "num_gpus": _scalar(tp)}))
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
    GEMMs have ``batch * tokens`` rows; attention reads each sequence's KV once for all its tokens.

    Examples
    --------
    >>> from scylla_sim import catalog
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
    embedding = Op("embedding", "elementwise", 1, {"bytes": 2.0 * out * model.hidden_size * rows})
    return [
        embedding,
        *_layers(model, rows, b, s, q, ranks, out),
        *_head(model.hidden_size, model.vocab_size, rows, ranks, out),
    ]


def draft_model(draft: Draft, target: Model) -> Model:
    """The transformer that a draft runs: its own, or decoder layers of the target's shape."""
    if draft.model is not None:
        return draft.model
    return replace(
        target,
        name=f"{draft.name} head of {target.name}",
        num_layers=draft.num_layers,
        vocab_size=draft.vocab_size or target.vocab_size,
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
        block = {"m": rows, "n": _scalar(hidden / tp), "k": _scalar(hidden)}
        ops = [Op("medusa_block", "gemm", draft.num_layers, block)]
        return ops + [
            replace(op, count=draft.num_layers)
            for op in _head(target.hidden_size, target.vocab_size, rows, tp, out)
        ]
    model = draft_model(draft, target)
    ranks = check_tensor_parallel(model, tp)
    joined = 2.0 if draft.fused_features == 1 else float(draft.fused_features)
    fuse = Op("fuse_features", "gemm", 1, {"m": rows, "n": _scalar(hidden / ranks), "k": _scalar(joined * hidden)})
    layers = _layers(model, rows, b, s, q, ranks, out)
    if draft.fused_features > 1:  # EAGLE-3 joins embedding and feature at the first layer's attention input
        qkv = next(op for op in layers if op.name == "qkv_proj")
        extra = {**qkv.columns, "k": _scalar(hidden)}
        layers.append(Op("qkv_second_input", "gemm", 1, extra))
    embedding = Op("embedding", "elementwise", 1, {"bytes": 2.0 * out * hidden * rows})
    return [embedding, fuse, *layers, *_head(model.hidden_size, model.vocab_size, rows, ranks, out)]


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
    second = (
        hidden * model.head_dim * (model.num_heads + 2 * model.num_kv_heads) if draft.fused_features > 1 else 0.0
    )
    return joined * hidden * hidden + model.num_layers * model.layer_parameters + own_head + second


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
    """Bytes of weights and KV cache that each GPU holds for a batch (activations and engine buffers apart)."""
    b, s = np.broadcast_arrays(positive("batch", batch), positive("context", context))
    weights = STORED_BYTES[dtype] * (target.parameters + draft_parameters(draft, target))
    kept = float(target.kv_elements_per_token)
    if draft.kind in ("head", "model"):
        kept += draft_model(draft, target).kv_elements_per_token
    copies = max(1.0, tp / target.num_kv_heads)
    held: FloatArray = (weights + copies * STORED_BYTES[kv_dtype] * kept * b * s) / tp
    return held
