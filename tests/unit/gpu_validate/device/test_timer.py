"""Statistics and stopping rule of the timer, on a scripted clock."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest

from gpu_validate.device import clocks, timer
from gpu_validate.device.timer import Plan
from scylla_sim.checks import InputError


@dataclass
class ScriptedClock:
    """Each pass over calls takes the next scripted seconds a call; the host's time advances by as much."""

    script: Callable[[int], float]
    name: str = "scripted"
    time_s: float = 0.0
    passes: list[int] = field(default_factory=list)

    def now(self) -> float:
        return self.time_s

    def elapsed(self, calls: Sequence[clocks.Call]) -> float:
        seconds = self.script(len(self.passes)) * len(calls)
        self.passes.append(len(calls))
        for call in calls:
            call()
        self.time_s += seconds
        return seconds


def noisy(median_s: float, spread: float, seed: int) -> Callable[[int], float]:
    rng = np.random.default_rng(seed)
    return lambda _: float(median_s * np.exp(spread * rng.standard_normal()))


def nothing() -> None:
    return None


def test_a_steady_clock_converges_at_the_fewest_samples() -> None:
    plan = Plan(min_samples=7, time_limit_s=100.0, min_sample_s=0.0)
    summary = timer.measure(ScriptedClock(lambda _: 1e-3), [nothing], plan)
    assert (summary.stopping_reason, summary.count) == ("converged", 7)
    assert summary.median_s == pytest.approx(1e-3)
    assert summary.relative_error == 0.0
    assert summary.drift == "steady"


def test_a_noisy_clock_needs_more_samples_and_reaches_the_asked_error() -> None:
    plan = Plan(relative_error=0.01, min_samples=5, max_samples=100000, time_limit_s=1e9)
    summary = timer.measure(ScriptedClock(noisy(1e-3, 0.05, seed=1)), [nothing], plan)
    assert summary.stopping_reason == "converged"
    assert summary.count > 20
    assert summary.relative_error <= 0.01
    assert summary.median_s == pytest.approx(1e-3, rel=0.02)
    assert summary.interval_low_s < summary.median_s < summary.interval_high_s


def test_time_limit_ends_a_case() -> None:
    plan = Plan(relative_error=1e-6, min_samples=50, time_limit_s=0.1, warmup_calls=1)
    summary = timer.measure(ScriptedClock(noisy(1e-2, 0.1, seed=2)), [nothing], plan)
    assert summary.stopping_reason == "time_limit"
    assert 2 <= summary.count <= 15


def test_the_time_limit_counts_the_warm_up_too() -> None:
    clock = ScriptedClock(lambda _: 1.0)
    summary = timer.measure(clock, [nothing], Plan(time_limit_s=0.5, warmup_calls=3))
    assert summary.count == 2, "two samples are the least that have a spread"


def test_a_long_warm_up_leaves_half_of_the_limit_to_the_samples() -> None:
    plan = Plan(relative_error=1e-9, min_samples=100, time_limit_s=0.1, min_sample_s=0.0)
    summary = timer.measure(ScriptedClock(noisy(1e-2, 0.01, seed=4)), [nothing] * 50, plan)
    assert (summary.stopping_reason, summary.count) == ("time_limit", 5)


def test_max_samples_ends_a_case() -> None:
    plan = Plan(relative_error=1e-9, min_samples=3, max_samples=9, time_limit_s=1e9)
    summary = timer.measure(ScriptedClock(noisy(1e-2, 0.1, seed=3)), [nothing], plan)
    assert (summary.stopping_reason, summary.count) == ("max_samples", 9)


def test_warm_up_passes_are_not_samples() -> None:
    slow_start = lambda index: 1.0 if index < 2 else 1e-3  # noqa: E731
    summary = timer.measure(ScriptedClock(slow_start), [nothing], Plan(warmup_calls=2, time_limit_s=1e9))
    assert summary.max_s == pytest.approx(1e-3)


def test_rotating_calls_run_equally_often_and_short_ones_fill_the_least_sample() -> None:
    runs = [0, 0, 0]

    def call(index: int) -> clocks.Call:
        def step() -> None:
            runs[index] += 1

        return step

    clock = ScriptedClock(lambda _: 1e-5)
    summary = timer.measure(clock, [call(i) for i in range(3)], Plan(min_sample_s=3e-4, time_limit_s=1e9))
    assert runs[0] == runs[1] == runs[2]
    assert summary.calls_per_sample == 30
    assert summary.median_s == pytest.approx(1e-5)


def test_a_sample_of_a_long_rotation_continues_where_the_last_one_ended() -> None:
    """A pass over 7 buffers takes 7 ms and a sample at least 2 ms, so no buffer is used twice within 7 calls."""
    order: list[int] = []
    calls = [lambda at=at: order.append(at) for at in range(7)]
    plan = Plan(min_sample_s=1.5e-3, min_samples=6, time_limit_s=1e9)
    clock = ScriptedClock(lambda _: 1e-3)
    summary = timer.measure(clock, calls, plan)
    assert (summary.calls_per_sample, summary.count) == (2, 6)
    assert summary.median_s == pytest.approx(1e-3)
    assert clock.passes[:7] == [7, 2, 2, 2, 2, 2, 2], "one pass warms up"
    assert order == [at % 7 for at in range(7 + 12)]


def test_a_graph_that_holds_several_calls_is_divided_by_them() -> None:
    summary = timer.measure(ScriptedClock(lambda _: 8e-3), [nothing], Plan(min_sample_s=0.0), work_per_call=8)
    assert summary.median_s == pytest.approx(1e-3)


def test_a_flushed_call_is_preceded_by_one_flush_each() -> None:
    order: list[str] = []
    plan = Plan(warmup_calls=1, min_samples=5, time_limit_s=1e9)
    clock = ScriptedClock(lambda _: 1e-3)
    calls = [lambda: order.append("a"), lambda: order.append("b")]
    summary = timer.measure(clock, calls, plan, cache="flushed", flush=lambda: order.append("flush"))
    assert order[:2] == ["a", "b"], "the warm-up"
    assert order[2:] == ["flush", "a", "flush", "b", "flush", "a", "flush", "b", "flush", "a"]
    assert summary.calls_per_sample == 1


def test_the_floor_of_the_clock_is_reported_and_not_subtracted() -> None:
    summary = timer.measure(ScriptedClock(lambda _: 2e-3), [nothing], Plan(min_sample_s=0.0))
    assert summary.floor_s == pytest.approx(2e-3)
    assert summary.median_s == pytest.approx(2e-3)


def test_bad_plans_and_calls_are_refused_in_one_line() -> None:
    with pytest.raises(InputError, match="min_samples=1"):
        Plan(min_samples=1)
    with pytest.raises(InputError, match="calls=0"):
        timer.measure(ScriptedClock(lambda _: 1.0), [], Plan())
    with pytest.raises(InputError, match="flush"):
        timer.measure(ScriptedClock(lambda _: 1.0), [nothing], Plan(), cache="flushed")
    with pytest.raises(InputError, match="cache='lukewarm' is not known"):
        timer.measure(ScriptedClock(lambda _: 1.0), [nothing], Plan(), cache="lukewarm")


def test_a_warm_up_lasts_as_long_as_asked_and_is_not_part_of_the_limit() -> None:
    """A GPU that its power limit slows takes half a second to settle."""
    settling = lambda index: 1e-3 if index < 400 else 2e-3  # noqa: E731
    plan = Plan(warmup_s=0.5, time_limit_s=0.2, min_samples=5, min_sample_s=0.0)
    summary = timer.measure(ScriptedClock(settling), [nothing], plan)
    assert summary.min_s == pytest.approx(2e-3), "no sample is from before it settled"
    assert summary.stopping_reason == "converged"


def test_a_slow_sample_moves_the_mean_and_not_the_median() -> None:
    found = timer.summarize([1.0, 1.0, 10.0], stopping_reason="max_samples", clock="x", cache="warm")
    assert (found.median_s, found.mean_s, found.max_s) == (1.0, 4.0, 10.0)


def test_the_floor_is_that_of_one_call() -> None:
    """A pass takes 1 ms whatever it holds; with 5 calls a sample, a call takes 0.2 ms, and so does its floor."""

    clock = ScriptedClock(lambda _: 1e-3)
    clock.elapsed = lambda calls: 1e-3  # type: ignore[method-assign]
    summary = timer.measure(clock, [nothing], Plan(min_sample_s=5e-3, time_limit_s=1e9))
    assert (summary.calls_per_sample, summary.median_s) == (5, pytest.approx(2e-4))
    assert summary.floor_s == pytest.approx(2e-4)


def test_only_the_call_is_timed_and_not_the_flush() -> None:
    clock = ScriptedClock(lambda _: 1e-3)
    timer.measure(clock, [nothing], Plan(min_samples=3, time_limit_s=1e9), cache="flushed", flush=nothing)
    assert set(clock.passes) == {1}
