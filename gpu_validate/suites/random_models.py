"""Models and caches of random numbers, shared by cases because making them takes longer than timing them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from gpu_validate.models.decoder import Decoder, KVCache
from gpu_validate.models.fp8 import quantize_layers
from gpu_validate.suites.last_results import LastResults
from scylla_sim.specs.model import Model

_KEPT_MODELS = 2
"""Number of kept models: a target and its draft."""


def _model(spec: Model, device: str, dtype: torch.dtype, *, fp8: bool = False, copy: int = 0) -> Decoder:
    model = Decoder(spec, device=device, dtype=dtype, seed=copy)
    if fp8:
        quantize_layers(model.layers, static=True)
    return model


random_model = LastResults(_model, max_results=_KEPT_MODELS)
"""Decoder of a shape with random weights. ``copy`` distinguishes two models of one shape."""


def random_pair(specs: tuple[Model, Model], device: str, dtype: torch.dtype) -> tuple[Decoder, Decoder]:
    """Return target and draft with random weights."""
    return random_model(specs[0], device, dtype), random_model(specs[1], device, dtype, copy=1)


class _Numbers:
    """Random numbers in one buffer that grows on demand."""

    def __init__(self) -> None:
        self.flat: Tensor | None = None

    def take(self, count: int, like: Tensor) -> Tensor:
        """Return ``count`` random numbers with the dtype and device of ``like``."""
        flat = self.flat
        if flat is None or flat.numel() < count or flat.dtype != like.dtype or flat.device != like.device:
            self.flat = flat = None  # release the old buffer first
            self.flat = flat = torch.empty(count, dtype=like.dtype, device=like.device).normal_()
        return flat[:count]

    def clear(self) -> None:
        """Release the buffer."""
        self.flat = None


numbers = _Numbers()
"""Buffer that all caches share."""


def random_caches(specs: Sequence[Model], batch: int, capacity: int, like: Tensor) -> list[KVCache]:
    """Return one cache of random numbers for each model, over one shared buffer.

    Zeros would draw less power and run faster.
    """
    sizes = [(spec.num_layers, batch, spec.num_kv_heads, capacity, spec.head_dim) for spec in specs]
    counts = [2 * math.prod(size) for size in sizes]
    parts = torch.split(numbers.take(sum(counts), like), counts)
    return [KVCache(*part.view(2, *size).unbind()) for part, size in zip(parts, sizes)]


def clear() -> None:
    """Release models, caches and all other results that cases keep for later cases."""
    LastResults.clear_all()
    numbers.clear()
