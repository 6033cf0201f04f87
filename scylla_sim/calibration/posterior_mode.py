"""Posterior mode of a kernel model's parameters from measured rows.

Residuals are robust differences of log seconds, plus the prior in the logs of the parameters. All finite
differences of a Jacobian are one call of the formula, because a fit of few rows spends most of its time in calls.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scylla_sim.checks import FloatArray
from scylla_sim.kernels.device_rates import Rates
from scylla_sim.kernels.model import BLOCK, KernelModel, evaluate
from scylla_sim.kernels.operation import FitSettings
from scylla_sim.ops.op import Columns

IDENTIFIED = 0.7
"""Ratio of posterior to prior spread above which a parameter counts as not identified."""


@dataclass(frozen=True)
class PosteriorMode:
    """Posterior mode of the log parameters, their covariance, and minus the log posterior at the mode."""

    theta: FloatArray
    covariance: FloatArray
    cost: float


def _loss(residual: FloatArray, one_sided: NDArray[np.bool_]) -> FloatArray:
    """Return the signed square root of a robust loss, so that least squares minimizes the loss.

    The loss is pseudo-Huber. Where ``one_sided``, rows slower than the model have a Cauchy loss, a smaller penalty.
    """
    square = residual**2
    loss = np.sqrt(1.0 + square) - 1.0
    loss = np.where(one_sided & (residual <= 0.0), np.log1p(0.5 * square), loss)
    return np.asarray(np.sign(residual) * np.sqrt(2.0 * loss))


def _spread(model: KernelModel) -> FloatArray:
    """Return the prior standard deviations of the log parameters."""
    return np.asarray([item.spread for item in model.parameters])


def _seconds_of(model: KernelModel, thetas: FloatArray, columns: Columns, r: Rates) -> FloatArray:
    """Return the seconds of all rows for several sets of log parameters, in few calls of the formula.

    Parameters
    ----------
    thetas
        Log parameters, shape (sets, parameters) or (parameters,).

    Returns
    -------
    ndarray
        Shape (sets, rows) or (rows,).
    """
    if thetas.ndim == 1:
        return evaluate(model, model.with_values(np.exp(thetas).tolist()), columns, r)
    sets, rows = thetas.shape[0], next(iter(columns.values())).size
    values = np.exp(thetas)
    at_once = max(1, BLOCK // rows)
    out = np.empty((sets, rows))
    for start in range(0, sets, at_once):
        part = values[start : start + at_once]
        several = model.with_values(np.repeat(part.T, rows, axis=1))
        tiled = {name: np.tile(columns[name], len(part)) for name in model.columns}
        out[start : start + at_once] = model.seconds(several, tiled, r).reshape(-1, rows)
    return out


def _forward_differences(function: Callable[[FloatArray], FloatArray], at: FloatArray) -> FloatArray:
    """Return the Jacobian of a function that takes several points at once, with the steps of `scipy.optimize`.

    Parameters
    ----------
    function
        Function of points, shape (points, parameters), that returns shape (points, values).
    at
        Point, shape (parameters,).

    Returns
    -------
    ndarray
        Shape (values, parameters).

    Examples
    --------
    >>> squares = lambda points: points**2
    >>> _forward_differences(squares, np.array([1.0, 3.0])).round(6).tolist()
    [[2.0, 0.0], [0.0, 6.0]]
    """
    step = np.where(at >= 0.0, 1.0, -1.0) * np.sqrt(np.finfo(np.float64).eps) * np.maximum(1.0, np.abs(at))
    moved = at + np.diag(step)
    found = function(np.vstack([at, moved]))
    return np.asarray(((found[1:] - found[0]) / (np.diag(moved) - at)[:, None]).T)


def posterior_mode(
    model: KernelModel,
    columns: Columns,
    seconds: FloatArray,
    *,
    r: Rates,
    settings: FitSettings,
    centres: Sequence[FloatArray] | None = None,
) -> PosteriorMode:
    """Return the posterior mode of a kernel model, the best over its prior centres.

    Parameters
    ----------
    centres
        Log parameters at which a prior is centred and a fit starts; default: the starting points of the model.
    """
    from scipy.optimize import least_squares

    spread, scale = _spread(model), settings.residual_scale
    target = np.log(seconds)
    disturbed = columns["m"] <= settings.outlier_rows if settings.outlier_rows else np.zeros(seconds.size, np.bool_)

    def residuals(thetas: FloatArray, prior: FloatArray) -> FloatArray:
        loss = _loss((np.log(_seconds_of(model, thetas, columns, r)) - target) / scale, disturbed)
        return np.concatenate([loss, (thetas - prior) / spread], axis=-1)

    def jacobian(theta: FloatArray, prior: FloatArray) -> FloatArray:
        return _forward_differences(lambda thetas: residuals(thetas, prior), theta)

    solutions = [
        least_squares(residuals, prior, jac=jacobian, x_scale=spread, max_nfev=200, args=(prior,))
        for prior in centres or [np.log(point) for point in model.starting_points()]
    ]
    best = min(solutions, key=lambda solution: float(solution.cost))
    return PosteriorMode(best.x, np.linalg.pinv(best.jac.T @ best.jac), float(best.cost))


def _deviations(mode: PosteriorMode) -> FloatArray:
    """Return the posterior standard deviations of the log parameters."""
    return np.asarray(np.sqrt(np.clip(np.diag(mode.covariance), 0.0, None)))


def identified(model: KernelModel, mode: PosteriorMode) -> NDArray[np.bool_]:
    """Return which parameters the rows of a fit determine."""
    return np.asarray(_deviations(mode) < IDENTIFIED * _spread(model))


def parameter_intervals(model: KernelModel, mode: PosteriorMode) -> dict[str, dict[str, Any]]:
    """Return value, 90 % interval and identification of each parameter."""
    return {
        item.name: {
            "value": float(np.exp(centre)),
            "lower": float(np.exp(centre - 1.645 * sd)),
            "upper": float(np.exp(centre + 1.645 * sd)),
            "identified": bool(known),
        }
        for item, centre, sd, known in zip(model.parameters, mode.theta, _deviations(mode), identified(model, mode))
    }
