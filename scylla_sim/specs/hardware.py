"""Hardware: the datasheet of one GPU or CPU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from scylla_sim.checks import fail, in_range, one_of, whole

MIN_RATE, MAX_RATE = 1e6, 1e21
"""Bytes, bytes/s and FLOP/s of anything that computes; what lies outside is a slip of a prefix."""

PEAKS = ("fp32", "bf16", "fp8", "int8", "fp4")
"""Precisions a datasheet states a dense peak for."""


@dataclass(frozen=True)
class Hardware:
    """One GPU (or this machine's CPU) and the link between several of them, as the datasheet states it.

    Attributes
    ----------
    peak_flop_per_s
        Dense peak by precision (never the 2:4 sparse figure).
    link_bytes_per_s
        One direction, one GPU. ``link`` is ``nvlink``, ``pcie`` or ``none``.
    sm_count, l2_bytes
        0 where the device has no such thing (a CPU).
    calibration
        Name of the shipped calibration, or of the device whose calibration stands in for this one.
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
        one_of("link", self.link, ("nvlink", "pcie", "none"))
        in_range("link_bytes_per_s", self.link_bytes_per_s, 0)
        whole("gpus_per_node", self.gpus_per_node, 1)
        object.__setattr__(self, "peak_flop_per_s", MappingProxyType(dict(self.peak_flop_per_s)))

    def peak(self, precision: str) -> float:
        """Dense FLOP/s of a precision; unknown on this device names what it has."""
        one_of("precision", precision, PEAKS)
        if precision not in self.peak_flop_per_s:
            known = ", ".join(self.peak_flop_per_s)
            raise fail("precision", precision, f"has no peak in the datasheet of {self.name}", f"it has {known}")
        return self.peak_flop_per_s[precision]
