"""Columns of the kernels CSV from those of each table of aiconfigurator-core."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from gpu_validate.silicon.low_bits import TABLE_DTYPES

if TYPE_CHECKING:
    import pandas as pd

KV_RANK, ROPE_DIM = 512, 64
"""Latent and rotary widths of DeepSeek-V2, V3 and R1, the only MLA that was measured.

Source: aiconfigurator's collectors; the tables do not hold these widths.
"""
_BF16_BYTES, _FP8_BYTES = 2, 1


def _gemm(raw: pd.DataFrame) -> dict[str, Any]:
    return {"dtype": raw["gemm_dtype"], "m": raw["m"], "n": raw["n"], "k": raw["k"]}


def _attention(raw: pd.DataFrame) -> dict[str, Any]:
    return {
        "dtype": raw["attn_dtype"],
        **_cache(raw),
        "num_heads": raw["num_heads"],
        "num_kv_heads": raw["num_key_value_heads"],
        "head_dim": raw["head_dim"],
        "window": raw.get("window_size", 0),
    }


def _context(raw: pd.DataFrame) -> dict[str, Any]:
    """Return the columns of fresh prompts of one length; the column ``step`` is 0 in all tables."""
    return {
        "dtype": "bfloat16",  # kernels with an 8-bit cache may compute in 8 bits; their peak is fitted
        "kv_dtype": raw["kv_cache_dtype"],
        "batch": raw["batch_size"],
        "q_len": raw["isl"],
        "kv_len": raw["isl"] + raw["step"],
        "num_heads": raw["num_heads"],
        "num_kv_heads": raw["num_key_value_heads"],
        "head_dim": raw["head_dim"],
        "window": raw.get("window_size", 0),
    }


def _mla(raw: pd.DataFrame) -> dict[str, Any]:
    heads = {"num_heads": raw["num_heads"], "kv_rank": KV_RANK, "rope_dim": ROPE_DIM}
    return {"dtype": raw["mla_dtype"], **_cache(raw), **heads}


def _cache(raw: pd.DataFrame) -> dict[str, Any]:
    """Return the columns of a KV cache with one query per sequence."""
    return {"kv_dtype": raw["kv_cache_dtype"], "batch": raw["batch_size"], "kv_len": raw["step"] + 1, "q_len": 1}


def _moe(raw: pd.DataFrame) -> dict[str, Any]:
    """Return the columns of an MoE layer on one GPU, without the loads of its experts."""
    return {
        "dtype": raw["moe_dtype"].replace(TABLE_DTYPES),
        "num_tokens": raw["num_tokens"],
        "experts_per_token": raw["topk"],
        "num_experts": raw["num_experts"],
        "hidden_size": raw["hidden_size"],
        "inter_size": raw["inter_size"] // raw["moe_tp_size"],
        "distribution": raw["distribution"],
    }


def _static_quantization(raw: pd.DataFrame) -> dict[str, Any]:
    """Return the columns of a quantization to 8 bits with a given scale: read, scale, write."""
    size = (_BF16_BYTES + _FP8_BYTES) * raw["m"] * raw["k"]
    return {"dtype": "bfloat16", "rows": raw["m"], "bytes": size}


def _all_reduce(raw: pd.DataFrame) -> dict[str, Any]:
    graph = (~raw.get("backend", raw["kernel_source"]).str.contains("eager")).astype(int)
    size = raw["message_size"] * _BF16_BYTES
    return {"dtype": raw["allreduce_dtype"], "num_gpus": raw["num_gpus"], "bytes": size, "graph": graph}


SHAPES: dict[str, Callable[[pd.DataFrame], dict[str, Any]]] = {
    "gemm": _gemm,
    "decode_attention": _attention,
    "context_attention": _context,
    "latent_attention": _mla,
    "experts": _moe,
    "elementwise": _static_quantization,
    "all_reduce": _all_reduce,
}
"""Operation -> function that returns the shape columns of a table."""
