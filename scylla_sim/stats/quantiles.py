"""The normal distribution, and quantiles of weights and of the beta and Student distributions, without scipy.

`scylla-sim predict` needs them for its intervals and for the acceptance laws, and importing scipy is slow. The beta
and Student distributions follow from the regularized incomplete beta function.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from numpy.typing import ArrayLike

from scylla_sim.checks import FloatArray, in_range, positive

Z_90 = 1.6448536269514722
"""Half-width of a two-sided 90 % interval of the normal distribution, in standard deviations."""

_ERF = np.vectorize(math.erf, otypes=[np.float64])
_LOG_GAMMA = np.vectorize(math.lgamma, otypes=[np.float64])
_NEARLY_NORMAL, _TAIL, _NEWTON_STEPS = 1e3, 1e-4, 5
_MAX_TERMS = 500
_TINY = 1e-300


def normal_cdf(x: ArrayLike) -> FloatArray:
    """Return the distribution function of the standard normal distribution.

    Examples
    --------
    >>> normal_cdf([0.0, Z_90]).round(3).tolist()
    [0.5, 0.95]
    """
    value: FloatArray = 0.5 * (1.0 + _ERF(np.asarray(x, dtype=np.float64) / math.sqrt(2.0)))
    return value


def median(values: ArrayLike) -> FloatArray:
    """Return the median over the last axis; ``numpy.median`` imports the masked arrays of numpy, which is slow.

    Examples
    --------
    >>> median([[3.0, 1.0, 2.0], [5.0, 5.0, 8.0]]).tolist(), float(median([1.0, 2.0]))
    ([2.0, 5.0], 1.5)
    """
    ordered = np.sort(np.asarray(values, dtype=np.float64), axis=-1)
    count = ordered.shape[-1]
    return np.asarray((ordered[..., (count - 1) // 2] + ordered[..., count // 2]) / 2.0)


def _continued_fraction(a: FloatArray, b: FloatArray, x: FloatArray) -> FloatArray:
    """Return the continued fraction of I_x(a, b) by Lentz's method, for x below (a + 1) / (a + b + 2)."""
    c = np.ones_like(x)
    d = 1.0 - (a + b) * x / (a + 1.0)
    d = 1.0 / np.where(np.abs(d) < _TINY, _TINY, d)
    value = d.copy()
    for m in range(1, _MAX_TERMS):
        even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        for term in (even, odd):
            d = 1.0 + term * d
            d = 1.0 / np.where(np.abs(d) < _TINY, _TINY, d)
            c = 1.0 + term / c
            c = np.where(np.abs(c) < _TINY, _TINY, c)
            value = value * (c * d)
        if np.all(np.abs(c * d - 1.0) < 1e-15):
            break
    return value


def incomplete_beta(x: ArrayLike, a: ArrayLike, b: ArrayLike) -> FloatArray:
    """Return the regularized incomplete beta function I_x(a, b), the distribution function of Beta(a, b).

    Parameters
    ----------
    x, a, b
        x in [0, 1], a and b above 0; they broadcast.

    Notes
    -----
    Source: NIST Digital Library of Mathematical Functions, 8.17.22 (continued fraction) and 8.17.4 (symmetry).

    Examples
    --------
    >>> round(float(incomplete_beta(0.5, 2, 3)), 4)
    0.6875
    """
    x, a, b = np.broadcast_arrays(in_range("x", x, 0, 1), positive("a", a), positive("b", b))
    swap = x > (a + 1) / (a + b + 2)
    p, q = np.where(swap, b, a), np.where(swap, a, b)
    y = np.clip(np.where(swap, 1 - x, x), 0.0, 1.0)
    inside = np.clip(y, _TINY, 1 - 1e-16)
    scale = _LOG_GAMMA(p + q) - _LOG_GAMMA(p) - _LOG_GAMMA(q)
    front = np.exp(scale + p * np.log(inside) + q * np.log1p(-inside)) / p
    lower = np.where(y <= 0, 0.0, front * _continued_fraction(p, q, inside))
    return np.where(swap, 1.0 - lower, lower)


def beta_quantile(probability: ArrayLike, a: ArrayLike, b: ArrayLike) -> FloatArray:
    """Return the quantile of Beta(a, b); arguments broadcast.

    It is found by bisection, and by Newton's method where the distribution is nearly normal.

    Examples
    --------
    >>> round(float(beta_quantile(0.5, 2, 2)), 6)
    0.5
    """
    probability, a, b = np.broadcast_arrays(
        in_range("probability", probability, 0, 1), positive("a", a), positive("b", b)
    )
    near = (np.minimum(a, b) >= _NEARLY_NORMAL) & (probability > _TAIL) & (probability < 1.0 - _TAIL)
    found = np.empty(probability.shape)
    for rows, method in ((near, _newton_quantile), (~near, _bisected_quantile)):
        if rows.any():
            found[rows] = method(probability[rows], a[rows], b[rows])
    return found


def _bisected_quantile(probability: FloatArray, a: FloatArray, b: FloatArray) -> FloatArray:
    """Return quantiles of Beta(a, b) by bisection."""
    low, high = np.zeros(probability.shape), np.ones(probability.shape)
    for _ in range(60):
        middle = (low + high) / 2
        below = incomplete_beta(middle, a, b) < probability
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return (low + high) / 2


def _newton_quantile(probability: FloatArray, a: FloatArray, b: FloatArray) -> FloatArray:
    """Return quantiles of Beta(a, b) for large a and b by Newton's method, from the normal distribution."""
    from statistics import NormalDist  # only here, because most predictions need no such quantile

    mean = a / (a + b)
    sd = np.sqrt(mean * (1.0 - mean) / (a + b + 1.0))
    x = mean + sd * np.array([NormalDist().inv_cdf(each) for each in probability.tolist()])
    log_size = _LOG_GAMMA(a + b) - _LOG_GAMMA(a) - _LOG_GAMMA(b)
    for _ in range(_NEWTON_STEPS):
        density = np.exp(log_size + (a - 1.0) * np.log(x) + (b - 1.0) * np.log1p(-x))
        x = x - (incomplete_beta(x, a, b) - probability) / density
    return np.asarray(x)


def weighted_quantile(values: ArrayLike, probability: ArrayLike, *, weights: ArrayLike) -> FloatArray:
    """Return quantiles of weighted values, interpolated between the middles of their weights.

    Parameters
    ----------
    values, weights
        Values and their positive weights, of one length.
    probability
        Probabilities in [0, 1].

    Examples
    --------
    >>> weighted_quantile([3.0, 1.0, 2.0], [0.5], weights=[1.0, 1.0, 4.0]).tolist()
    [2.0]
    """
    order = np.argsort(np.asarray(values, dtype=np.float64), kind="stable")
    ordered = np.asarray(values, dtype=np.float64)[order]
    weight = positive("weights", weights)[order]
    middle = (np.cumsum(weight) - 0.5 * weight) / weight.sum()
    return np.asarray(np.interp(in_range("probability", probability, 0, 1), middle, ordered))


@cache
def student_quantile(level: float, dof: int) -> float:
    """Return the half-width of a two-sided Student-t interval in standard errors.

    Parameters
    ----------
    level
        Coverage in (0, 1), for example 0.9.
    dof
        Degrees of freedom, at least 1.

    Examples
    --------
    >>> round(student_quantile(0.95, 5), 3)
    2.571
    """
    tail = beta_quantile(1.0 - float(in_range("level", level, 1e-6, 1 - 1e-6)), dof / 2, 0.5)
    x = float(tail)
    return math.sqrt(dof * (1.0 - x) / x)
