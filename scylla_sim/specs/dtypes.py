"""Data types of weights, activations and KV caches: names, bytes per element, and the peak rate that each uses."""

from __future__ import annotations

from dataclasses import dataclass

from scylla_sim.checks import one_of

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
WEIGHT_DTYPE = {**PRECISION_DTYPE, "fp8_block": "fp8_block"}
"""The same for weights, which may be scaled by blocks (the fp8 checkpoints of DeepSeek-V3 and Qwen3)."""


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


BYTES_PER_ELEMENT = {"fp32": 4.0, "bf16": 2.0, "fp8": 1.0}
"""Bytes of one weight or activation by the precision names of the command line."""


def known_dtype(dtype: str) -> str:
    """Canonical dtype of a kernels row: ``bf16`` is read as ``bfloat16``, ``fp32`` as ``float32``."""
    return one_of("dtype", PRECISION_DTYPE.get(dtype, dtype), STORED_BYTES)


_PEAK = {
    "float32": "fp32",
    "bfloat16": "bf16",
    "fp8": "fp8",
    "fp8_block": "fp8",
    "int8_wo": "bf16",
    "int4_wo": "bf16",
    "sq": "int8",
    "nvfp4": "fp4",
}
QUANTIZED = ("fp8", "fp8_block", "sq", "nvfp4")
"""Dtypes whose linear layer quantizes its input first."""
