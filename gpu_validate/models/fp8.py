"""GEMMs in 8-bit floating point: quantized weights, and activations that are quantized at run time.

GEMMs are calls of ``torch._scaled_mm`` with fast accumulation, as in serving engines. Each tensor has one scale.
Quantization of the activations is timed separately. A dynamic scale needs a maximum, a division and a cast, which
are many kernels in torch. A static scale needs one kernel. Attention, the KV cache and the vocabulary projection
stay in 16 bits, as in engines. On a CPU the same code is slow; only tests use it.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gpu_validate.models import triton_fused
from gpu_validate.models.triton_support import triton_available
from scylla_sim.checks import fail

DTYPE = torch.float8_e4m3fn
"""8-bit type with four exponent and three mantissa bits, which engines use for weights and activations."""

MIN_ROWS = 17
"""Number of rows that padding fills up to. Source: vllm-project/vllm, issue 32269, where cuBLAS on Hopper ran a
slow kernel for fewer rows. cuBLAS 13 on an H100 has no such slow kernel: padding costs 2-3 us and saves nothing
(``gpu_validate/recorded/h100-sxm``).
"""
STATIC_MAX = 16.0
"""Largest activation that a static scale represents. Normed activations of random weights stay below it."""

SIDE_MULTIPLE = 16
"""Multiple that the rows and columns of a weight must have for ``torch._scaled_mm``."""


def quantize(x: Tensor) -> tuple[Tensor, Tensor]:
    """Quantize a tensor with the scale of its largest magnitude.

    Returns
    -------
    quantized, scale
        8-bit tensor and scale, with ``x`` close to ``quantized * scale``. The scale stays on the device, so nothing
        waits for it.
    """
    largest = torch.finfo(DTYPE).max
    scale = (x.abs().amax().float() / largest).clamp(min=torch.finfo(torch.float32).tiny)
    return (x.float() / scale).clamp(-largest, largest).to(DTYPE), scale


def quantize_static(x: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Quantize a tensor with a given scale and clip values outside the range."""
    if triton_available(x):
        return triton_fused.quantize_static(x, scale.reciprocal()), scale
    largest = torch.finfo(DTYPE).max
    return (x.float() / scale).clamp(-largest, largest).to(DTYPE), scale


def gemm(
    x: tuple[Tensor, Tensor], weight: tuple[Tensor, Tensor], dtype: torch.dtype, *, padded: bool = False
) -> Tensor:
    """Return ``x @ weight.T`` of two quantized matrices.

    Parameters
    ----------
    x
        ``(m, k)`` matrix and its scale.
    weight
        ``(n, k)`` matrix and its scale.
    dtype
        Dtype of the result.
    padded
        Whether fewer than `MIN_ROWS` rows are padded to `MIN_ROWS`.
    """
    rows = len(x[0])
    left = x[0]
    if padded and rows < MIN_ROWS:
        left = torch.zeros(MIN_ROWS, x[0].shape[1], dtype=DTYPE, device=x[0].device)
        left[:rows] = x[0]
    out: Tensor = torch._scaled_mm(
        left, weight[0].t(), scale_a=x[1], scale_b=weight[1], out_dtype=dtype, use_fast_accum=x[0].is_cuda
    )
    return out[:rows]


class QuantizedProjection(nn.Module):
    """Projection without bias and with 8-bit weights that quantizes its input at each call.

    Parameters
    ----------
    weight
        ``(n, k)`` weight in 16 or 32 bits. Both sides must be multiples of `SIDE_MULTIPLE`.
    static
        Whether the input uses a static scale, as in calibrated checkpoints. Activations beyond `STATIC_MAX` are
        then clipped.
    """

    given: Tensor | None

    def __init__(self, weight: Tensor, *, static: bool = False) -> None:
        super().__init__()
        given = torch.tensor(STATIC_MAX / torch.finfo(DTYPE).max, device=weight.device) if static else None
        self.register_buffer("given", given, persistent=False)
        for size in weight.shape:
            if size % SIDE_MULTIPLE:
                raise fail(
                    "weight", tuple(weight.shape), f"must have sides that are multiples of {SIDE_MULTIPLE} for fp8"
                )
        stored, scale = quantize(weight)
        self.weight = nn.Parameter(stored, requires_grad=False)
        self.scale = nn.Parameter(scale, requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """Map ``(..., k)`` to ``(..., n)`` in the dtype of ``x``."""
        rows = x.reshape(-1, x.shape[-1])
        quantized = quantize(rows) if self.given is None else quantize_static(rows, self.given)
        out = gemm(quantized, (self.weight, self.scale), x.dtype)
        return out.reshape(*x.shape[:-1], -1)


def quantize_layers(
    layers: nn.ModuleList, names: tuple[str, ...] = ("qkv", "out", "gate_up", "down"), *, static: bool = False
) -> None:
    """Replace the projections of decoder layers by 8-bit ones, one at a time to save memory."""
    for layer in layers:
        for name in names:
            setattr(layer, name, QuantizedProjection(getattr(layer, name).weight.detach(), static=static))
