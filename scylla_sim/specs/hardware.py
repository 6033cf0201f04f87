"""Hardware: datasheet values of one GPU or CPU.

To add a GPU to the catalog, add a table to ``scylla_sim/data/hardware.toml``. Every quantity there has a value, a
unit and a source. The key ``calibration`` names the device whose shipped calibration is used; see
`scylla_sim.specs.catalog.calibration_name`. A GPU outside the catalog is a TOML file with one such table, for
``--hardware my-gpu.toml``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any

from scylla_sim.checks import fail, in_range, one_of, whole

MIN_RATE, MAX_RATE = 1e6, 1e21
"""Accepted range of bytes, bytes/s and FLOP/s; a value outside it has a wrong unit prefix."""

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
        object.__setattr__(self, "peak_flop_per_s", MappingProxyType(dict(self.peak_flop_per_s)))

    def __reduce__(self) -> tuple[Any, ...]:
        """Return the constructor call for pickle and copy, which cannot store a read-only mapping."""
        return partial(Hardware, **{**vars(self), "peak_flop_per_s": dict(self.peak_flop_per_s)}), ()

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
            raise fail("precision", precision, f"has no peak in the datasheet of {self.name}", f"it has {known}")
        return self.peak_flop_per_s[precision]
