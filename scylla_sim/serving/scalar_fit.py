"""Fits of the three scalars of an engine on a device to measured closed loops.

All combinations of a grid are evaluated at once, and the one with the smallest mean error of TPOT and TTFT wins. A
grid has no local minima, and the mean absolute error is not moved by a few disturbed runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scylla_sim.checks import FloatArray, fail, whole
from scylla_sim.serving.closed_load import ClosedLoad
from scylla_sim.serving.closed_loop import LoopCosts, closed_loop
from scylla_sim.serving.serving_scalars import UNITS, ServingScalars
from scylla_sim.stats.estimate import Estimate
from scylla_sim.stats.split import column_hash
from scylla_sim.units import MILLI

MIN_FIT_ROWS = 4
"""Smallest number of runs for a fit of three scalars."""
HOST_S = np.linspace(0.0, 3.0 * MILLI, 31)
SLOW = np.linspace(-0.2, 0.8, 21).round(2)
FIRST_TOKEN_S = np.linspace(0.0, 200.0 * MILLI, 41)
"""Values that are tried: host seconds, slower prompts, seconds to the first token."""
RESAMPLES = 200
"""Resamples of the runs from which the interval of a fit is taken."""


@dataclass(frozen=True)
class Measured:
    """Measured runs beside their costs; arrays of shape (runs,).

    Attributes
    ----------
    costs, load
        Parts of the loops, and their load.
    tpot_s, ttft_s
        Measured seconds; NaN where a run has no TTFT to compare with.
    """

    costs: LoopCosts
    load: ClosedLoad
    tpot_s: FloatArray
    ttft_s: FloatArray


def _errors(runs: Measured) -> FloatArray:
    """Return the error of each run at each point of the grid, shape (host, slow, first token, runs).

    It is the absolute error of TPOT, and of TTFT where one is measured.
    """
    found = closed_loop(runs.costs, runs.load, host_s=HOST_S[:, None, None], slow=SLOW[None, :, None])
    tpot = np.abs(found.tpot_s / runs.tpot_s - 1.0)
    ttft = np.abs((found.ttft_s[:, :, None, :] + FIRST_TOKEN_S[:, None]) / runs.ttft_s - 1.0)
    total: FloatArray = tpot[:, :, None, :] + np.nan_to_num(ttft)
    return total


def _best(total: FloatArray) -> tuple[float, float, float]:
    """Return the scalars at the smallest error of a grid, shape (host, slow, first token)."""
    host, slow, first = np.unravel_index(int(np.argmin(total)), total.shape)
    return float(HOST_S[host]), float(SLOW[slow]), float(FIRST_TOKEN_S[first])


def fit(runs: Measured, *, default: ServingScalars, source: str = "fitted to the given runs") -> ServingScalars:
    """Fit the three scalars, each with the 5 to 95 % range over resampled runs.

    Parameters
    ----------
    runs
        Measured runs; at least `MIN_FIT_ROWS`.
    default
        Scalars whose ``first_token_s`` is kept if no run has a TTFT.

    Raises
    ------
    InputError
        If there are too few runs.

    Examples
    --------
    >>> from scylla_sim.serving.closed_load import closed_load
    >>> from scylla_sim.serving.serving_scalars import serving_scalars
    >>> n = np.array([1.0, 2.0, 4.0, 8.0])
    >>> costs = LoopCosts(n, n, *[np.full(4, s) for s in (0.01, 0.01, 0.1, 0.1, 1.0, 0.1, 1.0, 100.0)])
    >>> load = closed_load(n, 1000, 101)
    >>> truth = closed_loop(costs, load, host_s=1e-3, slow=0.2, first_token_s=0.05)
    >>> found = fit(Measured(costs, load, truth.tpot_s, truth.ttft_s), default=serving_scalars("ideal", "h100-sxm"))
    >>> [round(float(one.value), 4) for one in (found.host_s, found.slow, found.first_token_s)]
    [0.001, 0.2, 0.05]
    """
    count = runs.tpot_s.size
    if count < MIN_FIT_ROWS:
        raise fail("rows", count, f"must be at least {MIN_FIT_ROWS} to fit three scalars", "leave out the fit")
    errors = _errors(runs)
    values = np.array(_best(errors.mean(axis=-1)))
    rng = np.random.default_rng(0)
    weights = rng.multinomial(count, np.full(count, 1.0 / count), size=RESAMPLES).T / count
    resampled = errors.reshape(-1, count) @ weights
    points = np.array([_best(column.reshape(errors.shape[:3])) for column in resampled.T])
    lower, upper = (np.quantile(points, share, axis=0) for share in (0.05, 0.95))
    host, slow, first = (
        Estimate.of(value, min(low, value), max(high, value)) for value, low, high in zip(values, lower, upper)
    )
    known = bool(np.isfinite(runs.ttft_s).any())
    return ServingScalars(host, slow, first if known else default.first_token_s, source)


def in_fit_half(tp: ArrayLike, input_len: ArrayLike, output_len: ArrayLike) -> NDArray[np.bool_]:
    """Return which (tp, input, output) groups are used to fit the scalars; the others are held out.

    The choice is a hash of the group, so it does not depend on the file that holds the group.

    Parameters
    ----------
    tp, input_len, output_len
        Whole numbers of at least 1; they broadcast.

    Examples
    --------
    >>> in_fit_half([2, 2, 4], [1024, 8192, 1024], 1024).shape
    (3,)
    """
    groups = (("tp", tp), ("input_len", input_len), ("output_len", output_len))
    code = column_hash([whole(name, value, 1) for name, value in groups])
    half: NDArray[np.bool_] = code % np.uint64(2) == 0
    return half


def combined(scalars: Sequence[ServingScalars], source: str) -> ServingScalars:
    """Return scalars for a further group from those of several groups: medians, and the range over all of them.

    Examples
    --------
    >>> def one(host_s):
    ...     zero = Estimate.of(0.0, 0.0, 0.0)
    ...     return ServingScalars(Estimate.of(host_s, 0.5 * host_s, host_s), zero, zero, "a")
    >>> found = combined([one(1e-3), one(2e-3), one(6e-3)], "three groups").host_s
    >>> float(found.lower), float(found.value), float(found.upper)
    (0.0005, 0.002, 0.006)
    """
    host, slow, first = (
        Estimate.of(
            float(np.median([one.value for one in each])),
            float(min(one.lower for one in each)),
            float(max(one.upper for one in each)),
        )
        for each in ([getattr(one, name) for one in scalars] for name in UNITS)
    )
    return ServingScalars(host, slow, first, source=source)


def medians_of_others(fits: Sequence[ServingScalars], default: ServingScalars, *, source: str) -> ServingScalars:
    """Return scalars for a group from fits to other groups, or the default without any.

    Seconds between client and scheduler are those of the default: they belong to a platform.
    """
    if not fits:
        return default
    found = combined(fits, source)
    return ServingScalars(found.host_s, found.slow, default.first_token_s, source)
