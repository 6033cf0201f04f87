"""One timer for two clocks: CUDA events on a GPU, a monotonic clock on a CPU.

A measurement is a list of calls that do the same work on different buffers. Three states of the cache:

``rotating``  all calls back to back, their buffers together larger than the cache: memory is read anew each time,
              as in a decoder step, and the launch overhead is amortised (or captured in one CUDA graph);
``flushed``   one call a sample, the cache overwritten before it;
``warm``      one buffer, back to back: the batch mode of micro-benchmarks.

Sampling stops when the 95 % interval of the median is narrow enough. The time limit ends a case with a warning
instead of a failure, and the summary says which of the two it was. The seconds of an empty call, measured in the
same way, are reported beside every result and never subtracted.

The clock is injected, so statistics and stopping rule are tested with a scripted clock and the CUDA bookkeeping
with a fake event backend.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from gpu_validate.device.clocks import Call, Clock
from scylla_sim.checks import FloatArray, fail, in_range, one_of, positive, whole
from scylla_sim.stats.estimate import Estimate
from scylla_sim.units import MICRO

CACHES = ("rotating", "flushed", "warm")
STOPPING_REASONS = ("converged", "time_limit", "max_samples")

_NORMAL_95 = 1.959964
_BOOTSTRAP_DRAWS = 1000
_DRIFT_TOLERANCE = 0.03
"""Medians of the two halves of a run that differ by less are steady: below the repeatability of GPU clocks."""


@dataclass(frozen=True)
class Plan:
    """How long to sample.

    Attributes
    ----------
    relative_error
        Stop when half the width of the 95 % interval of the median is below this fraction of the median.
    min_samples, max_samples
        At least and at most so many samples.
    time_limit_s
        Seconds for one case, warm-up but for ``warmup_s`` included; then it stops with the reason ``time_limit``.
    warmup_calls
        Untimed passes over all calls first (at least one: it allocates, compiles, picks kernels).
    warmup_s
        Untimed passes last at least so long: a GPU that its power limit slows takes half a second to settle.
    min_sample_s
        A back-to-back sample repeats its calls until it lasts so long, far above the resolution of the clock.
    """

    relative_error: float = 0.01
    min_samples: int = 10
    max_samples: int = 1000
    time_limit_s: float = 1.0
    warmup_calls: int = 2
    warmup_s: float = 0.0
    min_sample_s: float = 200 * MICRO

    def __post_init__(self) -> None:
        positive("relative_error", self.relative_error)
        whole("min_samples", self.min_samples, 2)
        whole("max_samples", self.max_samples, self.min_samples)
        positive("time_limit_s", self.time_limit_s)
        whole("warmup_calls", self.warmup_calls, 1)
        in_range("min_sample_s", self.min_sample_s, 0)
        in_range("warmup_s", self.warmup_s, 0)


@dataclass(frozen=True)
class Summary:
    """Statistics of the samples of one case, in seconds a call.

    Attributes
    ----------
    interval_low_s, interval_high_s
        95 % bootstrap interval of the median.
    floor_s
        Median of an empty call measured the same way: what the clock itself costs.
    drift_ratio, drift
        Median of the second half over the first; ``steady``, ``slower`` (throttling) or ``faster`` (warming up).
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
        """The summary as a plain dictionary."""
        return asdict(self)


def rank_interval(samples: ArrayLike) -> tuple[float, float]:
    """Distribution-free 95 % interval of the median from order statistics; cheap enough to ask after each sample.

    Examples
    --------
    >>> rank_interval(range(100))
    (40.0, 59.0)
    """
    ordered = np.sort(np.asarray(samples, dtype=np.float64))
    half_width = 0.5 * _NORMAL_95 * np.sqrt(ordered.size)
    low = max(0, int(np.floor(0.5 * ordered.size - half_width)))
    high = min(ordered.size - 1, int(np.ceil(0.5 * ordered.size + half_width)) - 1)
    return float(ordered[low]), float(ordered[high])


def bootstrap_interval(samples: ArrayLike, *, seed: int = 0, level: float = 0.95) -> tuple[float, float]:
    """Percentile bootstrap interval of the median; the seed makes it the same for the same samples.

    Examples
    --------
    >>> bootstrap_interval([1.0, 1.0, 1.0, 1.0])
    (1.0, 1.0)
    """
    values = np.asarray(samples, dtype=np.float64)
    draws = np.random.default_rng(seed).integers(0, values.size, size=(_BOOTSTRAP_DRAWS, values.size))
    low, high = np.quantile(np.median(values[draws], axis=1), [0.5 - level / 2, 0.5 + level / 2])
    return float(low), float(high)


def _relative_error(samples: ArrayLike) -> float:
    low, high = rank_interval(samples)
    return 0.5 * (high - low) / float(np.median(np.asarray(samples, dtype=np.float64)))


def verdict(base: Estimate, other: Estimate, *, tolerance: float = 0.02) -> str:
    """Compare two medians with their intervals.

    ``slower`` or ``faster`` when the intervals are apart and the medians differ by more than ``tolerance``;
    ``same`` when the ratio stays within the tolerance over both intervals; otherwise the data do not tell:
    ``ambiguous``, never a forced pass.

    Examples
    --------
    >>> verdict(Estimate.of(1.0, 0.99, 1.01), Estimate.of(1.05, 1.04, 1.06))
    'slower'
    >>> verdict(Estimate.of(1.0, 0.99, 1.01), Estimate.of(1.0, 0.995, 1.005))
    'same'
    >>> verdict(Estimate.of(1.0, 0.8, 1.2), Estimate.of(1.05, 0.9, 1.3))
    'ambiguous'
    """
    positive("median", [float(base.value), float(other.value)])
    ratio, low, high = other.value / base.value, other.lower / base.upper, other.upper / base.lower
    if low > 1.0 and ratio > 1.0 + tolerance:
        return "slower"
    if high < 1.0 and ratio < 1.0 / (1.0 + tolerance):
        return "faster"
    if high <= 1.0 + tolerance and low >= 1.0 / (1.0 + tolerance):
        return "same"
    return "ambiguous"


def _spread(samples: FloatArray) -> Estimate:
    return Estimate.of(float(np.median(samples)), *bootstrap_interval(samples))


def drift(samples: ArrayLike) -> tuple[float, str]:
    """Second half against the first: ratio of medians and ``steady``, ``slower`` or ``faster``.

    A GPU that throttles, or a CPU that another process shares half way, shows here.
    """
    values = np.asarray(samples, dtype=np.float64)
    half = values.size // 2
    if half < 2:
        return 1.0, "steady"
    first, second = _spread(values[:half]), _spread(values[-half:])
    change = verdict(first, second, tolerance=_DRIFT_TOLERANCE)
    return float(second.value / first.value), change if change in ("slower", "faster") else "steady"


def summarise(
    samples: ArrayLike,
    *,
    stopping_reason: str,
    clock: str,
    cache: str,
    floor_s: float = 0.0,
    calls_per_sample: int = 1,
    total_s: float = 0.0,
) -> Summary:
    """Statistics of samples that are in seconds a call."""
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
        relative_error=_relative_error(values),
        floor_s=floor_s,
        total_s=total_s,
        drift_ratio=ratio,
        drift=change,
        stopping_reason=stopping_reason,
        clock=clock,
        cache=cache,
    )


def _sample(clock: Clock, draw: Callable[[int], float], plan: Plan, deadline_s: float) -> tuple[list[float], str]:
    """Draw samples until the plan says stop, and why it did."""
    samples: list[float] = []
    while True:
        samples.append(draw(len(samples)))
        if len(samples) >= plan.min_samples and _relative_error(samples) <= plan.relative_error:
            return samples, "converged"
        if len(samples) >= plan.max_samples:
            return samples, "max_samples"
        if len(samples) > 1 and clock.now() >= deadline_s:
            return samples, "time_limit"


def empty_call() -> None:
    """Do nothing: its seconds are the floor of a clock."""


def floor_seconds(clock: Clock, *, samples: int = 20) -> float:
    """Median seconds of an empty call, on this clock."""
    return float(np.median([clock.elapsed([empty_call]) for _ in range(samples)]))


def measure(
    clock: Clock,
    calls: Sequence[Call],
    plan: Plan,
    *,
    cache: str = "rotating",
    flush: Call | None = None,
    work_per_call: int = 1,
) -> Summary:
    """Time ``calls`` on a clock; seconds are per call and per ``work_per_call``.

    Parameters
    ----------
    calls
        Calls of the same work on different buffers; one is enough for ``warm`` and ``flushed``.
    flush
        Overwrites the cache; needed by ``flushed`` and by nothing else.
    work_per_call
        Units of work inside one call, for a CUDA graph that holds several.

    Raises
    ------
    InputError
        When there is nothing to call, or ``flush`` does not go with ``cache``.
    """
    one_of("cache", cache, CACHES)
    if not calls:
        raise fail("calls", 0, "must be at least one")
    if (flush is None) == (cache == "flushed"):
        raise fail("flush", flush is not None, f"does not go with cache={cache!r}")
    begin = clock.now()
    count = 0
    while count < plan.warmup_calls or clock.now() - begin < plan.warmup_s:
        last_pass_s = clock.elapsed(calls)
        count += 1
    passes = 1 if flush else max(1, int(np.ceil(plan.min_sample_s / max(last_pass_s, 1e-9))))
    back_to_back = list(calls) * passes

    def draw(index: int) -> float:
        if flush is None:
            return clock.elapsed(back_to_back)
        flush()
        return clock.elapsed([calls[index % len(calls)]])

    times, reason = _sample(clock, draw, plan, begin + plan.warmup_s + plan.time_limit_s)
    per_sample = work_per_call * (1 if flush else len(back_to_back))
    return summarise(
        np.asarray(times) / per_sample,
        stopping_reason=reason,
        clock=clock.name,
        cache=cache,
        floor_s=floor_seconds(clock) / per_sample,
        calls_per_sample=per_sample,
        total_s=clock.now() - begin,
    )
