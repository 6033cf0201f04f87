"""Suite ``kernels``: GEMM, decode and verify attention, copy, read, launch latency and all-reduce.

Shapes are those of speculative decoding: few rows times real weight matrices, few queries over a long cache. The
same code runs on CUDA in bfloat16 and on a CPU in float32, with grids of different size. Cases that need several
GPUs or 8-bit units are left out on machines without them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Any

import torch

from gpu_validate.device.clocks import Call
from gpu_validate.device.facts import Device, torch_dtype
from gpu_validate.models import attention, fp8
from gpu_validate.models.decoder import linear
from gpu_validate.suites.case import ELEMENT_BYTES, Case, rotation_copies
from gpu_validate.suites.collectives import all_reduce_cases
from gpu_validate.suites.costs import operation, operations_cost
from gpu_validate.suites.kernel_shapes import (
    ATTENTION,
    CPU_GEMM_SHAPES,
    CPU_HEADS,
    FP8_GEMM_SHAPES,
    FP8_ROW_STRIDE,
    GEMM_ROWS,
    GPU_GEMM_SHAPES,
    GPU_HEADS,
)
from gpu_validate.suites.last_results import LastResults
from scylla_sim.units import MEBI


def _random(device: Device, *size: int) -> torch.Tensor:
    return torch.randn(*size, device=device.kind, dtype=torch_dtype(device))


def _shape(device: Device, op: str, **columns: Any) -> dict[str, Any]:
    return {
        "op": op,
        "device": device.hardware,
        "dtype": device.dtype,
        **columns,
        "graph": int(device.kind == "cuda"),
        "framework": "torch",
        "version": device.versions["torch"],
    }


@LastResults
def _weights(device: str, dtype: torch.dtype, n: int, k: int, count: int) -> tuple[torch.Tensor, ...]:
    """Return the weight matrices of a rotation, which consecutive cases with another m share."""
    return tuple(torch.randn(n, k, device=device, dtype=dtype) for _ in range(count))


@LastResults
def _fp8_weights(
    device: str, dtype: torch.dtype, n: int, k: int, count: int
) -> tuple[tuple[torch.Tensor, torch.Tensor], ...]:
    """Return the 8-bit weight matrices of a rotation with their scales."""
    return tuple(fp8.quantize(torch.randn(n, k, device=device, dtype=dtype)) for _ in range(count))


@LastResults
def _contexts(
    device: str, dtype: torch.dtype, size: tuple[int, ...], count: int
) -> tuple[tuple[torch.Tensor, torch.Tensor], ...]:
    """Return the keys and values of a rotation, which cases with other queries share."""
    made = (torch.randn(*size, device=device, dtype=dtype) for _ in range(2 * count))
    return tuple(zip(made, made))


def gemm_case(device: Device, m: int, n: int, k: int) -> Case:
    """Return the case of a GEMM ``(m, k) @ (k, n)`` as a layer of the decoder runs it."""
    cost = operations_cost([operation("gemm", m=m, n=n, k=k)], device.dtype)
    count = rotation_copies(device, ELEMENT_BYTES[device.dtype] * n * k)

    def build() -> Sequence[Call]:
        x = _random(device, m, k)
        weights = _weights(device.kind, torch_dtype(device), n, k, count)
        return [lambda w=w: linear(x, w) for w in weights]  # type: ignore[misc]

    return Case(
        id=f"gemm-m{m}-n{n}-k{k}",
        shape=_shape(device, "gemm", m=m, n=n, k=k, kernel_source="torch_linear"),
        flop=cost.flop,
        bytes=cost.bytes,
        memory_bytes=count * cost.bytes,
        build=build,
        graph=True,
    )


def fp8_case(device: Device, m: int, n: int, k: int, *, padded: bool = False) -> Case:
    """Return the case of a GEMM of two quantized matrices. Quantization is a case of its own.

    With ``padded``, few rows are padded as in engines; see `gpu_validate.models.fp8.gemm`.
    """
    cost = operations_cost([operation("gemm", m=m, n=n, k=k)], "fp8")
    count = rotation_copies(device, float(n * k))

    def build() -> Sequence[Call]:
        x = fp8.quantize(_random(device, m, k))
        weights = _fp8_weights(device.kind, torch_dtype(device), n, k, count)
        return [lambda w=w: fp8.gemm(x, w, torch_dtype(device), padded=padded) for w in weights]  # type: ignore[misc]

    return Case(
        id=f"gemm-fp8-m{m}-n{n}-k{k}{'-padded' if padded else ''}",
        shape=_shape(device, "gemm", m=m, n=n, k=k, kernel_source=f"torch_scaled_mm{'_padded' if padded else ''}")
        | {"dtype": "fp8"},
        flop=cost.flop,
        bytes=cost.bytes,
        memory_bytes=count * cost.bytes + 6.0 * n * k,
        build=build,
        graph=True,
    )


def quantize_case(device: Device, m: int, k: int) -> Case:
    """Return the case of quantizing activations ``(m, k)`` from 16 to 8 bits with a dynamic scale."""
    element = ELEMENT_BYTES[device.dtype]
    size = m * k * (element + 1.0)
    count = rotation_copies(device, size)

    def build() -> Sequence[Call]:
        rows = [_random(device, m, k) for _ in range(count)]
        return [lambda x=x: fp8.quantize(x) for x in rows]  # type: ignore[misc]

    return Case(
        id=f"quantize-m{m}-k{k}",
        shape=_shape(device, "quantise", m=m, k=k, kernel_source="torch_dynamic_scale"),
        flop=2.0 * m * k,
        bytes=size,
        memory_bytes=8.0 * count * size,
        build=build,
        graph=True,
    )


def _attention(device: Device, op: str, name: str, shape: Mapping[str, int], kernel: str, usual: str) -> Case:
    """Return a case of attention, whose id starts with ``name`` and names the kernel unless it is the usual one."""
    cost = operations_cost([operation(op, **shape)], device.dtype)
    count = rotation_copies(device, cost.bytes)
    batch, num_heads, num_kv_heads, head_dim = (
        shape[column] for column in ("batch", "num_heads", "num_kv_heads", "head_dim")
    )

    def build() -> Sequence[Call]:
        q = _random(device, batch, num_heads, shape["q_len"], head_dim)
        size = (batch, num_kv_heads, shape["kv_len"], head_dim)
        return attention.kernel_calls(kernel, q, _contexts(device.kind, torch_dtype(device), size, count))

    other = "" if kernel == usual else f"-{kernel}"
    return Case(
        id=f"{name}-h{num_heads}-kv{num_kv_heads}-d{head_dim}{other}",
        shape=_shape(device, op, kv_dtype=device.dtype, **shape, kernel_source=kernel),
        flop=cost.flop,
        bytes=cost.bytes,
        memory_bytes=count * cost.bytes,
        build=build,
        graph=True,
    )


def _heads(heads: tuple[int, int, int]) -> dict[str, int]:
    """Return the columns of ``(num_heads, num_kv_heads, head_dim)``, without a sliding window."""
    return dict(zip(("num_heads", "num_kv_heads", "head_dim"), heads)) | {"window": 0}


def attention_case(
    device: Device, batch: int, kv_len: int, q_len: int, heads: tuple[int, int, int], kernel: str = ""
) -> Case:
    """Return the case of the last ``q_len`` of ``kv_len`` cached tokens attending to all of them.

    Parameters
    ----------
    device
        Device under test.
    batch, kv_len, q_len
        Shape.
    heads
        ``(num_heads, num_kv_heads, head_dim)``.
    kernel
        Kernel to run; the decoder's by default.
    """
    shape = {"batch": batch, "kv_len": kv_len, "q_len": q_len, **_heads(heads)}
    usual = attention.decoder_kernel(device.kind)
    name = f"attention-b{batch}-s{kv_len}-q{q_len}"
    return _attention(device, "decode_attention", name, shape, kernel or usual, usual)


def prompt_case(
    device: Device, batch: int, cached: int, q_len: int, heads: tuple[int, int, int], kernel: str = ""
) -> Case:
    """Return the case of prompts of ``q_len`` new tokens that attend to each other and to a cached prefix.

    Parameters
    ----------
    device
        Device under test.
    batch, cached, q_len
        Prompts, tokens of the prefix of each, and new tokens of each.
    heads
        ``(num_heads, num_kv_heads, head_dim)``.
    kernel
        Kernel to run; the decoder's by default.
    """
    shape = {"batch": batch, "q_len": q_len, "kv_len": cached + q_len, **_heads(heads)}
    usual = attention.prompt_kernel(device.kind)
    name = f"prompt-b{batch}-p{cached}-q{q_len}"
    return _attention(device, "context_attention", name, shape, kernel or usual, usual)


def stream_case(device: Device, op: str, size: float) -> Case:
    """Return the case of a copy (read and write) or a read (sum) of ``size`` bytes."""
    count = rotation_copies(device, size)
    elements = int(size / ELEMENT_BYTES[device.dtype])

    def build() -> Sequence[Call]:
        sources = [_random(device, elements) for _ in range(count)]
        if op == "read":
            return [source.sum for source in sources]
        target = torch.empty_like(sources[0])
        return [lambda source=source: target.copy_(source) for source in sources]  # type: ignore[misc]

    return Case(
        id=f"{op}-{int(size / MEBI)}MiB",
        shape=_shape(device, op, kernel_source=f"torch_{op}"),
        flop=float(elements),
        bytes=size * (2.0 if op == "copy" else 1.0),
        memory_bytes=(count + 1) * size,
        build=build,
    )


def launch_case(device: Device, *, graph: bool) -> Case:
    """Return the case of an addition to one number, which takes only the launch latency."""

    def build() -> Sequence[Call]:
        x = _random(device, 1)
        return [lambda: x.add_(0.0)] * 20

    return Case(
        id=f"launch-{'graph' if graph else 'eager'}",
        shape=_shape(device, "launch", kernel_source="torch_add") | {"graph": int(graph)},
        flop=1.0,
        bytes=2.0 * ELEMENT_BYTES[device.dtype],
        memory_bytes=ELEMENT_BYTES[device.dtype],
        build=build,
        graph=graph,
    )


MAX_PADDED_ROWS = fp8.MIN_ROWS - 1
"""Largest number of rows that padding applies to."""


def _fp8_cases(device: Device, scale: str) -> Iterator[Case]:
    """Yield 8-bit GEMMs of the layers and the quantization of their inputs.

    Engines keep the head in 16 bits.
    """
    for n, k in FP8_GEMM_SHAPES[scale]:
        for m in GEMM_ROWS[scale][:: FP8_ROW_STRIDE[scale]]:
            yield fp8_case(device, m, n, k)
    for k in sorted({k for _, k in FP8_GEMM_SHAPES[scale]}):
        for m in GEMM_ROWS["ci"]:
            yield quantize_case(device, m, k)


def cases(device: Device, scale: str) -> Iterator[Case]:
    """Yield all cases of the suite on a device, cheap ones first within each operation."""
    gpu = device.kind == "cuda"
    yield launch_case(device, graph=False)
    if gpu:
        yield launch_case(device, graph=True)
    for size in (256 * MEBI, 1024 * MEBI) if gpu else (64 * MEBI,):
        yield stream_case(device, "copy", size)
        yield stream_case(device, "read", size)
    for n, k in (GPU_GEMM_SHAPES if gpu else CPU_GEMM_SHAPES)[scale]:
        for m in GEMM_ROWS[scale]:
            yield gemm_case(device, m, n, k)
    if device.has_fp8 and device.dtype == "bfloat16":
        yield from _fp8_cases(device, scale)
    for heads in (GPU_HEADS if gpu else CPU_HEADS)[scale]:
        for batch, kv_len, q_len in product(*ATTENTION[device.kind, scale]):
            yield attention_case(device, batch, kv_len, q_len, heads)
    yield from all_reduce_cases(device, scale)
