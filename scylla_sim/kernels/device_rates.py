"""Datasheet rates of one device for one data type, which kernel models scale."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scylla_sim.checks import FloatArray
from scylla_sim.specs.dtypes import ElementBytes, dtype_of, element_bytes
from scylla_sim.specs.hardware import Hardware


@dataclass(frozen=True)
class Rates:
    """Datasheet rates of one device for one data type.

    Attributes
    ----------
    flop_per_s
        Dense peak.
    bytes_per_s
        Memory bandwidth.
    sm_count
        Streaming multiprocessors; 0 on a CPU.
    l2_bytes
        Size of the L2 cache.
    link_bytes_per_s
        Bandwidth of one GPU's link, one way.
    size
        Bytes per element of the operands.
    family
        GPU family, for which libraries keep tile tables of their own.
    """

    flop_per_s: float
    bytes_per_s: float
    sm_count: int
    l2_bytes: float
    link_bytes_per_s: float
    size: ElementBytes
    family: str = ""


def rates(hardware: Hardware, dtype: str, kv_dtype: str = "") -> Rates:
    """Return the rates of a device for kernels of a data type.

    Parameters
    ----------
    dtype
        Data type that the kernel computes in.
    kv_dtype
        Data type of the KV cache, for attention kernels.

    Raises
    ------
    InputError
        The datasheet states no peak for the data type.
    """
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
    """Return the ``norm``-norm of positive arrays.

    The result is the maximum where one part dominates, and more where parts are of similar size.

    Examples
    --------
    >>> smooth_max(2.0, np.array([3.0, 1.0]), np.array([4.0, 1e-9])).tolist()
    [5.0, 1.0]
    """
    if len(parts) == 2:  # the larger part over itself is 1, and a power takes most of the time
        top = np.maximum(*parts)
        both: FloatArray = top * (1.0 + (np.minimum(*parts) / top) ** norm) ** (1.0 / norm)
        return both
    top = parts[0]
    for part in parts[1:]:
        top = np.maximum(top, part)
    return top * sum((part / top) ** norm for part in parts) ** (1.0 / norm)
