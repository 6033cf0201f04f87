"""FLOPs and bytes of one operation of a forward pass, from its shape alone.

The columns of an operation are arrays that broadcast over a grid of batches and contexts. No device appears here;
`scylla_sim.kernels` turns the same columns into seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from scylla_sim.checks import FloatArray
from scylla_sim.specs.dtypes import ElementBytes, element_bytes

Columns = Mapping[str, FloatArray]
"""Shape columns of an operation, by the names of the kernels CSV."""


# -- GEMMs -----------------------------------------------------------------------------------------------------


def gemm_flops(c: Columns) -> FloatArray:
    """Return the FLOPs of a GEMM: 2 m n k."""
    return 2.0 * c["m"] * c["n"] * c["k"]


def gemm_bytes(c: Columns, size: ElementBytes) -> FloatArray:
    """Return the bytes of a GEMM: weights, input and output, each once."""
    m, n, k = c["m"], c["n"], c["k"]
    return size.stored * n * k + size.activation * m * k + size.output * m * n


def grouped_gemm_bytes(c: Columns, size: ElementBytes) -> FloatArray:
    """Return the bytes of a grouped GEMM: the weights of ``groups`` groups, and every row's input and output."""
    m, n, k = c["m"], c["n"], c["k"]
    return size.stored * c["groups"] * n * k + size.activation * m * k + size.output * m * n


# -- Attention -------------------------------------------------------------------------------------------------


def attended(c: Columns) -> FloatArray:
    """Return the cached tokens that one query token attends: all of them, or a sliding window."""
    window = c["window"]
    return np.where(window > 0, np.minimum(c["kv_len"], np.maximum(window, 1.0)), c["kv_len"])


def cached(c: Columns) -> FloatArray:
    """Return the cached tokens that one pass reads for all query tokens of a sequence; their windows overlap."""
    window = c["window"]
    return np.where(window > 0, np.minimum(c["kv_len"], np.maximum(window, 1.0) + c["q_len"] - 1.0), c["kv_len"])


def attention_flops(c: Columns) -> FloatArray:
    """Return the FLOPs of attention: 4 per query row, key and head element (scores and values)."""
    return 4.0 * c["batch"] * c["num_heads"] * c["q_len"] * attended(c) * c["head_dim"]


def kv_bytes(c: Columns, size: ElementBytes) -> FloatArray:
    """Return the bytes of one read of the KV cache, which all query tokens of a sequence share."""
    return 2.0 * size.stored * c["batch"] * cached(c) * c["num_kv_heads"] * c["head_dim"]


def query_bytes(c: Columns, size: ElementBytes) -> FloatArray:
    """Return the bytes of the queries and of the attention output."""
    return 2.0 * size.output * c["batch"] * c["q_len"] * c["num_heads"] * c["head_dim"]


def attended_pairs(c: Columns) -> FloatArray:
    """Return the pairs of new query tokens and keys of one sequence under a causal mask.

    The ``q_len`` new tokens are the last of ``kv_len`` tokens. Each attends to itself and to all earlier tokens, or
    to the last ones within a window.

    Examples
    --------
    >>> float(attended_pairs({"q_len": scalar(3), "kv_len": scalar(5), "window": scalar(0)}))  # 3 + 4 + 5
    12.0
    """
    window, new = c["window"], c["q_len"]
    old = c["kv_len"] - new
    limit = np.where(window > 0, window, c["kv_len"])
    within = np.clip(limit - old, 0.0, new)  # tokens whose keys all lie in the window
    return within * old + within * (within + 1.0) / 2.0 + (new - within) * limit


def context_flops(c: Columns) -> FloatArray:
    """Return the FLOPs of context attention: 4 per pair of query and key and head element."""
    return 4.0 * c["batch"] * c["num_heads"] * c["head_dim"] * attended_pairs(c)


def context_kv_bytes(c: Columns, size: ElementBytes) -> FloatArray:
    """Return the bytes of keys and values in context attention: the cached prefix once, new tokens in 16 bits."""
    old = np.minimum(cached(c), c["kv_len"]) - c["q_len"]
    stored = size.stored * np.maximum(old, 0.0) + size.output * c["q_len"]
    return 2.0 * c["batch"] * c["num_kv_heads"] * c["head_dim"] * stored


def _context_bytes(c: Columns, size: ElementBytes) -> FloatArray:
    return context_kv_bytes(c, size) + query_bytes(c, size)


def _attention_bytes(c: Columns, size: ElementBytes) -> FloatArray:
    return kv_bytes(c, size) + query_bytes(c, size)


# -- MLA -------------------------------------------------------------------------------------------------------


def mla_flops(c: Columns) -> FloatArray:
    """Return the FLOPs of MLA: 2 per query row, key and element.

    Scores use ``kv_rank + rope_dim`` elements of a cached vector, values use ``kv_rank``.
    """
    return 2.0 * c["batch"] * c["num_heads"] * c["q_len"] * c["kv_len"] * (2.0 * c["kv_rank"] + c["rope_dim"])


def mla_cache_bytes(c: Columns, size: ElementBytes) -> FloatArray:
    """Return the bytes of one read of the compressed cache, which all heads and query tokens share.

    The cache holds one vector of ``kv_rank + rope_dim`` elements per token.
    """
    return size.stored * c["batch"] * c["kv_len"] * (c["kv_rank"] + c["rope_dim"])


def mla_query_bytes(c: Columns, size: ElementBytes) -> FloatArray:
    """Return the bytes of MLA queries (``kv_rank + rope_dim`` elements) and outputs (``kv_rank`` elements)."""
    rows = c["batch"] * c["q_len"] * c["num_heads"]
    return size.output * rows * (2.0 * c["kv_rank"] + c["rope_dim"])


def _mla_bytes(c: Columns, size: ElementBytes) -> FloatArray:
    return mla_cache_bytes(c, size) + mla_query_bytes(c, size)


# -- Data movement ---------------------------------------------------------------------------------------------


def all_reduce_bytes(c: Columns) -> FloatArray:
    """Return the bytes that one GPU sends over its link in a bandwidth-optimal all-reduce.

    Each GPU sends 2 (P - 1) / P of the message, for P GPUs.
    """
    return 2.0 * (c["num_gpus"] - 1.0) / c["num_gpus"] * c["bytes"]


def _moved_bytes(c: Columns, size: ElementBytes) -> FloatArray:
    return c["bytes"]


def _state_flops(c: Columns) -> FloatArray:
    return c["flops"]


def _no_flops(c: Columns) -> FloatArray:
    return np.zeros_like(c["bytes"])


def _no_bytes(c: Columns, size: ElementBytes) -> FloatArray:
    return np.zeros_like(c["bytes"])


# -- One operation ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Work:
    """FLOPs and memory traffic of one kind of operation.

    Attributes
    ----------
    flops
        Columns -> FLOPs of one execution; 0 for kernels that only move data.
    memory_bytes
        Columns and element sizes -> bytes of device memory of one execution, each tensor once.
    reads_kv
        Whether the stored elements are those of the KV cache rather than weights.
    """

    flops: Callable[[Columns], FloatArray]
    memory_bytes: Callable[[Columns, ElementBytes], FloatArray]
    reads_kv: bool = False


WORK = {
    "gemm": Work(gemm_flops, gemm_bytes),
    "grouped_gemm": Work(gemm_flops, grouped_gemm_bytes),
    "expert_gemm": Work(gemm_flops, grouped_gemm_bytes),
    "decode_attention": Work(attention_flops, _attention_bytes, reads_kv=True),
    "context_attention": Work(context_flops, _context_bytes, reads_kv=True),
    "chunk_attention": Work(context_flops, _context_bytes, reads_kv=True),
    "latent_attention": Work(mla_flops, _mla_bytes, reads_kv=True),
    "sparse_attention": Work(mla_flops, _mla_bytes, reads_kv=True),
    "index_scores": Work(mla_flops, _mla_bytes, reads_kv=True),
    "state_update": Work(_state_flops, _moved_bytes),
    "elementwise": Work(_no_flops, _moved_bytes),
    "all_reduce": Work(_no_flops, _no_bytes),
}
"""FLOPs and bytes by the kind of an operation."""


@dataclass(frozen=True)
class Op:
    """One operation of a forward pass.

    Attributes
    ----------
    name
        Name in breakdowns, for example ``qkv_proj``.
    kind
        One of `WORK`: ``gemm``; ``grouped_gemm`` (``m`` rows in all, each multiplied by one of ``groups`` weights
        of n x k); ``expert_gemm`` (a grouped GEMM whose groups are experts that a router chose);
        ``decode_attention`` (any ``q_len``); ``context_attention`` (new tokens of fresh prompts);
        ``chunk_attention`` (new tokens after a cached prefix); ``latent_attention`` (MLA, on a compressed cache);
        ``sparse_attention`` (MLA over tokens that an indexer picked); ``index_scores`` (the scores of that
        indexer); ``state_update`` (linear attention); ``elementwise``; ``all_reduce``.
    count
        Executions in the pass, mostly one per layer.
    columns
        Shape columns of the kernels CSV; arrays that broadcast over the grid.
    assumed
        Name of an assumption behind the columns -> the columns that differ at the ends of its range. Prediction
        turns each into a named source of error; see `scylla_sim.prediction.step_time`.
    """

    name: str
    kind: str
    count: int
    columns: Columns
    assumed: Mapping[str, tuple[Columns, ...]] = field(default_factory=dict)

    def flops(self) -> FloatArray:
        """Return the FLOPs of all executions; 0 for operations that only move data.

        Examples
        --------
        >>> float(Op("o_proj", "gemm", 32, {"m": scalar(1), "n": scalar(4096), "k": scalar(4096)}).flops()) / 1e9
        1.073741824
        """
        return self.count * WORK[self.kind].flops(self.columns)

    def memory_bytes(self, dtype: str, kv_dtype: str) -> FloatArray:
        """Return the bytes of device memory that all executions move, each tensor once.

        Parameters
        ----------
        dtype
            Data type of weights and activations.
        kv_dtype
            Data type of the KV cache; only attention uses it.
        """
        work = WORK[self.kind]
        size = element_bytes(dtype, kv_dtype if work.reads_kv else "")
        return self.count * work.memory_bytes(self.columns, size)


def scalar(value: float) -> FloatArray:
    """Return a constant column of an operation."""
    return np.asarray(float(value))


def elementwise(name: str, count: int, moved: FloatArray, rows: FloatArray | None = None) -> Op:
    """Return a kernel that only moves data.

    Parameters
    ----------
    moved
        Bytes read and written.
    rows
        Rows that the kernel reduces, one CTA each, as a norm does. ``None`` for kernels without such rows.
    """
    return Op(name, "elementwise", count, {"bytes": moved, "rows": scalar(0.0) if rows is None else rows})
