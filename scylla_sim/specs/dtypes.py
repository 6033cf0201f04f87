"""Data types of weights, activations and KV caches: names, bytes per element and peak rates."""

from __future__ import annotations

from dataclasses import dataclass

from scylla_sim.checks import one_of


@dataclass(frozen=True)
class Dtype:
    """One data type.

    Attributes
    ----------
    name
        Name in CSV files and calibrations.
    stored_bytes
        Bytes of one stored weight or KV cache element, including its share of the scales.
    activation_bytes
        Bytes of one input element as the GEMM kernel reads it.
    output_bytes
        Bytes of one output element.
    peak
        Precision of the datasheet peak that GEMMs of this type use (`scylla_sim.specs.hardware.PEAKS`).
    cli_name
        Name in the options of the command line. Empty for types that no option accepts.
    quantizes_input
        Whether a linear layer quantizes its input first.
    caches_kv
        Whether the command line accepts the type for the KV cache.
    keeps_head
        Whether checkpoints leave the vocabulary projection and the routers in 16 bits.
    weights_only
        Type with the same weights and 16-bit arithmetic, for devices without a peak of this type.
    nearest
        Type whose kernels are most alike; their fit is used where this type was not measured.
    """

    name: str
    stored_bytes: float
    activation_bytes: float
    output_bytes: float
    peak: str
    cli_name: str = ""
    quantizes_input: bool = False
    caches_kv: bool = False
    keeps_head: bool = False
    weights_only: str = ""
    nearest: str = ""


_ALL = (
    Dtype("bfloat16", 2.0, 2.0, 2.0, peak="bf16", cli_name="bf16", caches_kv=True),
    Dtype(
        "fp8",
        1.0,
        1.0,
        2.0,
        peak="fp8",
        cli_name="fp8",
        quantizes_input=True,
        caches_kv=True,
        weights_only="fp8_wo",
    ),
    Dtype("float32", 4.0, 4.0, 4.0, peak="fp32", cli_name="fp32", caches_kv=True),
    # weights scaled by blocks, as in the fp8 checkpoints of DeepSeek-V3 and Qwen3
    Dtype(
        "fp8_block", 1.0, 1.0, 2.0, peak="fp8", cli_name="fp8_block", quantizes_input=True, weights_only="fp8_wo"
    ),
    # "_wo": weights only, activations stay in 16 bits
    Dtype("int8_wo", 1.0, 2.0, 2.0, peak="bf16", cli_name="int8_wo", keeps_head=True),
    Dtype("fp8_wo", 1.0, 2.0, 2.0, peak="bf16", nearest="int8_wo"),
    # smaller groups, as in compressed-tensors checkpoints (Kimi-K2.5): 32 values share a 16-bit scale; 64 values
    # share a 16-bit scale and a 4-bit zero point. Both precede int4_wo, which is "int4" on the command line.
    Dtype("int4_wo_g32", 0.5625, 2.0, 2.0, peak="bf16", cli_name="int4", keeps_head=True, nearest="int4_wo"),
    Dtype("int4_wo_g64", 0.5390625, 2.0, 2.0, peak="bf16", cli_name="int4", keeps_head=True, nearest="int4_wo"),
    # groups of 128 values share a 16-bit scale and a 4-bit zero point, as in AWQ and GPTQ checkpoints
    Dtype("int4_wo", 0.51953125, 2.0, 2.0, peak="bf16", cli_name="int4", keeps_head=True),
    # 8-bit integers for weights and inputs: SmoothQuant, W8A8 checkpoints
    Dtype("sq", 1.0, 1.0, 2.0, peak="int8", cli_name="int8", quantizes_input=True, keeps_head=True),
    # 16 values share one fp8 scale
    Dtype(
        *("nvfp4", 0.5625, 0.5625, 2.0),
        peak="fp4",
        cli_name="nvfp4",
        quantizes_input=True,
        caches_kv=True,
        keeps_head=True,
        weights_only="nvfp4_wo",
    ),
    Dtype("nvfp4_wo", 0.5625, 2.0, 2.0, peak="bf16", keeps_head=True, nearest="int4_wo"),
    # 32 values share one 8-bit exponent (OCP Microscaling); activations stay in 16 bits
    Dtype("mxfp4", 0.53125, 2.0, 2.0, peak="bf16", cli_name="mxfp4", keeps_head=True, nearest="int4_wo"),
    # the same weights; inputs are quantized to fp8 with one exponent for each block of 32 (mxfp8)
    Dtype(
        *("mxfp4_fp8", 0.53125, 1.03125, 2.0),
        peak="fp8",
        cli_name="mxfp4_fp8",
        quantizes_input=True,
        keeps_head=True,
        weights_only="mxfp4",
        nearest="mxfp4",
    ),
)

DTYPES = {item.name: item for item in _ALL}
"""All data types by their name in CSV files and calibrations."""

WEIGHT_PRECISIONS = {item.cli_name: item.name for item in _ALL if item.cli_name}
"""Precision of weights on the command line -> dtype name."""

KV_PRECISIONS = {item.cli_name: item.name for item in _ALL if item.caches_kv}
"""Precision of the KV cache on the command line -> dtype name."""

UNIFORM_PRECISIONS = {name: dtype for name, dtype in KV_PRECISIONS.items() if not DTYPES[dtype].keeps_head}
"""Precision of a whole model, weights and KV cache alike, on the command line -> dtype name."""

NEAREST_KV = {"nvfp4": "fp8"}
"""KV dtype -> KV dtype whose attention kernels are most alike; their fit is used where the first has none."""


@dataclass(frozen=True)
class ElementBytes:
    """Bytes of one element of the operands of a kernel.

    Attributes
    ----------
    stored
        Bytes of a stored weight or KV cache element.
    activation
        Bytes of an input element as the kernel reads it.
    output
        Bytes of an output element.
    """

    stored: float
    activation: float
    output: float


def dtype_of(name: str) -> Dtype:
    """Return the data type with a name; `InputError` lists the known names.

    Examples
    --------
    >>> dtype_of("fp8_block").peak
    'fp8'
    """
    return DTYPES[one_of("dtype", name, DTYPES)]


def precision_name(name: str) -> str:
    """Return the command line name of a data type; its own name if it has none.

    Examples
    --------
    >>> precision_name("int4_wo"), precision_name("")
    ('int4', '')
    """
    return DTYPES[name].cli_name or name if name in DTYPES else name


def canonical_dtype(name: str) -> str:
    """Return the dtype name for a CSV cell, which may hold a command line name instead.

    Examples
    --------
    >>> canonical_dtype("bf16"), canonical_dtype("nvfp4")
    ('bfloat16', 'nvfp4')
    """
    return one_of("dtype", WEIGHT_PRECISIONS.get(name, name), DTYPES)


def element_bytes(dtype: str, kv_dtype: str = "") -> ElementBytes:
    """Return the element sizes of a kernel.

    Parameters
    ----------
    dtype
        Data type that the kernel computes in.
    kv_dtype
        Data type of the KV cache, for attention kernels; its size replaces the stored size.

    Examples
    --------
    >>> element_bytes("bfloat16", "fp8")
    ElementBytes(stored=1.0, activation=2.0, output=2.0)
    """
    item = dtype_of(dtype)
    stored = DTYPES[one_of("kv_dtype", kv_dtype, DTYPES)] if kv_dtype else item
    return ElementBytes(stored.stored_bytes, item.activation_bytes, item.output_bytes)
