"""Tables of weights in 4 bits and of 8-bit integers, which few devices and versions measured."""

from __future__ import annotations

from collections.abc import Mapping

_OF_GPT_OSS = dict.fromkeys(
    ("h100-sxm", "h200-sxm", "b200-sxm", "b300-sxm", "gb200", "gb300", "l40s", "rtx-pro-6000"), ("vllm", "0.24.0")
)
LOW_BITS: Mapping[str, Mapping[str, Mapping[str, tuple[str, str]]]] = {
    "gemm": {name: {"a100-sxm": ("trtllm", "1.0.0")} for name in ("int4_wo", "int8_wo", "sq")},
    "experts": {
        "int4_wo": {
            "a100-sxm": ("sglang", "0.5.10"),
            "h100-sxm": ("sglang", "0.5.10"),
            "h200-sxm": ("sglang", "0.5.10"),
            "b200-sxm": ("vllm", "0.19.0"),
        },
        "mxfp4": _OF_GPT_OSS,
        "nvfp4": dict.fromkeys(("b200-sxm", "b300-sxm", "gb200", "gb300", "rtx-pro-6000"), ("vllm", "0.24.0")),
    },
}
"""Operation, data type and device -> framework and version of the table, for types that are read on request only.

Notes
-----
GEMM
    Only TensorRT-LLM 1.0.0 on A100 measured weights in 4 bits, weights in 8 bits, and 8-bit integers (SmoothQuant).
Experts in ``int4_wo``
    Newer tables hold Kimi K2 alone. The named versions hold ten models. All of them ran Marlin kernels.
Experts in ``mxfp4``
    All tables hold gpt-oss, whose two models differ in the number of experts only. They call the type
    ``w4a16_mxfp4``: activations have 16 bits.
"""
