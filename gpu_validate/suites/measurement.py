"""Measurement of one case: buffers, CUDA graph, clock, and the row of the record."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from typing import Any

from gpu_validate.device.clocks import LEAD_CYCLES, Call, Clock, EventClock, HostClock, capture_graph
from gpu_validate.device.facts import Device
from gpu_validate.device.power import Monitor, NullMonitor
from gpu_validate.device.timer import Plan, Summary, measure
from gpu_validate.suites.case import ROTATION_FACTOR, Case, roofline_seconds
from gpu_validate.suites.sampling_plans import GRAPH_S

_MAX_REPEATS = 64
"""Largest number of repeats of the calls in a graph."""


def make_clock(device: Device, *, ahead: bool = False, wall: bool = False) -> Clock:
    """Return CUDA events on a GPU and the monotonic clock on a CPU.

    Parameters
    ----------
    device
        Device to time.
    ahead
        Whether the host queues a whole sample before the GPU begins it.
    wall
        Whether to use the monotonic clock on a GPU too.
    """
    if device.kind == "cuda" and not wall:
        import torch

        return EventClock(torch.cuda, lead_cycles=LEAD_CYCLES if ahead else 0)
    return HostClock(busy=time.process_time) if device.threads == 1 and not wall else HostClock()


def make_flush(device: Device) -> Call:
    """Return a call that overwrites the last-level cache with several times its size."""
    import torch

    buffer = torch.empty(
        int(ROTATION_FACTOR[device.kind] * device.cache_bytes), dtype=torch.uint8, device=device.kind
    )
    flush: Call = buffer.zero_
    return flush


def run_case(
    device: Device, case: Case, plan: Plan, *, cache: str = "rotating", monitor: Monitor | None = None
) -> tuple[dict[str, Any], Summary]:
    """Measure one case.

    Parameters
    ----------
    device, case
        What to measure.
    plan
        How long to sample.
    cache
        One of `gpu_validate.device.timer.CACHES`. Only ``rotating`` needs more than one copy of the buffers.
    monitor
        Adds power, clock and energy to the row.

    Returns
    -------
    row
        Shape, latency and rates. ``peak_fraction`` is the datasheet bound over the measured time, where the catalog
        describes the device. ``cpu_share`` is the share of the wall time that this process was on a core. On a CPU,
        a share clearly below 1 means that other processes lengthened the latency.
    summary
        Statistics of the samples.
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
    """Capture the calls into one CUDA graph that lasts `GRAPH_S`.

    Return its replay and the number of calls in it.
    """
    import torch

    generators = case.generators()
    replay = capture_graph(torch.cuda, calls, generators=generators)
    clock = EventClock(torch.cuda, lead_cycles=LEAD_CYCLES)
    clock.elapsed([replay])
    times = math.ceil(GRAPH_S / max(clock.elapsed([replay]), 1e-7))
    if times > 1:
        calls = list(calls) * min(times, _MAX_REPEATS)
        replay = capture_graph(torch.cuda, calls, warmup=0, generators=generators)
    return [replay], len(calls)


def case_row(device: Device, case: Case, summary: Summary, cpu_share: float) -> dict[str, Any]:
    """Return the row of a measured case; this calls ``case.facts``."""
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
