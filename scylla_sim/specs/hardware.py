"""Hardware: datasheet values of one GPU or CPU.

To add a GPU to the catalog, add a table to ``scylla_sim/data/hardware.toml``. Every quantity there has a value, a
unit and a source. The key ``calibration`` names the device whose shipped calibration is used; see
`scylla_sim.specs.catalog.calibration_name`. A GPU outside the catalog is a TOML file with one such table, for
``--hardware my-gpu.toml``. There, the key ``base`` names a GPU of the catalog. It gives the fields that the table
leaves out, and its calibration.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from types import MappingProxyType
from typing import Any

from scylla_sim.checks import fail, in_range, one_of, whole

MIN_RATE, MAX_RATE = 1e6, 1e21
"""Accepted range of bytes, bytes/s and FLOP/s; a value outside it has a wrong unit prefix."""

REPORTED_SHARE = 0.98
"""Share of the nominal memory that the driver reports, for a GPU without a reported value.

Notes
-----
Source: the smallest share of eight GPUs of the catalog, rounded down. The share is the memory that CUDA reports,
over the memory of nvidia-smi.

| GPU | CUDA | nvidia-smi |
|---|---|---|
| A10G | 22,587 MiB | 23,028 MiB |
| RTX 5090 | 31.37 GiB | 32,607 MiB |
| RTX 4090 | 23.64 GiB | 24,564 MiB |
| 48 GB Ada card | 44.43 GiB | 46,068 MiB |
| A100 | 79.14 GiB | 81,920 MiB |
| RTX A6000 | 48,676 MiB | 49,140 MiB |
| H20 | 97,285 MiB | 97,871 MiB |
| H100 | 79.18 GiB | 81,559 MiB |
"""

MAX_BALANCE_RATIO = 4.0
"""Largest ratio between the bf16 FLOPs per byte of two similar devices.

Notes
-----
Source: the largest ratio within a family of the catalog before H20 is 2.6 (RTX 4090 and L40S). H20 has an eighth of
the FLOPs per byte of H100, so that kernels which wait for memory on H100 wait for tensor cores on H20.
"""

PEAKS = ("fp32", "bf16", "fp8", "int8", "fp4")
"""Precisions of dense peaks."""


@dataclass(frozen=True)
class Hardware:
    """Datasheet values of one GPU or CPU, and of the link between GPUs.

    Attributes
    ----------
    family
        Architecture of the device, such as ``hopper``.
    memory_bytes, memory_bytes_per_s
        Capacity and bandwidth of the device memory.
    peak_flop_per_s
        Dense peak by precision, without 2:4 sparsity.
    sm_count
        Number of streaming multiprocessors; 0 for a CPU.
    l2_bytes
        Size of the L2 cache; 0 for a CPU.
    link
        Link between GPUs: ``nvlink``, ``pcie`` or ``none``.
    link_bytes_per_s
        Bandwidth of the link of one GPU in one direction.
    gpus_per_node
        Number of GPUs in one node.
    reported_memory_bytes
        Memory that the driver reports to programs; 0 if unknown.
    calibration
        Device of the catalog whose shipped calibration is used; empty for the one of the device's own name.
    """

    name: str
    family: str
    memory_bytes: float
    memory_bytes_per_s: float
    peak_flop_per_s: Mapping[str, float]
    sm_count: int = 0
    l2_bytes: float = 0.0
    link: str = "none"
    link_bytes_per_s: float = 0.0
    gpus_per_node: int = 1
    reported_memory_bytes: float = field(default=0.0, compare=False)
    calibration: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        """Check the fields."""
        in_range("memory_bytes", self.memory_bytes, MIN_RATE, MAX_RATE)
        in_range("memory_bytes_per_s", self.memory_bytes_per_s, MIN_RATE, MAX_RATE)
        if not self.peak_flop_per_s:
            raise fail("peak_flop_per_s", {}, "must name at least one precision")
        for precision, peak in self.peak_flop_per_s.items():
            one_of("precision", precision, PEAKS)
            in_range(f"peak_flop_per_s[{precision}]", peak, MIN_RATE, MAX_RATE)
        whole("sm_count", self.sm_count, 0)
        in_range("l2_bytes", self.l2_bytes, 0)
        if self.sm_count and not self.l2_bytes:
            raise fail("l2_bytes", 0, f"must be above 0 for {self.name}, which has sm_count", "add l2")
        one_of("link", self.link, ("nvlink", "pcie", "none"))
        in_range("link_bytes_per_s", self.link_bytes_per_s, 0)
        whole("gpus_per_node", self.gpus_per_node, 1)
        in_range("reported_memory_bytes", self.reported_memory_bytes, 0, self.memory_bytes)
        object.__setattr__(self, "peak_flop_per_s", MappingProxyType(dict(self.peak_flop_per_s)))

    def __reduce__(self) -> tuple[Any, ...]:
        """Return the constructor call for pickle and copy, which cannot store a read-only mapping."""
        return partial(Hardware, **{**vars(self), "peak_flop_per_s": dict(self.peak_flop_per_s)}), ()

    @property
    def usable_memory_bytes(self) -> float:
        """Memory that an engine can divide: the reported one, else `REPORTED_SHARE` of a GPU's nominal memory."""
        if self.reported_memory_bytes:
            return self.reported_memory_bytes
        return self.memory_bytes * (REPORTED_SHARE if self.sm_count else 1.0)

    def has_the_rates_of(self, other: Hardware) -> bool:
        """Return whether the device equals another one, apart from peaks that the other one does not state.

        A calibration stores the device that it was fitted on. A further peak of the catalog changes none of its
        fits.
        """
        shared = {name: peak for name, peak in self.peak_flop_per_s.items() if name in other.peak_flop_per_s}
        return replace(self, peak_flop_per_s=shared or self.peak_flop_per_s) == other

    def is_similar_to(self, other: Hardware) -> bool:
        """Return whether kernels fitted on the other device describe this one.

        Both have the same family, and bf16 FLOPs per byte that differ by less than `MAX_BALANCE_RATIO`.
        """
        if self.family != other.family:
            return False
        if not all("bf16" in item.peak_flop_per_s for item in (self, other)):
            return True
        one, two = (item.peak_flop_per_s["bf16"] / item.memory_bytes_per_s for item in (self, other))
        return max(one, two) < MAX_BALANCE_RATIO * min(one, two)

    def peak(self, precision: str) -> float:
        """Return the dense FLOP/s of a precision.

        Raises
        ------
        InputError
            For a precision without a peak in the datasheet.
        """
        one_of("precision", precision, PEAKS)
        if precision not in self.peak_flop_per_s:
            known = ", ".join(self.peak_flop_per_s)
            other = "fp8 and int8_wo have the same size; " if precision == "int8" else ""
            hint = f"it has {known}; {other}a TOML file with base and peak_{precision} adds one"
            raise fail("precision", precision, f"has no peak in the catalog entry of {self.name}", hint)
        return self.peak_flop_per_s[precision]
