"""Latencies and rates of a simulated run, and their estimates over seeds and over the error of the step model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scylla_sim.checks import FloatArray, fail, in_range
from scylla_sim.serving.limits import Limit
from scylla_sim.serving.simulation import Run
from scylla_sim.stats.estimate import Estimate, with_deviations
from scylla_sim.stats.quantiles import student_quantile, weighted_quantile

LATENCIES = ("ttft_s", "tpot_s", "itl_s", "e2e_s")
"""Latencies: time to first token, time per output token, time between tokens, and time of a whole request."""
PERCENTILES = (50, 90, 95, 99)
SHARES = ("busy", "kv_use", "kv_use max")
"""Metrics that never exceed 1."""
LEVEL = 0.9
"""Coverage of the intervals over seeds."""


@dataclass(frozen=True)
class Counted:
    """Requests and time that count.

    Attributes
    ----------
    requests
        Whether each request counts, shape (requests,).
    start_s, end_s
        Time over which rates and means over time are taken.
    """

    requests: NDArray[np.bool_]
    start_s: float
    end_s: float


def check_counted(warmup: float, cooldown: float) -> None:
    """Raise for shares of requests that do not count, if they leave none or lie outside [0, 0.9]."""
    both = [float(in_range(name, value, 0, 0.9)) for name, value in (("warmup", warmup), ("cooldown", cooldown))]
    if sum(both) >= 1.0:
        raise fail("cooldown", cooldown, f"must leave requests that count after warmup={warmup:g}")


def counted(run: Run, *, warmup: float, cooldown: float) -> Counted:
    """Return what counts of a run: not its first requests, and not its last.

    The time is that from the first arrival that counts to the last one. Without cooldown it ends with the run. If
    fewer than half of the requests end in it, because a queue grows, it lies between the same shares of the ends.

    Parameters
    ----------
    warmup, cooldown
        Shares of the requests, by arrival, that are left out at the begin and at the end.
    """
    check_counted(warmup, cooldown)
    arrival = run.requests.arrival_s
    first = min(int(warmup * arrival.size), arrival.size - 1)
    last = max(arrival.size - int(cooldown * arrival.size), first + 1)
    kept = np.zeros(arrival.size, dtype=np.bool_)
    kept[first:last] = True
    end = float(arrival[last - 1]) if last < arrival.size else float(run.finish_s.max())
    start = float(arrival[first]) if first else 0.0
    if end <= start:
        end = float(run.finish_s.max())
    if np.sum((run.finish_s > start) & (run.finish_s <= end)) < 0.5 * np.sum(kept):
        ends = np.sort(run.finish_s)
        start, end = float(ends[first - 1]) if first else 0.0, float(ends[last - 1])
    if end <= start:  # all answers end together
        start, end = float(arrival[0]), float(run.finish_s.max())
    return Counted(kept, start, end)


def latencies(run: Run) -> dict[str, FloatArray]:
    """Return TTFT, TPOT and E2E of each request; TPOT is NaN for answers of one token."""
    tokens = run.requests.output_tokens
    with np.errstate(divide="ignore", invalid="ignore"):
        tpot = np.where(tokens > 1, (run.finish_s - run.first_s) / (tokens - 1), np.nan)
    return {
        "ttft_s": run.first_s - run.requests.arrival_s,
        "tpot_s": tpot,
        "e2e_s": run.finish_s - run.requests.arrival_s,
    }


def _statistics(name: str, values: FloatArray) -> dict[str, float]:
    """Return mean and percentiles of a latency by request."""
    found = values[np.isfinite(values)]
    if not found.size:
        return {}
    at = np.quantile(found, np.array(PERCENTILES) / 100.0)
    percentiles = {f"{name} p{one}": float(value) for one, value in zip(PERCENTILES, at)}
    return {f"{name} mean": float(found.mean()), **percentiles}


def _gap_statistics(run: Run, time: Counted) -> dict[str, float]:
    """Return mean and percentiles of the time between tokens, over all gaps of all requests."""
    inside = (run.gap_weight > 0) & (run.gap_end_s > time.start_s) & (run.gap_end_s <= time.end_s)
    if not inside.any():
        return {}
    gaps, weights = run.gap_s[inside], run.gap_weight[inside].astype(np.float64)
    at = weighted_quantile(gaps, np.array(PERCENTILES) / 100.0, weights=weights)
    percentiles = {f"itl_s p{one}": float(value) for one, value in zip(PERCENTILES, at)}
    return {"itl_s mean": float(np.average(gaps, weights=weights)), **percentiles}


def summary(run: Run, time: Counted, *, limits: Sequence[Limit] = (), pool: float = np.inf) -> dict[str, float]:
    """Return the metrics of one run.

    Parameters
    ----------
    time
        What counts.
    limits
        Limits that a request must meet to count for ``goodput_per_s``, each for itself.
    pool
        Tokens of the KV pool, for its use.

    Returns
    -------
    dict
        ``<latency> <statistic>``, rates per second, means over time, and counts.
    """
    length = time.end_s - time.start_s
    finished = (run.finish_s > time.start_s) & (run.finish_s <= time.end_s)
    each = latencies(run)
    found: dict[str, float] = {}
    for name, values in each.items():
        found |= _statistics(name, values[time.requests])
    found |= _gap_statistics(run, time)
    rate = float(finished.sum()) / length
    overlap = np.clip(np.minimum(run.ends_s, time.end_s) - np.maximum(run.starts_s, time.start_s), 0.0, None)
    running = float(overlap @ run.running) / length
    inside = np.clip(
        np.minimum(run.finish_s, time.end_s) - np.maximum(run.requests.arrival_s, time.start_s), 0.0, None
    )
    good = np.ones(run.requests.count, dtype=np.bool_)
    for limit in limits:
        good &= ~(
            each[f"{limit.metric}_s"] > limit.seconds
        )  # an answer of one token has no TPOT, and meets its limit
    return {
        **found,
        "requests_per_s": rate,
        "output_tokens_per_s": float(run.requests.output_tokens[finished].sum()) / length,
        "goodput_per_s": rate * float(good[time.requests].mean()),
        "running": running,
        "waiting": max(float(inside.sum()) / length - running, 0.0),
        "busy": float(overlap.sum()) / length,
        "kv_use": float(overlap @ run.kv_tokens) / length / pool,
        "kv_use max": run.max_kv_tokens / pool,
        "preemptions": float(run.preemptions) / run.requests.count,
    }


@dataclass(frozen=True)
class Metric:
    """A metric over seeds and over the error of the step model.

    Attributes
    ----------
    value
        Mean over the seeds, with the 90 % interval of both errors.
    seeds
        The same mean with the 90 % interval over the seeds alone.
    fast, slow
        Mean over the seeds with every step at the fast, and at the slow end of its 90 % interval.
    """

    value: Estimate
    seeds: Estimate
    fast: float
    slow: float


def over_seeds(values: ArrayLike) -> Estimate:
    """Return the mean over seeds with its 90 % interval by Student's t; a single seed has no interval.

    Examples
    --------
    >>> found = over_seeds([1.0, 2.0, 3.0])
    >>> round(float(found.value), 3), round(float(found.up), 3)
    (2.0, 1.686)
    """
    x = np.asarray(values, dtype=np.float64)
    half = 0.0
    if x.size > 1:
        half = student_quantile(LEVEL, x.size - 1) * float(np.std(x, ddof=1)) / float(np.sqrt(x.size))
    mean = float(x.mean())
    return Estimate.of(mean, mean - half, mean + half)


def unloaded(run: Run) -> dict[str, float]:
    """Return the latencies of a run of one request at a time: no load is served faster."""
    found: dict[str, float] = {}
    for name, values in latencies(run).items():
        found |= _statistics(name, values)
    return found | _gap_statistics(run, Counted(np.ones(run.requests.count, dtype=np.bool_), 0.0, np.inf))


def metrics(
    value: Sequence[Mapping[str, float]],
    fast: Sequence[Mapping[str, float]],
    slow: Sequence[Mapping[str, float]],
    *,
    floor: Mapping[str, float] | None = None,
) -> dict[str, Metric]:
    """Return all metrics of some runs.

    Parameters
    ----------
    value, fast, slow
        One `summary` per seed, with steps at their value and at both ends; ends may be empty. All with the same
        seeds, so that they differ by their steps only.
    floor
        Least values of latencies: those of an empty replica with fast steps. No lower end lies below them.
    """
    found, least = {}, floor or {}
    for name in value[0]:
        seeds = over_seeds([one[name] for one in value])
        ends = [
            float(np.mean([one.get(name, np.nan) for one in runs])) if runs else float(seeds.value)
            for runs in (fast, slow)
        ]
        centre = float(seeds.value)
        down, up = centre - min(*ends, centre), max(*ends, centre) - centre
        both = with_deviations(seeds.value, [seeds.down, np.asarray(down)], [seeds.up, np.asarray(up)])
        most = 1.0 if name in SHARES else np.inf
        lower = np.maximum(both.lower, min(least.get(name, 0.0), centre))
        kept = Estimate(both.value, lower, np.minimum(both.upper, most))
        found[name] = Metric(kept, seeds, *ends)
    return found | _ordered(found)


def _ordered(found: Mapping[str, Metric]) -> dict[str, Metric]:
    """Return the percentiles of each latency with ends that rise with the percentile.

    A percentile is at least every lower one, so the lower end of that one is a lower end of it too. In the same
    way, no upper end lies above that of a higher percentile.
    """
    ordered: dict[str, Metric] = {}
    for latency in LATENCIES:
        names = [name for name in (f"{latency} p{one}" for one in PERCENTILES) if name in found]
        if not names:
            continue
        value = np.array([float(found[name].value.value) for name in names])
        lower = np.maximum.accumulate([float(found[name].value.lower) for name in names])
        upper = np.minimum.accumulate([float(found[name].value.upper) for name in names[::-1]])[::-1]
        ends = zip(names, value, np.minimum(lower, value), np.maximum(upper, value))
        ordered |= {name: replace(found[name], value=Estimate.of(*three)) for name, *three in ends}
    return ordered
