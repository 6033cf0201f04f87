"""Datasheet rates that the forms of `scylla_sim.kernels.registry` scale, for one precision."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scylla_sim.checks import FloatArray
from scylla_sim.specs.dtypes import ElementBytes, dtype_of, element_bytes
from scylla_sim.specs.hardware import Hardware


@dataclass(frozen=True)
class Rates:
    """Datasheet rates that a form scales, for one precision: FLOP/s, bytes/s, units of parallelism, cache.

    ``family`` names the kind of SM, for which libraries keep tables of their own.
    """

    flop_per_s: float
    bytes_per_s: float
    sm_count: int
    l2_bytes: float
    link_bytes_per_s: float
    size: ElementBytes
    family: str = ""


def rates(hardware: Hardware, dtype: str, kv_dtype: str = "") -> Rates:
    """Rates of a device for kernels of a dtype; for attention ``kv_dtype`` sets the bytes of the cache."""
    size = element_bytes(dtype, kv_dtype)
    return Rates(
        flop_per_s=hardware.peak(dtype_of(dtype).peak),
        bytes_per_s=hardware.memory_bytes_per_s,
        sm_count=hardware.sm_count,
        l2_bytes=hardware.l2_bytes,
        link_bytes_per_s=hardware.link_bytes_per_s,
        size=size,
        family=hardware.family,
    )


def smooth_max(norm: float, *parts: FloatArray) -> FloatArray:
    """The ``norm``-norm of positive arrays: their maximum when one dominates, more where they compete."""
    top = parts[0]
    for part in parts[1:]:
        top = np.maximum(top, part)
    return top * sum((part / top) ** norm for part in parts) ** (1.0 / norm)
