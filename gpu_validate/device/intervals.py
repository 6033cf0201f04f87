"""Intervals of a median, comparison of two medians, and drift over a measurement."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from scylla_sim.checks import FloatArray, positive
from scylla_sim.stats.estimate import Estimate

_NORMAL_95 = 1.959964
_BOOTSTRAP_DRAWS = 1000
_DRIFT_TOLERANCE = 0.03
"""Largest relative difference between the medians of the two halves of a steady run. It is below the repeatability
of GPU clocks.
"""


def rank_interval(samples: ArrayLike) -> tuple[float, float]:
    """Return a distribution-free 95 % interval of the median from order statistics.

    It is cheap enough to compute after each sample.

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
    """Return the percentile bootstrap interval of the median.

    The same samples and seed give the same interval.

    Examples
    --------
    >>> bootstrap_interval([1.0, 1.0, 1.0, 1.0])
    (1.0, 1.0)
    """
    values = np.asarray(samples, dtype=np.float64)
    draws = np.random.default_rng(seed).integers(0, values.size, size=(_BOOTSTRAP_DRAWS, values.size))
    low, high = np.quantile(np.median(values[draws], axis=1), [0.5 - level / 2, 0.5 + level / 2])
    return float(low), float(high)


def relative_error(samples: ArrayLike) -> float:
    """Return half the width of the rank interval of the median, as a fraction of the median."""
    low, high = rank_interval(samples)
    return 0.5 * (high - low) / float(np.median(np.asarray(samples, dtype=np.float64)))


def compare_medians(base: Estimate, other: Estimate, *, tolerance: float = 0.02) -> str:
    """Compare two medians with their intervals.

    Parameters
    ----------
    base, other
        Median and interval of the reference and of the compared samples, all positive.
    tolerance
        Relative difference that counts as no difference.

    Returns
    -------
    str
        ``slower`` or ``faster`` when the intervals are disjoint and the medians differ by more than the tolerance.
        ``same`` when the ratio stays within the tolerance over both intervals. ``ambiguous`` otherwise.

    Examples
    --------
    >>> compare_medians(Estimate.of(1.0, 0.99, 1.01), Estimate.of(1.05, 1.04, 1.06))
    'slower'
    >>> compare_medians(Estimate.of(1.0, 0.99, 1.01), Estimate.of(1.0, 0.995, 1.005))
    'same'
    >>> compare_medians(Estimate.of(1.0, 0.8, 1.2), Estimate.of(1.05, 0.9, 1.3))
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
    """Compare the second half of the samples with the first.

    Returns
    -------
    ratio
        Median of the second half over that of the first.
    change
        ``steady``, ``slower`` or ``faster``. A GPU that throttles, or a CPU that another process starts to share,
        is not steady.
    """
    values = np.asarray(samples, dtype=np.float64)
    half = values.size // 2
    if half < 2:
        return 1.0, "steady"
    first, second = _spread(values[:half]), _spread(values[-half:])
    change = compare_medians(first, second, tolerance=_DRIFT_TOLERANCE)
    return float(second.value / first.value), change if change in ("slower", "faster") else "steady"
