"""GEMMs of 8 bits whose input the norm or activation before them quantizes.

The rows behind the fits time a GEMM together with the kernel that quantizes its input. Engines with compiled graphs
quantize in the kernel before, which writes fewer bytes and takes no longer. The fit without its quantizer then
describes the GEMM.

Notes
-----
Sources: vLLM, docs/design/fusions.md: on NVIDIA GPUs the compiler fuses norms and activations with quantization.
Attention is not fused by default. With scales per token the document has the fusion after norms only; the upper end
of the interval holds the quantizer. ``gpu_validate/recorded``: 8-bit GEMMs of torch with quantized inputs.
Bias of the fit on those of 1,024 rows, on GPUs to which none of them was fitted:

======  ================  ==================
GPU     with quantizer    without
======  ================  ==================
H100    +40 %             +12 %
H200    +32 %             +2 %
======  ================  ==================

With fewer rows the fit stays 3-8 us longer: launching the quantizer is part of its launch latency, which is kept.

The simulator fuses on Hopper only. No such GEMM was measured on B200. Serving runs of Llama-3.1-70B under vLLM
there agree with the quantizer: the time to the first token errs by -5 %, without it by -12 %. This choice saw those
runs.

Without CUDA graphs nothing is fused, because vLLM's ``--enforce-eager`` also turns compilation off (vLLM,
docs/design/debug_vllm_compile.md).
"""

from __future__ import annotations

from scylla_sim.ops.op import Op
from scylla_sim.ops.weights import base_name
from scylla_sim.specs.engine import Engine
from scylla_sim.specs.hardware import Hardware

FAMILY = "hopper"
"""Family of the GPUs whose GEMMs and serving runs agree with a fused quantizer."""
DTYPES = ("fp8",)
"""Data types whose quantizers engines fuse. Blocks of 128 values (fp8_block) are quantized apart."""
AFTER_NORM = (
    "qkv_proj",
    "q_proj",
    "qkv_a_proj",
    "kv_a_proj",
    "q_b_proj",
    "linear_in_proj",
    "gate_up_proj",
    "up_proj",
)
AFTER_ACTIVATION = ("down_proj",)
"""GEMMs by the kernel before them. The output projection comes after attention, which is not fused by default."""
_FUSED = frozenset((*AFTER_NORM, *AFTER_ACTIVATION))


def applies(op: Op, dtype: str, engine: Engine, hardware: Hardware) -> bool:
    """Return whether an engine quantizes the input of an operation in the kernel before it.

    Examples
    --------
    >>> from scylla_sim.specs import catalog
    >>> vllm, h200 = catalog.engine("vllm"), catalog.hardware("h200-sxm")
    >>> [applies(Op(name, "gemm", 1, {}), "fp8", vllm, h200) for name in ("full_qkv_proj", "down_proj", "o_proj")]
    [True, True, False]
    >>> applies(Op("down_proj", "gemm", 1, {}), "fp8", catalog.engine("vllm-2025"), h200)
    False
    """
    if not engine.fuses_quantizer or engine.eager or hardware.family != FAMILY:
        return False
    return dtype in DTYPES and op.kind == "gemm" and base_name(op.name) in _FUSED
