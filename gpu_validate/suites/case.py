"""One case of a suite: its shape, its FLOPs and bytes, and how to build its calls.

Nothing is allocated before a case runs, so a dry run can list the cases of a GPU that is not in this machine.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpu_validate.device.clocks import Call
from gpu_validate.device.facts import LOCAL, Device
from scylla_sim.checks import one_of, positive
from scylla_sim.ops.op import all_reduce_bytes
from scylla_sim.specs import catalog
from scylla_sim.specs.dtypes import DTYPES

ELEMENT_BYTES = {name: DTYPES[name].stored_bytes for name in ("float32", "bfloat16", "fp8")}
"""Bytes per element of the data types that the suites measure."""


ROTATION_FACTOR = {"cpu": 3.0, "cuda": 6.0}
"""Total size of the buffers of a rotation, in multiples of the cache. The L2 of a GPU does not evict the oldest
line first, so a smaller rotation would partly stay in it.
"""
_MAX_COPIES = 128
"""Largest number of buffers of a rotation."""


def _nothing() -> None:
    """Release nothing."""


def _no_rates(seconds: float) -> Mapping[str, Any]:
    """Return no columns."""
    return {}


@dataclass(frozen=True)
class Case:
    """Calls to time, with their shape and their cost.

    Attributes
    ----------
    id
        Name of the case within its suite. An interrupted run is resumed by this name.
    shape
        Columns of the row: op, dtype, m, n, k and so on.
    flop, bytes
        FLOPs and memory traffic of one call, from `gpu_validate.suites.costs`. The bytes of an all-reduce are those
        of its message.
    memory_bytes
        Memory that the case allocates.
    build
        Function that allocates the buffers and returns the calls, one for each copy of the buffers.
    graph
        Whether the calls are captured into one CUDA graph.
    gpus
        Devices that run the case together. Above 1, `gpu_validate.suites.collectives` measures it.
    facts
        Function that returns what the calls counted, added to the row.
    rates
        Function from the seconds of a unit of work to further columns.
    generators
        Function that returns the random generators that a captured graph draws from.
    release
        Function that releases what ``build`` made. It is called after errors too.
    work
        Units of work in one call. Reported seconds are per unit.
    wall
        Whether the calls wait for the device themselves, so that the clock of the host times them.
    """

    id: str
    shape: Mapping[str, Any]
    flop: float
    bytes: float
    memory_bytes: float
    build: Callable[[], Sequence[Call]]
    graph: bool = False
    gpus: int = 1
    facts: Callable[[], Mapping[str, Any]] = dict
    rates: Callable[[float], Mapping[str, Any]] = _no_rates
    generators: Callable[[], Sequence[Any]] = tuple
    release: Callable[[], None] = _nothing
    work: int = 1
    wall: bool = False

    def __post_init__(self) -> None:
        """Check bytes and dtype."""
        positive("bytes", self.bytes)
        positive("memory_bytes", self.memory_bytes)
        one_of("dtype", str(self.shape["dtype"]), ELEMENT_BYTES)


def roofline_seconds(device: Device, case: Case) -> float | None:
    """Return the datasheet lower bound of a case in seconds: FLOPs at the peak or bytes at the bandwidth.

    The result is ``None`` for a device, a precision or a link that the catalog does not describe.
    """
    if device.hardware == LOCAL:
        return None
    if device.hardware not in catalog.names("hardware"):
        return None
    hardware = catalog.hardware(device.hardware)
    if case.gpus > 1:  # the bytes of the case are those of its message
        message = {"num_gpus": np.asarray(float(case.gpus)), "bytes": np.asarray(case.bytes)}
        return float(all_reduce_bytes(message)) / (hardware.link_bytes_per_s or math.inf) or None
    peak = hardware.peak_flop_per_s.get(DTYPES[str(case.shape["dtype"])].peak)
    if peak is None:
        return None
    return max(case.flop / peak, case.bytes / hardware.memory_bytes_per_s)


def summary_lines(device: Device, cases: Sequence[Case]) -> list[str]:
    """Return one line for each operation and dtype of a suite: cases, GFLOP, MB, intensity and lower bound."""
    lines = []
    for op, dtype in dict.fromkeys((case.shape["op"], case.shape["dtype"]) for case in cases):
        some = [case for case in cases if (case.shape["op"], case.shape["dtype"]) == (op, dtype)]
        parts = [f"{op} {dtype}: {len(some)} cases"]
        for name, scale, values in (
            ("GFLOP", 1e9, [case.flop for case in some]),
            ("MB", 1e6, [case.bytes for case in some]),
            ("FLOP/byte", 1.0, [case.flop / case.bytes for case in some]),
        ):
            parts.append(f"{min(values) / scale:.3g}-{max(values) / scale:.3g} {name}")
        least = [seconds for case in some if (seconds := roofline_seconds(device, case)) is not None]
        if least:
            parts.append(f"datasheet {min(least) * 1e3:.3g}-{max(least) * 1e3:.3g} ms")
        lines.append(", ".join(parts))
    return lines


def rotation_copies(device: Device, case_bytes: float) -> int:
    """Return the number of copies of the buffers that make a rotation larger than the cache of the device.

    Small buffers would need thousands of copies. Above a limit they stay partly in the cache, as in a real step.
    """
    needed = np.ceil(ROTATION_FACTOR[device.kind] * device.cache_bytes / case_bytes)
    return int(np.clip(needed, 1, _MAX_COPIES))


def fits_memory(device: Device, case: Case) -> bool:
    """Return whether a case leaves a tenth of a GPU's memory, or half of a CPU's, free."""
    return case.memory_bytes <= (0.9 if device.kind == "cuda" else 0.5) * device.memory_bytes
