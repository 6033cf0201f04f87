"""Tables of weights in 4 bits and of 8-bit integers, which few devices and versions measured."""

from __future__ import annotations

from collections.abc import Mapping

_DATA_CENTER = ("b200-sxm", "b300-sxm", "gb200", "gb300")
_BLACKWELL = (*_DATA_CENTER, "rtx-pro-6000")
_OF_GPT_OSS = dict.fromkeys(("h100-sxm", "h200-sxm", "l40s", *_BLACKWELL), ("vllm", "0.24.0"))
LOW_BITS: Mapping[str, Mapping[str, Mapping[str, tuple[str, str]]]] = {
    "gemm": {name: {"a100-sxm": ("trtllm", "1.0.0")} for name in ("int4_wo", "int8_wo", "sq")},
    "experts": {
        "int4_wo": {
            "a100-sxm": ("sglang", "0.5.10"),
            "h100-sxm": ("sglang", "0.5.10"),
            "h200-sxm": ("sglang", "0.5.10"),
            **dict.fromkeys(_DATA_CENTER, ("vllm", "0.24.0")),
        },
        "mxfp4": _OF_GPT_OSS,
        "mxfp4_fp8": dict.fromkeys(_DATA_CENTER, ("sglang", "0.5.14")),
        "nvfp4": dict.fromkeys(_BLACKWELL, ("vllm", "0.24.0")),
    },
}
"""Operation, data type and device -> framework and version of the table, for types that are read on request only.

Notes
-----
GEMM
    Only TensorRT-LLM 1.0.0 on A100 measured weights in 4 bits, weights in 8 bits, and 8-bit integers (SmoothQuant).
Experts in ``int4_wo``
    Marlin kernels. The tables of A100 and Hopper hold ten models, those of data center Blackwell Kimi K2 alone.
    vLLM 0.19.0 measured ten models on B200 and H200 too, but through other code. On H200 its layers take 2.9 times
    as long as those of SGLang 0.5.10 and of vLLM 0.24.0, which agree within a tenth (Kimi K2, 64 tokens). Served
    Kimi K2.5 on B200 agrees with 0.24.0.
Experts in ``mxfp4``
    The two models of gpt-oss, which differ in the number of experts only. The tables call the type
    ``w4a16_mxfp4``: activations have 16 bits.
Experts in ``mxfp4_fp8``
    The same models with 8-bit activations, ``w4a8_mxfp4_mxfp8``. Kernels of TensorRT-LLM, by FlashInfer. With
    16-bit activations, SGLang and vLLM agree within 2 % on these kernels.
"""

REPEATS: Mapping[str, Mapping[str, Mapping[str, tuple[str, str]]]] = {
    "gemm": {},
    "experts": {
        "int4_wo": dict.fromkeys(("h100-sxm", "h200-sxm"), ("vllm", "0.24.0")),
        "mxfp4": dict.fromkeys(_BLACKWELL, ("sglang", "0.5.14")),
        "mxfp4_fp8": dict.fromkeys(_DATA_CENTER, ("trtllm", "1.3.0rc20")),
        "nvfp4": dict.fromkeys(_BLACKWELL, ("sglang", "0.5.14")),
    },
}
"""Operation, data type and device -> framework and version that measured the same kind of kernel again.

Notes
-----
Marlin in ``int4_wo``, kernels of TensorRT-LLM on data center Blackwell (from it or FlashInfer), Marlin in
``mxfp4`` and CUTLASS in ``nvfp4`` on RTX PRO 6000. Elsewhere the second framework runs another kind of kernel.
"""

TABLE_DTYPES = {"w4a16_mxfp4": "mxfp4", "w4a8_mxfp4_mxfp8": "mxfp4_fp8"}
"""Data type in the package's MoE tables -> name in the kernels CSV, where they differ."""

KERNELS = {"mxfp4": "vllm_gptossmxfp4moe"}
"""Data type of experts -> first letters of the only kernels that `read` returns.

The tables of gpt-oss also hold one other model, with 896 experts. It ran Marlin kernels on all devices, and one
shape of weights does not make a fit that could be scored.
"""

GPT_OSS_HIDDEN = 2880
"""Width of the layers of gpt-oss, the only models of ``mxfp4_fp8`` that `read` returns."""


def dtypes_of(device: str, op: str) -> list[str]:
    """Return the data types of `LOW_BITS` that were measured on a device.

    Examples
    --------
    >>> dtypes_of("h100-sxm", "experts"), dtypes_of("h100-sxm", "gemm")
    (['int4_wo', 'mxfp4'], [])
    """
    return [name for name, tables in LOW_BITS.get(op, {}).items() if device in tables]


def repeated(device: str, op: str) -> list[str]:
    """Return the data types of `LOW_BITS` that a second framework measured on a device."""
    return [name for name, tables in REPEATS.get(op, {}).items() if device in tables]
