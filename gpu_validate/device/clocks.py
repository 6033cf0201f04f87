"""Clocks for a GPU and for a CPU, behind one interface.

A GPU is timed with CUDA events, a CPU with the monotonic clock of the host. `torch.cuda` is passed in and never
imported, so tests can pass a fake backend that enforces the rules of events, streams and graphs.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from scylla_sim.units import MILLI

Call = Callable[[], object]

_UNDISTURBED = 0.95
"""Minimum share of a call's time that the process spends on a core if the call is undisturbed."""
_RETRIES = 1
"""Number of times that a disturbed call is measured again."""


class Clock(Protocol):
    """Clock that measures calls on a device."""

    @property
    def name(self) -> str:
        """Name of the clock in records: ``cuda_events`` or ``monotonic``."""

    def now(self) -> float:
        """Return the time of the host in seconds, for time limits."""

    def elapsed(self, calls: Sequence[Call]) -> float:
        """Return the seconds from the start of the first call to the end of the last. Calls run back to back."""


@dataclass(frozen=True)
class HostClock:
    """Monotonic clock of the host, for calls that finish their work before they return.

    Attributes
    ----------
    read
        Function that returns the current time in seconds.
    busy
        Function that returns the processor seconds of this process, for a process with one thread. When another
        process held the core during a measurement, the calls are measured again. If that happens twice, the smaller
        number of processor seconds counts. On an idle machine nothing changes.
    name
        Name of the clock in records.
    """

    read: Callable[[], float] = time.perf_counter
    busy: Callable[[], float] | None = None
    name: str = "monotonic"

    def now(self) -> float:
        """Return the current time in seconds."""
        return self.read()

    def elapsed(self, calls: Sequence[Call]) -> float:
        """Run the calls back to back and return their seconds."""
        tries: list[float] = []
        while len(tries) <= _RETRIES:
            begin_busy = self.busy() if self.busy else 0.0
            start = self.read()
            for call in calls:
                call()
            seconds = self.read() - start
            if self.busy is None:
                return seconds
            own = self.busy() - begin_busy
            if own >= _UNDISTURBED * seconds:
                return seconds
            tries.append(own)
        return min(tries)


@dataclass(frozen=True)
class EventClock:
    """CUDA events before and after the calls.

    Attributes
    ----------
    cuda
        The module ``torch.cuda``, or a fake one in tests.
    lead_cycles
        Clock cycles that the device spins before the first event. The host queues all calls during that time, so
        the result excludes launch delays. With 0, the first call starts one launch later than its event, which is
        right for eager calls and wrong for graphs.
    read
        Function that returns the time of the host in seconds.
    name
        Name of the clock in records.
    """

    cuda: Any
    lead_cycles: int = 0
    read: Callable[[], float] = time.perf_counter
    name: str = "cuda_events"

    def now(self) -> float:
        """Return the time of the host in seconds."""
        return self.read()

    def elapsed(self, calls: Sequence[Call]) -> float:
        """Run the calls back to back, wait for the second event, and return the seconds between both events."""
        start, end = self.cuda.Event(enable_timing=True), self.cuda.Event(enable_timing=True)
        if self.lead_cycles:
            self.cuda._sleep(self.lead_cycles)
        start.record()
        for call in calls:
            call()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) * MILLI


def capture_graph(
    cuda: Any, calls: Sequence[Call], *, warmup: int = 3, generators: Sequence[Any] = (), **options: Any
) -> Call:
    """Capture calls into one CUDA graph and return its replay.

    Parameters
    ----------
    cuda
        The module ``torch.cuda``, or a fake one in tests.
    calls
        Calls to capture, in order.
    warmup
        Passes over all calls on a side stream before the capture. They let libraries allocate workspaces and choose
        kernels, which is not allowed during a capture.
    generators
        Random generators that the calls draw from. Each replay then draws new numbers.
    **options
        Passed to ``cuda.graph``.
    """
    side = cuda.Stream()
    side.wait_stream(cuda.current_stream())
    with cuda.stream(side):
        for _ in range(warmup):
            for call in calls:
                call()
    cuda.current_stream().wait_stream(side)
    cuda.synchronize()
    graph = cuda.CUDAGraph()
    for generator in generators:
        graph.register_generator_state(generator)
    with cuda.graph(graph, **options):
        for call in calls:
            call()
    replay: Call = graph.replay
    return replay


LEAD_CYCLES = 400_000
"""Cycles that the device spins before a timed graph: about 0.2 ms at data-center clocks, several times the host
time of a replay.
"""
