"""Matrix products in 8-bit floating point: weights stored so, activations quantized on the way, as engines do it.

The product is ``torch._scaled_mm`` with fast accumulation, as engines call it. One scale serves a whole tensor.
Quantizing the activations is work of its own and is timed apart. With a dynamic scale it takes their largest
magnitude, a division and a cast, many kernels of torch's; with a static scale it is one kernel. Attention, KV cache
and the vocabulary projection stay in 16 bits, as in engines. On a CPU the same code is slow, and only tested.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from gpu_validate.models import triton_fused
from gpu_validate.models.triton_support import triton_available
from scylla_sim.checks import fail

DTYPE = torch.float8_e4m3fn
"""Four bits of exponent, three of mantissa: the type that engines keep weights and activations in."""

MIN_ROWS = 17
"""Fewer rows than this took a slow kernel of cuBLAS on Hopper. Source: vllm-project/vllm, issue 32269. With cuBLAS
13 on an H100 they do not: filling up costs 2-3 us and saves nothing (``gpu_validate/recorded/h100-sxm``)."""
STATIC_MAX = 16.0
"""Largest activation that a static scale holds. Normed activations of random weights stay below it."""

SIDE_MULTIPLE = 16
"""``torch._scaled_mm`` takes rows and columns of weights in multiples of this."""


def quantize(x: Tensor) -> tuple[Tensor, Tensor]:
    """Tensor in 8 bits and its scale: ``x`` is nearly ``quantized * scale``.

    The scale stays on the device, so nothing waits for it.
    """
    largest = torch.finfo(DTYPE).max
    scale = (x.abs().amax().float() / largest).clamp(min=torch.finfo(torch.float32).tiny)
    return (x.float() / scale).clamp(-largest, largest).to(DTYPE), scale


def quantize_static(x: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
    """Tensor in 8 bits at a given ``scale``; what lies outside of it becomes the largest number."""
    if triton_available(x):
        return triton_fused.quantize_static(x, scale.reciprocal()), scale
    largest = torch.finfo(DTYPE).max
    return (x.float() / scale).clamp(-largest, largest).to(DTYPE), scale


def gemm(
    x: tuple[Tensor, Tensor], weight: tuple[Tensor, Tensor], dtype: torch.dtype, *, padded: bool = False
) -> Tensor:
    """``x @ weight.T`` of two quantized matrices, ``(m, k)`` and ``(n, k)``, in ``dtype``.

    ``padded`` fills up to `MIN_ROWS` rows, as engines did it for few rows.
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
    """A projection without bias whose weights are 8-bit; its input is quantized at each call.

    With a ``static`` scale, as calibrated checkpoints have one, activations beyond `STATIC_MAX` are cut off.
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
        """``(..., k)`` -> ``(..., n)`` in the dtype of ``x``."""
        rows = x.reshape(-1, x.shape[-1])
        quantized = quantize(rows) if self.given is None else quantize_static(rows, self.given)
        out = gemm(quantized, (self.weight, self.scale), x.dtype)
        return out.reshape(*x.shape[:-1], -1)


def quantize_layers(
    layers: nn.ModuleList, names: tuple[str, ...] = ("qkv", "out", "gate_up", "down"), *, static: bool = False
) -> None:
    """Replace the projections of decoder layers by 8-bit ones, one by one, so that both are never held together."""
    for layer in layers:
        for name in names:
            setattr(layer, name, QuantizedProjection(getattr(layer, name).weight.detach(), static=static))
