"""Differences between published deployments that no term of the simulator explains.

Two deployments with the same engine, GPU and model differ in ways that their publications do not state: versions,
flags, clocks, the end of a run. Intervals of served engines therefore have one more source of error. Its size is in
``scylla_sim/data/between_sources.toml``, and `required_sd` and `estimated_sd` derive it from scored runs.
"""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from functools import cache
from importlib import resources

import numpy as np
from numpy.typing import ArrayLike

from scylla_sim.checks import FloatArray, positive
from scylla_sim.specs.engine import Engine
from scylla_sim.stats.estimate import Estimate
from scylla_sim.stats.quantiles import Z_90

LEVEL = 0.9
"""Share of the measurements that an interval holds."""
SPEEDUP, SUPERSEDED, RATE = "speedup", "speedup_superseded", "rate"
"""Quantities with a size of their own: ratios of speculative to plain decoding, with the newest preset of an engine
and with one that stands for all versions before it, and throughput or step time."""


@cache
def shipped_sd(quantity: str) -> float:
    """Return the shipped standard deviation of the logarithm of a quantity."""
    text = (resources.files("scylla_sim") / "data" / "between_sources.toml").read_text("utf-8")
    return float(tomllib.loads(text)[quantity]["sd"])


def applies(engine: Engine) -> bool:
    """Return whether an engine stands for deployments of others: its overheads have intervals.

    The engine ``ideal`` describes kernels alone. An engine with exact overheads, or one fitted to the
    user's own runs, describes one deployment.
    """
    return not engine.fitted_runs and any(lower < upper for lower, upper in engine.intervals.values())


def speedup_of(engine: Engine) -> str:
    """Return which quantity the speed-up of an engine is.

    Examples
    --------
    >>> from scylla_sim.specs import catalog
    >>> speedup_of(catalog.engine("vllm")), speedup_of(catalog.engine("vllm-2025"))
    ('speedup', 'speedup_superseded')
    """
    return SUPERSEDED if engine.superseded else SPEEDUP


def deviation(engine: Engine, quantity: str) -> float:
    """Return the relative deviation of one side of a 90 % interval; 0 where `applies` is false.

    Examples
    --------
    >>> from scylla_sim.specs import catalog
    >>> deviation(catalog.engine("ideal"), RATE)
    0.0
    """
    return float(np.expm1(Z_90 * shipped_sd(quantity))) if applies(engine) else 0.0


def without(end: FloatArray, included: ArrayLike) -> FloatArray:
    """Return the distance of an end of an interval without the differences between sources in it.

    Parameters
    ----------
    end
        Ratio of the end to the value, or its inverse: at least 1.
    included
        Standard deviation that the interval contains.

    Examples
    --------
    >>> round(float(without(np.array(1.25), float(np.log(1.15)) / Z_90)), 3)
    1.2
    """
    rest: FloatArray = 1.0 + np.sqrt(np.maximum((end - 1.0) ** 2 - np.expm1(Z_90 * np.asarray(included)) ** 2, 0.0))
    return rest


def interval_with(value: FloatArray, lower: FloatArray, upper: FloatArray, sd: ArrayLike) -> Estimate:
    """Return intervals with differences between sources of another size; the given ones contain none."""
    added = np.expm1(Z_90 * np.asarray(sd, dtype=np.float64))
    down, up = (np.hypot(end - 1.0, added) for end in (value / lower, upper / value))
    return Estimate(value, value / (1.0 + down), value * (1.0 + up))


def required_sd(measured: ArrayLike, value: ArrayLike, lower: ArrayLike, upper: ArrayLike) -> FloatArray:
    """Return the standard deviation that each interval lacks to reach its measurement; 0 where it holds it.

    Parameters
    ----------
    measured
        Measured speed-ups, rates or times.
    value, lower, upper
        Predictions with intervals that do not contain the differences between sources. All four broadcast.

    Examples
    --------
    >>> required_sd([1.0, 1.3], 1.0, 0.9, 1.1).round(3).tolist()
    [0.0, 0.151]
    """
    m, v = positive("measured", measured), positive("value", value)
    low, high = positive("lower", lower), positive("upper", upper)
    needed = np.maximum(m / v, v / m) - 1.0
    held = np.where(m < v, v / low, high / v) - 1.0
    lacking: FloatArray = np.log1p(np.sqrt(np.maximum(needed**2 - held**2, 0.0))) / Z_90
    return lacking


def estimated_sd(required: FloatArray, sources: Sequence[str]) -> float:
    """Return the standard deviation with which intervals hold 90 % of the measurements.

    Runs of one source share their differences, and a source of one or two runs says little about any other. The
    weight of a source is therefore the root of its number of runs.

    Parameters
    ----------
    required
        Result of `required_sd`, shape (runs,).
    sources
        Source of each run.

    Examples
    --------
    >>> estimated_sd(np.array([0.0] * 8 + [0.1, 0.2]), ["a"] * 10)
    0.1
    """
    _, index, counts = np.unique(np.asarray(sources), return_inverse=True, return_counts=True)
    order = np.argsort(required)
    weight = counts[index[order]] ** -0.5
    held = np.cumsum(weight) / weight.sum()
    return float(required[order][min(int(np.searchsorted(held, LEVEL - 1e-9)), required.size - 1)])


def estimated_without_each(required: FloatArray, sources: Sequence[str]) -> FloatArray:
    """Return for each run the estimate from the runs of all other sources; NaN if there are none.

    Examples
    --------
    >>> estimated_without_each(np.array([0.1, 0.1, 0.3]), ["a", "a", "b"]).tolist()
    [0.3, 0.3, 0.1]
    """
    names = np.asarray(sources)
    found = np.full(required.shape, np.nan)
    for name in dict.fromkeys(sources):
        other = names != name
        if other.any():
            found[~other] = estimated_sd(required[other], names[other].tolist())
    return found
