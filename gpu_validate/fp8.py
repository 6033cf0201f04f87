"""Matrix products in 8-bit floating point: weights stored so, activations quantised on the way, as engines do it.

The product itself is ``torch._scaled_mm``; one scale serves a whole tensor. Quantising the activations (their
largest magnitude, a division, a cast) is work of its own and is timed apart. Attention, KV cache and the vocabulary
projection stay in 16 bits, as in engines. The same code runs on a CPU, where it is slow: there it is only tested.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from scylla_sim.checks import fail

DTYPE = torch.float8_e4m3fn
"""Four bits of exponent, three of mantissa: the type that engines keep weights and activations in."""

MULTIPLE = 16
"""``torch._scaled_mm`` takes rows and columns of weights in multiples of this."""


def quantise(x: Tensor) -> tuple[Tensor, Tensor]:
    """Tensor in 8 bits and its scale: ``x`` is nearly ``quantised * scale``.

    The scale stays on the device, so nothing waits for it.
    """
    largest = torch.finfo(DTYPE).max
    scale = (x.abs().amax().float() / largest).clamp(min=torch.finfo(torch.float32).tiny)
    return (x.float() / scale).clamp(-largest, largest).to(DTYPE), scale


def product(x: tuple[Tensor, Tensor], weight: tuple[Tensor, Tensor], dtype: torch.dtype) -> Tensor:
    """``x @ weight.T`` of two quantised matrices, ``(m, k)`` and ``(n, k)``, in ``dtype``."""
    out: Tensor = torch._scaled_mm(x[0], weight[0].t(), scale_a=x[1], scale_b=weight[1], out_dtype=dtype)
    return out


class Projection(nn.Module):
    """A projection without bias whose weights are 8-bit; its input is quantised at each call."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        for size in weight.shape:
            if size % MULTIPLE:
                raise fail(
                    "weight", tuple(weight.shape), f"must have sides that are multiples of {MULTIPLE} for fp8"
                )
        stored, scale = quantise(weight)
        self.weight = nn.Parameter(stored, requires_grad=False)
        self.scale = nn.Parameter(scale, requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        """``(..., k)`` -> ``(..., n)`` in the dtype of ``x``."""
        rows = quantise(x.reshape(-1, x.shape[-1]))
        return product(rows, (self.weight, self.scale), x.dtype).reshape(*x.shape[:-1], -1)


def to_fp8(layers: nn.ModuleList, names: tuple[str, ...] = ("qkv", "out", "gate_up", "down")) -> None:
    """Replace the projections of decoder layers by 8-bit ones, one by one, so that both are never held together."""
    for layer in layers:
        for name in names:
            setattr(layer, name, Projection(getattr(layer, name).weight.detach()))
