"""Models and caches of random numbers that consecutive cases share: making them takes longer than timing them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from gpu_validate.models.decoder import Decoder, KVCache
from gpu_validate.models.fp8 import quantize_layers
from gpu_validate.suites.case import LastResults
from scylla_sim.specs.model import Model

_KEPT_MODELS = 2
"""A target and its draft."""


def _model(spec: Model, device: str, dtype: torch.dtype, *, fp8: bool = False, copy: int = 0) -> Decoder:
    model = Decoder(spec, device=device, dtype=dtype, seed=copy)
    if fp8:
        quantize_layers(model.layers, static=True)
    return model


random_model = LastResults(_model, max_results=_KEPT_MODELS)
"""Decoder of a shape with random weights; ``copy`` tells two of one shape apart."""


def random_pair(specs: tuple[Model, Model], device: str, dtype: torch.dtype) -> tuple[Decoder, Decoder]:
    """Target and draft with random weights."""
    return random_model(specs[0], device, dtype), random_model(specs[1], device, dtype, copy=1)


class _Numbers:
    """Random numbers in one buffer, which grows when more are asked for."""

    def __init__(self) -> None:
        self.flat: Tensor | None = None

    def take(self, count: int, like: Tensor) -> Tensor:
        flat = self.flat
        if flat is None or flat.numel() < count or flat.dtype != like.dtype or flat.device != like.device:
            self.flat = flat = None  # let go of the old ones before the new ones are made
            self.flat = flat = torch.empty(count, dtype=like.dtype, device=like.device).normal_()
        return flat[:count]

    def clear(self) -> None:
        self.flat = None


numbers = _Numbers()


def random_caches(specs: Sequence[Model], batch: int, capacity: int, like: Tensor) -> list[KVCache]:
    """Caches that hold a context of random numbers, one for each model, over one shared buffer.

    Zeros would let a kernel, or a power limit, look too good.
    """
    sizes = [(spec.num_layers, batch, spec.num_kv_heads, capacity, spec.head_dim) for spec in specs]
    counts = [2 * math.prod(size) for size in sizes]
    parts = torch.split(numbers.take(sum(counts), like), counts)
    return [KVCache(*part.view(2, *size).unbind()) for part, size in zip(parts, sizes)]


def clear() -> None:
    """Let go of models, of caches, and of whatever else cases kept for those after them."""
    LastResults.clear_all()
    numbers.clear()
