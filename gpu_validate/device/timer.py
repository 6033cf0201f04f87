"""Timing of calls: cache states, sampling and statistics.

A measurement is a list of calls that do the same work on different buffers. There are three states of the cache:

``rotating``
    Calls run back to back on buffers that are together larger than the cache. Memory is read anew each time, as in
    a decoder step. A sample continues with the buffer after the last one, so each buffer rests for a whole pass.
    The launch overhead is amortized or captured in one CUDA graph.
``flushed``
    Each sample is one call, and the cache is overwritten before it.
``warm``
    One buffer is used back to back, as in most micro-benchmarks.

Sampling stops when the 95 % interval of the median is narrow enough. A time limit ends a case with a warning, and
the summary names the reason. The seconds of an empty call, measured in the same way, are stored with every result
and are never subtracted.

The clock is passed in, so tests use a scripted clock or a fake event backend.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from gpu_validate.device.clocks import Call, Clock
from gpu_validate.device.intervals import bootstrap_interval, drift, relative_error
from scylla_sim.checks import fail, in_range, one_of, positive, whole
from scylla_sim.units import MICRO

CACHES = ("rotating", "flushed", "warm")
"""States of the cache."""
STOPPING_REASONS = ("converged", "time_limit", "max_samples")


@dataclass(frozen=True)
class Plan:
    """Rules for when to stop sampling.

    Attributes
    ----------
    relative_error
        Sampling stops when half the width of the 95 % interval of the median is below this fraction of the median.
    min_samples, max_samples
        Smallest and largest number of samples.
    time_limit_s
        Seconds for one case, including its warm-up but not ``warmup_s``. A case that exceeds it stops with the
        reason ``time_limit``. The samples have at least half of this time, however long the warm-up takes.
    warmup_calls
        Minimum number of untimed calls. All calls run at least once. They allocate memory, compile and choose
        kernels.
    warmup_s
        Minimum seconds of untimed passes. A GPU at its power limit needs half a second to settle.
    min_sample_s
        Minimum seconds of a back-to-back sample, far above the resolution of the clock. A sample holds as many
        calls as this takes, and whole passes from one pass on.
    """

    relative_error: float = 0.01
    min_samples: int = 10
    max_samples: int = 1000
    time_limit_s: float = 1.0
    warmup_calls: int = 2
    warmup_s: float = 0.0
    min_sample_s: float = 200 * MICRO

    def __post_init__(self) -> None:
        """Check the values."""
        positive("relative_error", self.relative_error)
        whole("min_samples", self.min_samples, 2)
        whole("max_samples", self.max_samples, self.min_samples)
        positive("time_limit_s", self.time_limit_s)
        whole("warmup_calls", self.warmup_calls, 1)
        in_range("min_sample_s", self.min_sample_s, 0)
        in_range("warmup_s", self.warmup_s, 0)


@dataclass(frozen=True)
class Summary:
    """Statistics of the samples of one case, in seconds per call.

    Attributes
    ----------
    count
        Number of samples.
    calls_per_sample
        Units of work in one sample.
    median_s, mean_s, std_s, min_s, p10_s, p90_s, max_s
        Statistics of the samples.
    interval_low_s, interval_high_s
        95 % bootstrap interval of the median.
    relative_error
        Half the width of the rank interval of the median, as a fraction of the median.
    floor_s
        Median seconds of an empty call measured in the same way, the cost of the clock itself.
    total_s
        Seconds of the whole measurement.
    drift_ratio
        Median of the second half of the samples over that of the first.
    drift
        ``steady``, ``slower`` (throttling) or ``faster`` (warming up).
    stopping_reason
        One of `STOPPING_REASONS`.
    clock, cache
        Clock and state of the cache.
    """

    count: int
    calls_per_sample: int
    median_s: float
    mean_s: float
    std_s: float
    min_s: float
    p10_s: float
    p90_s: float
    max_s: float
    interval_low_s: float
    interval_high_s: float
    relative_error: float
    floor_s: float
    total_s: float
    drift_ratio: float
    drift: str
    stopping_reason: str
    clock: str
    cache: str

    def row(self) -> dict[str, Any]:
        """Return the summary as a plain dictionary."""
        return asdict(self)


def summarize(
    samples: ArrayLike,
    *,
    stopping_reason: str,
    clock: str,
    cache: str,
    floor_s: float = 0.0,
    calls_per_sample: int = 1,
    total_s: float = 0.0,
) -> Summary:
    """Summarize samples, given in seconds per call.

    Raises
    ------
    InputError
        When a sample is not positive, or the stopping reason is unknown.
    """
    values = positive("samples", samples)
    one_of("stopping_reason", stopping_reason, STOPPING_REASONS)
    low, high = bootstrap_interval(values)
    ratio, change = drift(values)
    p10, median, p90 = (float(q) for q in np.quantile(values, [0.1, 0.5, 0.9]))
    return Summary(
        count=values.size,
        calls_per_sample=calls_per_sample,
        median_s=median,
        mean_s=float(values.mean()),
        std_s=float(values.std()),
        min_s=float(values.min()),
        p10_s=p10,
        p90_s=p90,
        max_s=float(values.max()),
        interval_low_s=low,
        interval_high_s=high,
        relative_error=relative_error(values),
        floor_s=floor_s,
        total_s=total_s,
        drift_ratio=ratio,
        drift=change,
        stopping_reason=stopping_reason,
        clock=clock,
        cache=cache,
    )


def _sample(clock: Clock, draw: Callable[[int], float], plan: Plan, deadline_s: float) -> tuple[list[float], str]:
    """Draw samples until the plan ends and return them with the stopping reason."""
    samples: list[float] = []
    while True:
        samples.append(draw(len(samples)))
        if len(samples) >= plan.min_samples and relative_error(samples) <= plan.relative_error:
            return samples, "converged"
        if len(samples) >= plan.max_samples:
            return samples, "max_samples"
        if len(samples) > 1 and clock.now() >= deadline_s:
            return samples, "time_limit"


def empty_call() -> None:
    """Do nothing. The seconds of this call are the floor of a clock."""


def floor_seconds(clock: Clock, *, samples: int = 20) -> float:
    """Return the median seconds of an empty call on a clock."""
    return float(np.median([clock.elapsed([empty_call]) for _ in range(samples)]))


def _calls_per_sample(calls: int, pass_s: float, least_s: float) -> int:
    """Return the calls of a sample that takes at least ``least_s``; from one pass on, those of whole passes.

    Parameters
    ----------
    calls, pass_s
        Calls of one pass, and its seconds.

    Examples
    --------
    >>> _calls_per_sample(100, 0.5, 2e-4), _calls_per_sample(100, 0.5, 0.012), _calls_per_sample(3, 1e-4, 2.5e-4)
    (1, 3, 9)
    """
    passes = least_s / max(pass_s, 1e-9)
    return max(1, int(np.ceil(passes * calls))) if passes < 1.0 else calls * int(np.ceil(passes))


def measure(
    clock: Clock,
    calls: Sequence[Call],
    plan: Plan,
    *,
    cache: str = "rotating",
    flush: Call | None = None,
    work_per_call: int = 1,
) -> Summary:
    """Time calls on a clock and return the statistics in seconds per unit of work.

    Parameters
    ----------
    clock
        Clock to read.
    calls
        Calls of the same work on different buffers. One call is enough for ``warm`` and ``flushed``.
    plan
        Rules for when to stop.
    cache
        One of `CACHES`.
    flush
        Call that overwrites the cache, required by ``flushed`` and by no other state.
    work_per_call
        Units of work in one call, such as the calls that a CUDA graph contains.

    Raises
    ------
    InputError
        When there is no call, or ``flush`` does not match ``cache``.
    """
    one_of("cache", cache, CACHES)
    if not calls:
        raise fail("calls", 0, "must be at least one")
    if (flush is None) == (cache == "flushed"):
        raise fail("flush", flush is not None, f"does not match cache={cache!r}")
    begin = clock.now()
    count = 0
    while count < plan.warmup_calls or clock.now() - begin < plan.warmup_s:
        last_pass_s = clock.elapsed(calls)
        count += len(calls)
    size = 1 if flush else _calls_per_sample(len(calls), last_pass_s, plan.min_sample_s)

    def draw(index: int) -> float:
        if flush is not None:
            flush()
        return clock.elapsed([calls[at % len(calls)] for at in range(index * size, (index + 1) * size)])

    deadline_s = max(begin + plan.warmup_s + plan.time_limit_s, clock.now() + plan.time_limit_s / 2.0)
    times, reason = _sample(clock, draw, plan, deadline_s)
    per_sample = work_per_call * size
    return summarize(
        np.asarray(times) / per_sample,
        stopping_reason=reason,
        clock=clock.name,
        cache=cache,
        floor_s=floor_seconds(clock) / per_sample,
        calls_per_sample=per_sample,
        total_s=clock.now() - begin,
    )
