"""What a suite consists of: cases that know their shape, their FLOPs and bytes, and how to run.

A case is measured by `run`; nothing is allocated before, so a dry run lists cases without a device's memory.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Generic, ParamSpec, TypeVar

import numpy as np

from gpu_validate.device.clocks import LEAD_CYCLES, Call, Clock, EventClock, HostClock, capture_graph
from gpu_validate.device.facts import LOCAL, Device
from gpu_validate.device.power import Monitor, NullMonitor
from gpu_validate.device.timer import Plan, Summary, measure
from scylla_sim.checks import one_of, positive
from scylla_sim.ops.op import all_reduce_bytes
from scylla_sim.specs import catalog
from scylla_sim.specs.dtypes import DTYPES

ELEMENT_BYTES = {name: DTYPES[name].stored_bytes for name in ("float32", "bfloat16", "fp8")}
"""Bytes per element of the data types that the suites measure."""

SCALES = ("ci", "small", "full")

P = ParamSpec("P")
T = TypeVar("T")

_GPU_SAMPLE_S = 2e-3
"""A sample of a GPU: what events and the gap before the first call cost is less than a thousandth of it."""

PLANS = {
    ("cpu", "ci"): Plan(relative_error=0.03, min_samples=6, time_limit_s=0.15),
    ("cpu", "small"): Plan(relative_error=0.01, min_samples=10, time_limit_s=0.5),
    ("cpu", "full"): Plan(relative_error=0.005, min_samples=30, time_limit_s=4.0),
    ("cuda", "ci"): Plan(relative_error=0.02, min_samples=10, time_limit_s=0.2, min_sample_s=_GPU_SAMPLE_S),
    ("cuda", "small"): Plan(relative_error=0.005, min_samples=20, time_limit_s=0.35, min_sample_s=_GPU_SAMPLE_S),
    ("cuda", "full"): Plan(relative_error=0.002, min_samples=50, time_limit_s=1.5, min_sample_s=_GPU_SAMPLE_S),
}
"""How long a kernel is sampled, by kind of device and scale."""

TIME_FACTOR = {"kernels": 1.0, "step": 2.0, "specdecode": 2.0, "decode": 4.0, "trained": 2.0}
"""A case of a suite may take so many times the limit of a kernel, each time: it does so much more work."""

PASSES = {"kernels": 1, "step": 2, "specdecode": 2, "decode": 2, "trained": 2}
"""Whole steps and cycles are measured in two passes over the grid: how far a case is from itself, minutes later, is
the floor of what a prediction can be blamed for. Repeats one after the other would share the machine's mood."""

_ROTATION = {"cpu": 3.0, "cuda": 6.0}
"""Buffers of a rotation are together so many times the cache. The L2 of a GPU does not evict the oldest line first:
some of a smaller rotation would stay in it."""
_GRAPH_S = 1e-3
"""A graph holds its calls so often that one replay lasts this long: the gap between replays, 1-2 us, is then lost
in the noise."""
_MAX_COPIES = 128
_MAX_REPEATS = 64


def _nothing() -> None:
    """Nothing to let go of."""


def _no_rates(seconds: float) -> Mapping[str, Any]:
    """Nothing follows from the seconds but what every row has."""
    return {}


@dataclass(frozen=True)
class Case:
    """One thing to time.

    Attributes
    ----------
    id
        Names the case within its suite; a second run finds it again by this.
    shape
        Columns of its row: op, dtype, m, n, k ...
    flop, bytes
        Useful arithmetic and unavoidable memory traffic of one call.
    memory_bytes
        What it allocates in all.
    build
        Allocates the buffers and returns the calls, one per copy of them.
    graph
        Whether the calls are captured into one CUDA graph.
    gpus
        Devices that run it together; above 1 it is measured by `gpu_validate.suites.collectives`.
    facts
        What the calls counted while they were timed, added to the row.
    rates
        Columns that follow from the seconds of a unit of work.
    generators
        Random generators that a captured graph draws from.
    release
        Lets go of what ``build`` made; called in any case.
    work
        Units of work in one call; seconds are those of a unit.
    wall
        The calls wait for the device themselves, and the host's clock times them.
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
        positive("bytes", self.bytes)
        positive("memory_bytes", self.memory_bytes)
        one_of("dtype", str(self.shape["dtype"]), ELEMENT_BYTES)


class LastResults(Generic[P, T]):
    """A function of large results that keeps its last ones, and lets go of the oldest before it makes another.

    Consecutive cases share weights; a cache that held the old ones until the new ones are made would need room for
    both.
    """

    _every: ClassVar[list[LastResults[Any, Any]]] = []

    def __init__(self, make: Callable[P, T], *, max_results: int = 1) -> None:
        self.make = make
        self.max_results = max_results
        self.last: dict[Any, T] = {}
        self._every.append(self)

    def __call__(self, *args: P.args, **options: P.kwargs) -> T:
        key = (args, tuple(options.items()))
        if key in self.last:
            self.last[key] = self.last.pop(key)  # the youngest again
        else:
            while len(self.last) >= self.max_results:
                del self.last[next(iter(self.last))]
            self.last[key] = self.make(*args, **options)
        return self.last[key]

    def clear(self) -> None:
        """Let go of the last results."""
        self.last.clear()

    @classmethod
    def clear_all(cls) -> None:
        """Let go of the results of every such function."""
        for kept in cls._every:
            kept.clear()


def roofline_seconds(device: Device, case: Case) -> float | None:
    """Least seconds by the datasheet of a device in the catalog: FLOPs at the peak or bytes at the bandwidth."""
    if device.hardware == LOCAL:
        return None
    if device.hardware not in catalog.names("hardware"):
        return None
    hardware = catalog.hardware(device.hardware)
    if case.gpus > 1:  # the bytes of a message: so many times cross the link of each
        message = {"num_gpus": np.asarray(float(case.gpus)), "bytes": np.asarray(case.bytes)}
        return float(all_reduce_bytes(message)) / (hardware.link_bytes_per_s or math.inf) or None
    peak = hardware.peak_flop_per_s.get(DTYPES[str(case.shape["dtype"])].peak)
    if peak is None:
        return None
    return max(case.flop / peak, case.bytes / hardware.memory_bytes_per_s)


def summary_lines(device: Device, cases: Sequence[Case]) -> list[str]:
    """What the shapes of a suite imply, a line an operation, before anything is measured."""
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


SETTLE_S = 0.5
"""Warm-up of a case that may run into the power limit: an engine under load has been there for long."""
_SETTLE_FLOP_PER_BYTE = 80.0


def settling_plan(device: Device, case: Case, plan: Plan) -> Plan:
    """The plan with a warm-up that lasts, for work of many FLOPs a byte on a GPU."""
    heavy = case.flop > _SETTLE_FLOP_PER_BYTE * case.bytes
    return replace(plan, warmup_s=SETTLE_S) if device.kind == "cuda" and heavy else plan


_EFFICIENCY = 0.6
"""Share of the datasheet's rates that an estimate assumes."""
_FILL_BYTES_PER_S = 5e11
_BUILD_S = {"cpu": 0.02, "cuda": 0.06}
"""Allocating, capturing and warming up a case, besides filling its memory."""
_EAGER_S = 2e-5
"""Host time of one eager call of torch."""


def expected_seconds(device: Device, case: Case, plan: Plan) -> float:
    """Seconds that a case is expected to take, from its datasheet time; its limit where that is not known."""
    least = roofline_seconds(device, case)
    if least is None or case.gpus > 1:
        return plan.time_limit_s + _BUILD_S[device.kind]
    call = max(least / _EFFICIENCY, _EAGER_S) * case.work
    sample = max(rotation_copies(device, case.bytes) * call if case.graph else call, plan.min_sample_s, _GRAPH_S)
    sampling = (plan.min_samples + plan.warmup_calls + (5 if case.graph else 0)) * sample
    shared = min(case.memory_bytes, 10e9)  # models and caches are mostly there already
    ready = settling_plan(device, case, plan).warmup_s + _BUILD_S[device.kind] + shared / _FILL_BYTES_PER_S
    return min(sampling, plan.time_limit_s + 5 * sample) + ready


def sampling_plan(suite: str, device: Device, scale: str) -> Plan:
    """Sampling plan of one suite: of each pass over its grid."""
    plan = PLANS[device.kind, scale]
    return replace(plan, time_limit_s=plan.time_limit_s * TIME_FACTOR[suite])


def rotation_copies(device: Device, case_bytes: float) -> int:
    """Copies of the buffers that make a rotation larger than the cache of the device.

    Small buffers would need thousands of copies; above a limit they stay partly in the cache, as in a real step.
    """
    needed = np.ceil(_ROTATION[device.kind] * device.cache_bytes / case_bytes)
    return int(np.clip(needed, 1, _MAX_COPIES))


def fits_memory(device: Device, case: Case) -> bool:
    """Whether the case leaves a tenth of the device's memory (half of a shared CPU's) free."""
    return case.memory_bytes <= (0.9 if device.kind == "cuda" else 0.5) * device.memory_bytes


def make_clock(device: Device, *, ahead: bool = False, wall: bool = False) -> Clock:
    """CUDA events on a GPU, the monotonic clock on a CPU.

    ``ahead`` lets the host queue a sample before the GPU begins it; ``wall`` takes the monotonic clock in any case.
    """
    if device.kind == "cuda" and not wall:
        import torch

        return EventClock(torch.cuda, lead_cycles=LEAD_CYCLES if ahead else 0)
    return HostClock(busy=time.process_time) if device.threads == 1 and not wall else HostClock()


def make_flush(device: Device) -> Call:
    """Overwrite the last-level cache: writes several times its size."""
    import torch

    buffer = torch.empty(int(_ROTATION[device.kind] * device.cache_bytes), dtype=torch.uint8, device=device.kind)
    flush: Call = buffer.zero_
    return flush


def run_case(
    device: Device, case: Case, plan: Plan, *, cache: str = "rotating", monitor: Monitor | None = None
) -> tuple[dict[str, Any], Summary]:
    """Measure one case: its row (shape, latency, rates) and the summary of its samples.

    ``peak_fraction`` is the datasheet's least time over the measured one, where the catalog knows the device.
    ``cpu_share`` is the part of the wall time that this process had its threads on a core: on a CPU clearly below 1
    means that others took the rest, and that the latency is theirs as well.

    ``cache`` is one of `gpu_validate.device.timer.CACHES`; only ``rotating`` needs more than one copy of the
    buffers. ``monitor`` adds power, clock and energy.
    """
    import torch

    monitor = monitor or NullMonitor()

    try:
        with torch.inference_mode():
            calls, work = case.build(), case.work
            if cache != "rotating":
                calls = calls[:1]
            graphed = case.graph and device.kind == "cuda"
            if graphed:
                calls, work = _captured(case, calls)
            flush = make_flush(device) if cache == "flushed" else None
            clock = make_clock(device, ahead=graphed and flush is None, wall=case.wall)
            begin_s, begin_cpu_s = time.perf_counter(), time.process_time()
            with monitor.window() as window:
                summary = measure(clock, calls, plan, cache=cache, flush=flush, work_per_call=work)
            share = (time.process_time() - begin_cpu_s) / (time.perf_counter() - begin_s) / device.threads
        row = case_row(device, case, summary, share)
        return {**row, **window.facts(summary.median_s)}, summary
    finally:
        case.release()


def _captured(case: Case, calls: Sequence[Call]) -> tuple[Sequence[Call], int]:
    """One CUDA graph of the calls, so often that a replay lasts, and how many calls it holds."""
    import torch

    generators = case.generators()
    replay = capture_graph(torch.cuda, calls, generators=generators)
    clock = EventClock(torch.cuda, lead_cycles=LEAD_CYCLES)
    clock.elapsed([replay])
    times = math.ceil(_GRAPH_S / max(clock.elapsed([replay]), 1e-7))
    if times > 1:
        calls = list(calls) * min(times, _MAX_REPEATS)
        replay = capture_graph(torch.cuda, calls, warmup=0, generators=generators)
    return [replay], len(calls)


def case_row(device: Device, case: Case, summary: Summary, cpu_share: float) -> dict[str, Any]:
    """Row of a measured case; its facts are asked for now."""
    least = roofline_seconds(device, case)
    return {
        "case": case.id,
        **case.shape,
        "latency_ms": summary.median_s * 1e3,
        "interval_low_ms": summary.interval_low_s * 1e3,
        "interval_high_ms": summary.interval_high_s * 1e3,
        "flop": case.flop,
        "bytes": case.bytes,
        "flop_per_s": case.flop / summary.median_s,
        "bytes_per_s": case.bytes / summary.median_s,
        "peak_fraction": None if least is None else least / summary.median_s,
        "cpu_share": cpu_share,
        **case.facts(),
        **case.rates(summary.median_s),
    }
