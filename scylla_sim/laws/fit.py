"""Least-squares fits of one-variable laws, with the uncertainty of the parameters.

`scylla_sim.laws.variable_projection` finds the parameters. This module adds their covariance, the scores that
compare laws, and the bootstrap. `scylla_sim.laws.forms` lists the laws.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from scylla_sim.checks import FloatArray, fail, in_range, one_of, whole
from scylla_sim.laws.forms import ALL_FORMS
from scylla_sim.laws.variable_projection import gradient, leave_one_out, refine, solve
from scylla_sim.stats.estimate import Estimate
from scylla_sim.stats.least_squares import aicc, r_squared, scaled_weights
from scylla_sim.stats.quantiles import student_quantile


@dataclass(frozen=True)
class Fit:
    """A law fitted to points.

    Attributes
    ----------
    form
        Name of the law in `scylla_sim.laws.forms.ALL_FORMS`.
    n
        Number of points.
    values, covariance
        Parameters in the order of the law, shape (p,), and their covariance, shape (p, p).
    dof
        Degrees of freedom of the residuals.
    rss
        Weighted sum of squared residuals.
    r2, aicc, loo_rmse
        Coefficient of determination, corrected Akaike criterion, and root mean square error when each point is left
        out in turn. ``None`` where the points do not define them.
    x_min, x_max
        Range of the fitted points.
    converged
        Whether the parameters can be used.
    message
        Reason why the parameters cannot be used, or why a score is ``None``.
    """

    form: str
    n: int
    values: FloatArray
    covariance: FloatArray
    dof: int
    rss: float
    r2: float | None
    aicc: float | None
    loo_rmse: float | None
    x_min: float
    x_max: float
    converged: bool
    message: str = ""

    @property
    def standard_errors(self) -> FloatArray:
        """Standard errors of the parameters."""
        return np.sqrt(np.diag(self.covariance))

    def intervals(self, level: float = 0.9) -> Estimate:
        """Return the parameters with their Student-t intervals."""
        half = student_quantile(level, self.dof) * self.standard_errors
        return Estimate(self.values, self.values - half, self.values + half)

    def predict(self, x: ArrayLike, *, level: float = 0.9, new_point: bool = False) -> Estimate:
        """Return the value of the law at x with its interval.

        Parameters
        ----------
        x
            Points of any shape.
        level
            Coverage of the interval.
        new_point
            Whether the interval is that of a new measurement of weight 1 instead of the law itself.

        Notes
        -----
        The interval propagates the covariance linearly. This is exact for laws without shape parameters.
        """
        at = np.asarray(x, dtype=np.float64)
        slopes = gradient(ALL_FORMS[self.form], at.ravel(), self.values)
        variance = np.einsum("ij,jk,ik->i", slopes, self.covariance, slopes)
        if new_point:
            variance = variance + self.rss / self.dof
        half = student_quantile(level, self.dof) * np.sqrt(np.maximum(variance, 0)).reshape(at.shape)
        value = ALL_FORMS[self.form](at, *self.values)
        return Estimate(value, value - half, value + half)

    def extrapolates(self, x: ArrayLike) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        """Return whether each x lies outside the range of the fitted points."""
        at = np.asarray(x, dtype=np.float64)
        return np.asarray((at < self.x_min) | (at > self.x_max))


def check_points(x: ArrayLike, y: ArrayLike, form: str) -> tuple[FloatArray, FloatArray]:
    """Return points as one-dimensional float64 arrays.

    Raises
    ------
    InputError
        For an unknown law, for points outside its domain, or for arrays of different sizes.
    """
    law = ALL_FORMS[one_of("form", form, ALL_FORMS)]
    hint = f"{form} is {law.formula}"
    at = in_range("x", x, law.min_x, above=law.min_x_excluded, hint=hint).ravel()
    value = in_range("y", y).ravel()
    if at.size != value.size:
        raise fail("y", value.size, f"must have as many values as x ({at.size})")
    return at, value


def fit(x: ArrayLike, y: ArrayLike, form: str, weights: ArrayLike | None = None, *, leave_out: bool = True) -> Fit:
    """Fit one law by weighted least squares.

    Parameters
    ----------
    x, y
        Points, shape (n,).
    form
        Name of the law, one of `scylla_sim.laws.forms.ALL_FORMS`.
    weights
        Inverse variances of ``y`` up to a common factor, shape (n,); equal if not given.
    leave_out
        Whether to compute ``loo_rmse``, which takes one more fit per point for laws with shape parameters.

    Returns
    -------
    Fit
        The fit. ``converged`` is false if the points do not determine the law.

    Raises
    ------
    InputError
        For an unknown law, or for points that are not finite or lie outside its domain.

    Examples
    --------
    >>> law = fit([1, 2, 4, 8], [1.0, 1.7, 2.4, 3.1], "log-linear")
    >>> law.values.round(3).tolist()
    [1.01, 1.0]
    """
    at, value = check_points(x, y, form)
    law, w = ALL_FORMS[form], scaled_weights(weights, at.size)
    values, problem = solve(law, at, value, w)
    n, p = at.size, len(law.parameters)
    if values is None:
        return _unfitted(form, at, problem)
    rss = float(np.sum(w * (value - law(at, *values)) ** 2))
    slopes = gradient(law, at, values) * np.sqrt(w)[:, None]
    norms = np.maximum(np.linalg.norm(slopes, axis=0), 1e-150)
    curvature = (slopes / norms).T @ (slopes / norms)
    singular = bool(np.linalg.cond(curvature) > 1e14)
    inverse = np.linalg.pinv(curvature) if singular else np.linalg.inv(curvature)
    score = aicc(rss, n=n, parameters=p, magnitude=float(np.abs(value).max()))
    messages = [problem] if problem else []
    if singular and not problem:
        messages.append("the points do not determine the parameters separately")
    if score is None:
        messages.append(f"AICc needs {p + 3} points")
    return Fit(
        form=form,
        n=n,
        values=values,
        covariance=inverse / np.outer(norms, norms) * rss / (n - p),
        dof=n - p,
        rss=rss,
        r2=r_squared(value, rss, w),
        aicc=score,
        loo_rmse=leave_one_out(law, at, value, w) if leave_out else None,
        x_min=float(at.min()),
        x_max=float(at.max()),
        converged=not problem and not singular,
        message="; ".join(messages),
    )


def _unfitted(form: str, x: FloatArray, problem: str) -> Fit:
    """Return the fit of a law that could not be fitted: NaN parameters and the reason."""
    p = len(ALL_FORMS[form].parameters)
    low, high = (float(x.min()), float(x.max())) if x.size else (np.nan, np.nan)
    return Fit(
        form=form,
        n=x.size,
        values=np.full(p, np.nan),
        covariance=np.full((p, p), np.nan),
        dof=x.size - p,
        rss=np.nan,
        r2=None,
        aicc=None,
        loo_rmse=None,
        x_min=low,
        x_max=high,
        converged=False,
        message=problem,
    )


def sorted_by_aicc(fits: list[Fit]) -> list[Fit]:
    """Sort fits: the lowest AICc first, then fits without AICc, then fits that did not converge.

    Examples
    --------
    >>> x, y = [1, 2, 4, 8, 16, 32], [0, 1, 2, 3, 4, 5.1]
    >>> [law.form for law in sorted_by_aicc([fit(x, y, form) for form in ("linear", "log-linear")])]
    ['log-linear', 'linear']
    """
    return sorted(fits, key=lambda law: (not law.converged, law.aicc is None, law.aicc or 0.0))


def bootstrap(
    x: ArrayLike, y: ArrayLike, law: Fit, *, samples: int, seed: int, weights: ArrayLike | None = None
) -> FloatArray:
    """Refit a law to resampled residuals.

    Residuals are scaled by sqrt(n / dof) and drawn with replacement. The x of the points stay fixed, because a
    resample of a few (x, y) pairs often leaves too few different x.

    Parameters
    ----------
    x, y, weights
        The points of ``law``, shape (n,).
    law
        The fit whose residuals are resampled.
    samples
        Number of resamples.
    seed
        Seed of the random generator.

    Returns
    -------
    ndarray
        Parameters, shape (converged samples, parameters).

    Notes
    -----
    Source: Davison and Hinkley, "Bootstrap Methods and their Application" (1997), sections 6.2.3 and 7.3.

    Examples
    --------
    >>> x, y = [1, 2, 4, 8], [1.0, 1.7, 2.4, 3.2]
    >>> bootstrap(x, y, fit(x, y, "log-linear"), samples=100, seed=1).shape
    (100, 2)
    """
    at, value = check_points(x, y, law.form)
    form, w = ALL_FORMS[law.form], scaled_weights(weights, at.size)
    mean = form(at, *law.values)
    residual = (value - mean) * np.sqrt(w)
    residual = (residual - residual.mean()) * np.sqrt(law.n / law.dof)
    rng = np.random.default_rng(int(whole("seed", seed, 0)))
    picks = rng.integers(0, law.n, size=(int(whole("samples", samples, 1)), law.n))
    drawn = mean + residual[picks] / np.sqrt(w)
    if form.starts is None:
        solver = np.linalg.pinv(form.basis(at) * np.sqrt(w)[:, None])
        return np.asarray((drawn * np.sqrt(w)) @ solver.T)
    refits = [refine(form, at, sample, w, law.values[form.num_coefficients :]) for sample in drawn]
    return np.array([values for values, problem in refits if not problem]).reshape(-1, len(law.values))
