"""FLOPs and bytes of one operation of a forward pass: facts of a shape, with no device in them.

Columns of an operation are arrays that broadcast over a grid of batches and contexts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from scylla_sim.checks import FloatArray
from scylla_sim.specs.dtypes import ElementBytes, element_bytes

Columns = Mapping[str, FloatArray]


GROUPED = ("grouped_gemm", "expert_gemm")
ATTENTION = ("decode_attention", "latent_attention")
"""Kinds of operations that read the KV cache."""


# -- One kernel ------------------------------------------------------------------------------------------------


def gemm_flops(c: Columns) -> FloatArray:
    """2 m n k."""
    return 2.0 * c["m"] * c["n"] * c["k"]


def gemm_bytes(c: Columns, size: ElementBytes) -> FloatArray:
    """Weights and operands once, output once."""
    m, n, k = c["m"], c["n"], c["k"]
    return size.stored * n * k + size.activation * m * k + size.output * m * n


def grouped_gemm_bytes(c: Columns, size: ElementBytes) -> FloatArray:
    """Weights of the ``groups`` that any row meets, every row's operand and output once."""
    m, n, k = c["m"], c["n"], c["k"]
    return size.stored * c["groups"] * n * k + size.activation * m * k + size.output * m * n


def attended(c: Columns) -> FloatArray:
    """Tokens of the cache that one query token attends: all of them, or the sliding window."""
    window = c["window"]
    return np.where(window > 0, np.minimum(c["kv_len"], np.maximum(window, 1.0)), c["kv_len"])


def cached(c: Columns) -> FloatArray:
    """Tokens of the cache that one pass reads for all query tokens of a sequence: their windows overlap."""
    window = c["window"]
    return np.where(window > 0, np.minimum(c["kv_len"], np.maximum(window, 1.0) + c["q_len"] - 1.0), c["kv_len"])


def attention_flops(c: Columns) -> FloatArray:
    """4 FLOPs per query row, key and head element (scores and values)."""
    return 4.0 * c["batch"] * c["num_heads"] * c["q_len"] * attended(c) * c["head_dim"]


def kv_bytes(c: Columns, size: ElementBytes) -> FloatArray:
    """One read of the keys and values of every sequence: all its query tokens share it."""
    return 2.0 * size.stored * c["batch"] * cached(c) * c["num_kv_heads"] * c["head_dim"]


def query_bytes(c: Columns, size: ElementBytes) -> FloatArray:
    """Queries in, results out."""
    return 2.0 * size.output * c["batch"] * c["q_len"] * c["num_heads"] * c["head_dim"]


def latent_flops(c: Columns) -> FloatArray:
    """2 FLOPs per query row, key and element: scores take kv_rank + rope_dim elements, values kv_rank."""
    return 2.0 * c["batch"] * c["num_heads"] * c["q_len"] * c["kv_len"] * (2.0 * c["kv_rank"] + c["rope_dim"])


def latent_bytes(c: Columns, size: ElementBytes) -> FloatArray:
    """One read of the compressed cache: a vector of kv_rank + rope_dim a token, for all heads and query tokens."""
    return size.stored * c["batch"] * c["kv_len"] * (c["kv_rank"] + c["rope_dim"])


def latent_query_bytes(c: Columns, size: ElementBytes) -> FloatArray:
    """Queries of kv_rank + rope_dim elements in, results of kv_rank out."""
    rows = c["batch"] * c["q_len"] * c["num_heads"]
    return size.output * rows * (2.0 * c["kv_rank"] + c["rope_dim"])


def all_reduce_bytes(c: Columns) -> FloatArray:
    """Bytes over one GPU's link, one way, in a bandwidth-optimal all-reduce: 2 (P-1)/P of the message."""
    return 2.0 * (c["num_gpus"] - 1.0) / c["num_gpus"] * c["bytes"]


def scalar(value: float) -> FloatArray:
    """Constant column of an operation."""
    return np.asarray(float(value))


@dataclass(frozen=True)
class Op:
    """One operation of a pass.

    Attributes
    ----------
    kind
        ``gemm``; ``grouped_gemm`` (``m`` rows in all, each multiplied by one of ``groups`` weights of n x k) and
        ``expert_gemm`` (the same, the groups being experts that a router chose);
        ``decode_attention`` (any ``q_len``); ``latent_attention`` (the same, on a compressed cache);
        ``elementwise`` or ``all_reduce``.
    count
        How often the pass executes it (once a layer, mostly).
    columns
        Shape columns of the kernels CSV (and ``groups``); arrays broadcasting over the grid.
    """

    name: str
    kind: str
    count: int
    columns: Columns

    def flops(self) -> FloatArray:
        """FLOPs of all executions; 0 for what only moves data."""
        if self.kind in ("gemm", *GROUPED):
            return self.count * gemm_flops(self.columns)
        if self.kind in ATTENTION:
            flops = latent_flops if self.kind == "latent_attention" else attention_flops
            return self.count * flops(self.columns)
        return np.zeros_like(self.columns["bytes"])

    def memory_bytes(self, dtype: str, kv_dtype: str) -> FloatArray:
        """Bytes of device memory moved by all executions, each tensor once."""
        if self.kind == "gemm":
            return self.count * gemm_bytes(self.columns, element_bytes(dtype))
        if self.kind in GROUPED:
            return self.count * grouped_gemm_bytes(self.columns, element_bytes(dtype))
        if self.kind in ATTENTION:
            size = element_bytes(dtype, kv_dtype)
            if self.kind == "latent_attention":
                return self.count * (latent_bytes(self.columns, size) + latent_query_bytes(self.columns, size))
            return self.count * (kv_bytes(self.columns, size) + query_bytes(self.columns, size))
        if self.kind == "elementwise":
            return self.count * self.columns["bytes"]
        return np.zeros_like(self.columns["bytes"])


def moving(name: str, count: int, moved: FloatArray, rows: FloatArray | None = None) -> Op:
    """Kernel that only moves ``moved`` bytes; a norm reduces ``rows``, one CTA each, others can be cut anywhere."""
    return Op(name, "elementwise", count, {"bytes": moved, "rows": scalar(0.0) if rows is None else rows})
