"""Fluctuations of a continuous batch: a loop in which long iterations bring more requests, which lengthen them.

An iteration takes ``d0 + d1 n + P a`` seconds for ``n`` decoding requests and ``a`` prompts. The prompts are those
that arrived in the iteration before. Each request decodes for ``K`` iterations. Two numbers describe this linear
loop, and both stay below 1:

* ``prefill_share``, ``rate * P``: the share of time that prompts take.
* ``feedback``, ``rate * K * d1 / (1 - prefill_share)``: the share of the other time that grows with the requests.

Notes
-----
Derivation. Arrivals per iteration are Poisson with a mean that follows the iteration before. Counted in stays,
``u = k / K``, and for slow fluctuations, the requests ``n`` obey ``r'(u) = -exp(f u)`` with ``r(0) = 1 / (1 - f)``,
where ``r`` is the covariance of ``n`` at two times over its mean and ``f`` the feedback. Prefills multiply all
variances by ``1 / (1 - prefill_share)^2``. Point processes with linear self-excitation are due to Hawkes,
Biometrika 58 (1971).
"""

from __future__ import annotations

from functools import cache
from statistics import NormalDist

import numpy as np
from numpy.typing import ArrayLike

from scylla_sim.checks import FloatArray

MIN_FEEDBACK, MAX_FEEDBACK = 1e-3, 0.998
"""Feedback below which two covariances keep their value, because the formulas lose digits, and the largest one."""
MAX_RATIO = 2.5
"""Largest standard deviation over mean of `gamma_quantile`."""


def loop_covariances(feedback: ArrayLike) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return three covariances of the decoding requests over their mean, without prefills.

    Parameters
    ----------
    feedback
        At least 0; see `MIN_FEEDBACK`.

    Returns
    -------
    spread, mixed, mean
        Variance of the requests, their covariance with their mean over the stay that follows, and the variance of
        that mean. Without feedback they are 1, 1/2 and 2/3.

    Examples
    --------
    >>> [round(float(one), 3) for one in loop_covariances(0.5)]
    [2.0, 1.405, 1.62]
    """
    given = np.clip(np.asarray(feedback, dtype=np.float64), 0.0, MAX_FEEDBACK)
    f = np.maximum(given, MIN_FEEDBACK)
    spread, rest = 1.0 / (1.0 - given), (np.expm1(f) - f) / f**2
    return spread, np.asarray(spread - rest), np.asarray(spread - 2.0 * (rest - 0.5) / f)


def dispersion(prefill_share: FloatArray, feedback: FloatArray) -> FloatArray:
    """Return the variance of the decoding requests over their mean; 1 for a Poisson number.

    Examples
    --------
    >>> round(float(dispersion(np.array(0.5), np.array(0.0))), 2)
    4.0
    """
    return np.asarray(loop_covariances(feedback)[0] / (1.0 - prefill_share) ** 2)


def stay_variance(prefill_share: FloatArray, feedback: FloatArray) -> FloatArray:
    """Return the variance of a stay of ``K`` iterations, in units of its mean over the rate."""
    spread, mixed, mean = loop_covariances(feedback)
    decode = feedback * (1.0 - prefill_share)
    whole = decode**2 * mean + 2.0 * prefill_share * decode * mixed + prefill_share**2 * spread
    return np.asarray(whole / (1.0 - prefill_share) ** 2)


def two_nodes(
    mean: FloatArray, spread: FloatArray
) -> tuple[tuple[FloatArray, FloatArray], tuple[FloatArray, FloatArray]]:
    """Return two nodes and their weights with the first three moments of a gamma variable.

    Parameters
    ----------
    mean, spread
        Mean, at least 0, and variance over mean, above 0.

    Examples
    --------
    >>> (low, high), (p, q) = two_nodes(np.array(8.0), np.array(2.0))
    >>> float(p * low + q * high), round(float(p * low**2 + q * high**2), 6)
    (8.0, 80.0)
    """
    tiny = np.finfo(np.float64).tiny
    deviation = np.sqrt(np.maximum(mean * spread, tiny))
    half_skew = np.sqrt(spread / np.maximum(mean, 1e-12))
    root = np.sqrt(1.0 + half_skew**2)
    nodes = (np.maximum(mean + deviation * (half_skew - root), 0.0), mean + deviation * (half_skew + root))
    return nodes, (0.5 * (1.0 + half_skew / root), 0.5 * (1.0 - half_skew / root))


@cache
def _normal_table() -> tuple[FloatArray, FloatArray]:
    """Return probabilities and the quantiles of the standard normal distribution at them."""
    z = np.linspace(-6.0, 6.0, 961)
    normal = NormalDist()
    return np.array([normal.cdf(at) for at in z.tolist()]), z


def gamma_quantile(mean: FloatArray, deviation: FloatArray, probability: ArrayLike) -> FloatArray:
    """Return the quantile of a gamma variable, by the cube-root approximation of Wilson and Hilferty (1931).

    Parameters
    ----------
    mean, deviation
        Mean and standard deviation, at least 0.
    probability
        In [0, 1]; all three broadcast.

    Notes
    -----
    A deviation above `MAX_RATIO` means counts as that, because the approximation fails beyond it.

    Examples
    --------
    >>> round(float(gamma_quantile(np.array(4.0), np.array(2.0), 0.95)), 2)
    7.74
    """
    whole, spread = np.broadcast_arrays(mean, deviation)
    ratio = np.divide(spread, whole, out=np.zeros(whole.shape), where=whole > 0.0)
    inverse = np.minimum(ratio, MAX_RATIO) ** 2 / 9.0
    z = np.interp(np.asarray(probability, dtype=np.float64), *_normal_table())
    return np.asarray(mean * np.maximum(1.0 - inverse + z * np.sqrt(inverse), 0.0) ** 3)
