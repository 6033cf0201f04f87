"""Weighted linear least squares and the scores that follow from a residual sum of squares."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from scylla_sim.checks import FloatArray, fail, in_range, positive

RELATIVE_FLOOR = 1e-12
"""Smallest residual for AICc, as a fraction of the data's magnitude; smaller residuals are rounding errors."""


@dataclass(frozen=True)
class Solution:
    """A weighted linear least-squares solution.

    Attributes
    ----------
    values, covariance
        Parameters, and their covariance.
    dof
        Degrees of freedom.
    rss
        Weighted residual sum of squares.
    r2
        Coefficient of determination; ``None`` if y does not vary.
    loo_rmse
        Leave-one-out root mean square error; ``None`` if one point alone fixes a parameter.
    """

    values: FloatArray
    covariance: FloatArray
    dof: int
    rss: float
    r2: float | None
    loo_rmse: float | None

    @property
    def variance(self) -> float:
        """Residual variance of a point with weight 1."""
        return self.rss / self.dof


def with_constant(*columns: FloatArray) -> FloatArray:
    """Return the design matrix of some columns and a constant, shape (..., columns + 1).

    Examples
    --------
    >>> with_constant(np.array([2.0, 3.0])).tolist()
    [[2.0, 1.0], [3.0, 1.0]]
    """
    return np.stack([*columns, np.ones_like(columns[0])], axis=-1)


def solve_linear(design: ArrayLike, y: ArrayLike, weights: ArrayLike | None = None) -> Solution:
    """Solve ``y = design @ values`` by weighted linear least squares.

    Parameters
    ----------
    design
        Shape (points, parameters), of full column rank, with more points than parameters.
    weights
        Inverse variances up to a common factor, shape (points,); default equal. Scaled to a mean of 1.

    Returns
    -------
    Solution
        Its leave-one-out error is exact, from the hat matrix.

    Raises
    ------
    InputError
        If the points cannot determine the parameters.

    Examples
    --------
    >>> solution = solve_linear([[0, 1], [1, 1], [2, 1]], [1.0, 3.0, 5.0])
    >>> solution.values.round(6).tolist(), round(solution.r2, 6)
    ([2.0, 1.0], 1.0)
    """
    matrix, target = np.asarray(design, dtype=np.float64), in_range("y", y)
    n, p = matrix.shape
    w = scaled_weights(weights, n)
    if n <= p:
        raise fail("points", n, f"must be more than the {p} parameters")
    scaled = matrix * np.sqrt(w)[:, None]
    norms = np.linalg.norm(scaled, axis=0)
    if (norms == 0).any() or np.linalg.cond(scaled / norms) > 1e8:
        raise fail("x", "the points given", f"must vary enough to determine {p} parameters")
    inverse = np.linalg.inv((scaled / norms).T @ (scaled / norms)) / np.outer(norms, norms)
    values: FloatArray = np.linalg.lstsq(scaled, target * np.sqrt(w), rcond=None)[0].astype(np.float64)
    residual = target - matrix @ values
    leverage = np.einsum("ij,jk,ik->i", scaled, inverse, scaled)
    alone = (leverage > 1 - 1e-9).any()
    rss = float(np.sum(w * residual**2))
    return Solution(
        values=values,
        covariance=inverse * rss / (n - p),
        dof=n - p,
        rss=rss,
        r2=r_squared(target, rss, w),
        loo_rmse=None if alone else float(np.sqrt(np.average((residual / (1 - leverage)) ** 2, weights=w))),
    )


def scaled_weights(weights: ArrayLike | None, n: int) -> FloatArray:
    """Return weights scaled to a mean of 1; the default is equal weights."""
    if weights is None:
        return np.ones(n)
    w = positive("weight", weights)
    if w.shape != (n,):
        raise fail("weights", w.shape, f"must have one value per point ({n})")
    return np.asarray(w / w.mean())


def r_squared(y: FloatArray, rss: float, weights: FloatArray) -> float | None:
    """Return 1 - RSS / TSS about the weighted mean; ``None`` if y does not vary."""
    spread = float(np.sum(weights * (y - np.average(y, weights=weights)) ** 2))
    return 1.0 - rss / spread if spread > 0 else None


def aicc(rss: float, *, n: int, parameters: int, magnitude: float) -> float | None:
    """Return the corrected Akaike criterion of a least-squares fit; smaller is better.

    The criterion is n ln(RSS / n) + 2 k + 2 k (k + 1) / (n - k - 1), where k is ``parameters`` + 1 for the
    variance. It is ``None`` with fewer than k + 2 points. The ``magnitude`` of the data bounds RSS from below, so
    an exact fit has a finite criterion.

    Notes
    -----
    Source: Hurvich and Tsai, Biometrika 76 (1989) 297; terms common to all forms are left out.
    """
    k = parameters + 1
    if n - k - 1 < 1:
        return None
    floor = n * (RELATIVE_FLOOR * magnitude) ** 2
    return n * float(np.log(max(rss, floor, 1e-300) / n)) + 2 * k + 2 * k * (k + 1) / (n - k - 1)
