"""The clock of the host, and CUDA events, graphs and streams on a fake backend that knows the rules."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch

from gpu_validate.device import clocks, timer
from gpu_validate.device.clocks import EventClock
from gpu_validate.device.facts import catalog_device
from gpu_validate.device.timer import Plan
from gpu_validate.suites.case import Case
from gpu_validate.suites.measurement import run_case


class FakeCuda:
    """A queue of device work with its own time; reading an event that was not waited for is an error."""

    def __init__(self, call_s: float = 1e-3) -> None:
        self.call_s = call_s
        self.queue_s = 0.0
        self.done_s = 0.0
        self.log: list[str] = []
        self.capturing: list[str] | None = None
        self.side_stream = False
        backend = self

        class Event:
            def __init__(self, enable_timing: bool) -> None:
                assert enable_timing, "an event without timing has no elapsed time"
                self.at_s: float | None = None

            def record(self) -> None:
                assert backend.capturing is None, "events of a timing do not belong into a graph"
                self.at_s = backend.queue_s

            def synchronize(self) -> None:
                assert self.at_s is not None
                backend.done_s = max(backend.done_s, self.at_s)

            def elapsed_time(self, other: Any) -> float:
                assert other.at_s <= backend.done_s, "read before the device was there"
                return float(other.at_s - self.at_s) * 1e3

        class Stream:
            def wait_stream(self, other: Any) -> None:
                backend.log.append("wait")

        class CUDAGraph:
            def __init__(self) -> None:
                self.nodes: list[str] = []

            def replay(self) -> None:
                assert self.nodes, "replay of an empty graph"
                for _ in self.nodes:
                    backend.launch()

        self.Event, self.Stream, self.CUDAGraph = Event, Stream, CUDAGraph
        self.main = Stream()

    def current_stream(self) -> Any:
        return self.main

    @contextmanager
    def stream(self, stream: Any) -> Iterator[None]:
        assert stream is not self.main
        self.side_stream = True
        yield
        self.side_stream = False

    @contextmanager
    def graph(self, graph: Any, **options: Any) -> Iterator[None]:
        self.options = options
        assert self.done_s >= self.queue_s, "capture while work is in flight"
        self.capturing = graph.nodes
        yield
        self.capturing = None

    def synchronize(self) -> None:
        self.done_s = self.queue_s

    def _sleep(self, cycles: int) -> None:
        assert self.capturing is None
        self.queue_s += cycles / 2e9

    def launch(self) -> None:
        if self.capturing is not None:
            self.capturing.append("kernel")
            return
        self.log.append("side" if self.side_stream else "kernel")
        self.queue_s += self.call_s


def test_seconds_lie_between_two_events_on_the_device() -> None:
    cuda = FakeCuda(call_s=2e-3)
    assert EventClock(cuda).elapsed([cuda.launch] * 3) == pytest.approx(6e-3)


def test_work_queued_before_is_not_timed() -> None:
    cuda = FakeCuda(call_s=2e-3)
    cuda.launch()
    assert EventClock(cuda).elapsed([cuda.launch]) == pytest.approx(2e-3)


def test_a_flush_is_not_part_of_the_seconds() -> None:
    cuda = FakeCuda(call_s=1e-3)

    def flush() -> None:
        cuda.queue_s += 5e-3

    summary = timer.measure(EventClock(cuda), [cuda.launch], Plan(time_limit_s=60), cache="flushed", flush=flush)
    assert summary.median_s == pytest.approx(1e-3)
    assert summary.clock == "cuda_events"


def test_a_graph_is_warmed_up_on_a_side_stream_captured_once_and_replayed() -> None:
    cuda = FakeCuda(call_s=1e-3)
    replay = clocks.capture_graph(cuda, [cuda.launch] * 4, warmup=2)
    assert cuda.log == ["wait", *["side"] * 8, "wait"]
    summary = timer.measure(EventClock(cuda), [replay], Plan(time_limit_s=60), work_per_call=4)
    assert summary.median_s == pytest.approx(1e-3)


def test_options_of_a_capture_reach_the_graph() -> None:
    """Several GPUs: other threads of the library touch the device while this one captures."""
    cuda = FakeCuda()
    clocks.capture_graph(cuda, [cuda.launch], capture_error_mode="thread_local")
    assert cuda.options == {"capture_error_mode": "thread_local"}


def case(cuda: FakeCuda, *, graph: bool, copies: int) -> Case:
    shape = {"op": "gemm", "dtype": "bfloat16"}
    return Case("x", shape, 1e9, 1e6, 1.0, lambda: [cuda.launch] * copies, graph=graph)


@pytest.mark.parametrize("graph", [True, False])
@pytest.mark.parametrize("cache", ["rotating", "warm"])
def test_a_case_on_a_gpu_gives_the_seconds_of_one_call(
    graph: bool, cache: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The way from a case to its row, with the fake device in the place of torch's."""
    cuda = FakeCuda(call_s=1e-3)
    monkeypatch.setattr(torch, "cuda", cuda)
    device = replace(catalog_device("h100-sxm"), threads=1)
    row, summary = run_case(device, case(cuda, graph=graph, copies=5), Plan(min_sample_s=0.0), cache=cache)
    assert row["latency_ms"] == pytest.approx(1.0)
    assert summary.clock == "cuda_events"
    assert row["peak_fraction"] == pytest.approx(1e9 / 989.4e12 / 1e-3)
    assert ("side" in cuda.log) == graph, "a capture is warmed up on a stream of its own, and nothing else is"


def test_the_empty_call_floor_is_what_two_events_cost() -> None:
    assert timer.floor_seconds(EventClock(FakeCuda())) == 0.0


def test_the_device_waits_until_the_host_has_queued_a_sample() -> None:
    """The spin is before the first event, so it is not timed."""
    cuda = FakeCuda(call_s=1e-3)
    assert EventClock(cuda, lead_cycles=400_000).elapsed([cuda.launch] * 2) == pytest.approx(2e-3)
    assert cuda.queue_s == pytest.approx(2e-3 + 400_000 / 2e9)


def test_a_graph_holds_its_calls_until_a_replay_lasts(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = FakeCuda(call_s=1e-5)
    monkeypatch.setattr(torch, "cuda", cuda)
    _, summary = run_case(catalog_device("h100-sxm"), case(cuda, graph=True, copies=5), Plan(min_sample_s=0.0))
    assert summary.calls_per_sample == 100, "twenty times five calls of 10 us make a millisecond"


def test_the_host_clock_measures_its_calls_in_order() -> None:
    ticks = iter([1.0, 3.5])
    order: list[int] = []
    clock = clocks.HostClock(read=lambda: next(ticks))
    assert clock.elapsed([lambda: order.append(1), lambda: order.append(2)]) == 2.5
    assert order == [1, 2]


@pytest.mark.parametrize(
    ("shares", "wall_s"), [([1.0], 1.0), ([0.5, 1.0], 1.0), ([0.5, 0.8], 1.0)], ids=["own", "once", "always"]
)
def test_a_sample_that_was_interrupted_is_taken_again_or_counts_by_its_own_time(
    shares: list[float], wall_s: float
) -> None:
    now = {"wall": 0.0, "busy": 0.0}
    script = iter(shares)

    def call() -> None:
        now["busy"] += 1.0
        now["wall"] += 1.0 / next(script)

    clock = clocks.HostClock(read=lambda: now["wall"], busy=lambda: now["busy"])
    assert clock.elapsed([call]) == pytest.approx(wall_s)
    assert next(script, None) is None


def test_of_disturbed_tries_the_one_with_the_least_processor_time_counts() -> None:
    """Both tries take a second of the wall; the process has 0.5 and 0.3 s of it."""
    wall, busy = iter([0.0, 1.0, 1.0, 2.0]), iter([0.0, 0.5, 0.5, 0.8])
    clock = clocks.HostClock(read=lambda: next(wall), busy=lambda: next(busy))
    assert clock.elapsed([lambda: None]) == pytest.approx(0.3)
