"""Two clocks behind one interface: CUDA events on a GPU, a monotonic clock on a CPU.

`torch.cuda` is handed in and never imported, so the bookkeeping of events, streams and graphs is tested with a fake
backend that knows the rules.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from scylla_sim.units import MILLI

Call = Callable[[], object]

_UNDISTURBED = 0.95
"""Share of its time on the core from which a call counts as undisturbed."""
_RETRIES = 1


class Clock(Protocol):
    """Seconds that some calls take on a device, synchronised before and after."""

    @property
    def name(self) -> str:
        """How it measures: ``cuda_events`` or ``monotonic``."""

    def now(self) -> float:
        """Seconds of the host, for time limits."""

    def elapsed(self, calls: Sequence[Call]) -> float:
        """Seconds between the start of the first call and the end of the last, back to back."""


@dataclass(frozen=True)
class HostClock:
    """Monotonic clock of the host, for work that is done when the call returns.

    With ``busy``, the processor seconds of this process of one thread, calls during which another process held the
    core are timed once more; interrupted again, they count by the least processor seconds of the tries, which is
    what they would take alone but for a shared cache and memory. On an idle machine nothing changes.
    """

    read: Callable[[], float] = time.perf_counter
    busy: Callable[[], float] | None = None
    name: str = "monotonic"

    def now(self) -> float:
        return self.read()

    def elapsed(self, calls: Sequence[Call]) -> float:
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
    """CUDA events around the calls; ``cuda`` is ``torch.cuda``, or a fake one in the tests.

    With ``ahead_cycles`` the device spins for so many of its clock cycles before the first event, so that the host
    has queued everything when the first call begins. Without it the first call starts a launch later than its
    event, which belongs to the time of eager calls and not to that of a graph. ``elapsed_time`` is read only
    after the second event has been waited for.
    """

    cuda: Any
    ahead_cycles: int = 0
    read: Callable[[], float] = time.perf_counter
    name: str = "cuda_events"

    def now(self) -> float:
        return self.read()

    def elapsed(self, calls: Sequence[Call]) -> float:
        start, end = self.cuda.Event(enable_timing=True), self.cuda.Event(enable_timing=True)
        if self.ahead_cycles:
            self.cuda._sleep(self.ahead_cycles)
        start.record()
        for call in calls:
            call()
        end.record()
        end.synchronize()
        return float(start.elapsed_time(end)) * MILLI


def capture(
    cuda: Any, calls: Sequence[Call], *, warmup: int = 3, generators: Sequence[Any] = (), **options: Any
) -> Call:
    """Capture calls into one CUDA graph, after a warm-up on a side stream, and return its replay.

    The warm-up lets libraries allocate workspaces and choose kernels, which a capture does not allow.
    ``generators`` are those that the calls draw from: each replay then draws anew. ``options`` go to
    ``cuda.graph``.
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


AHEAD_CYCLES = 400_000
"""Spin before a timed graph: about 0.2 ms at the clocks of data-centre GPUs, several times what a replay costs the
host."""
