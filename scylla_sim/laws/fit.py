"""Least squares of named one-variable laws, with the uncertainty that the points allow.

Every form is linear in its coefficients once its shape parameters (a rate, a break) are fixed. So only the shapes
are searched, with the coefficients solved exactly at each (variable projection): a scan gives the start, scipy
refines it. scipy is imported by the forms that need it, never by importing this module.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from scylla_sim.checks import FloatArray, fail, in_range, one_of, whole
from scylla_sim.laws.forms import ALL_FORMS, LawForm
from scylla_sim.stats.least_squares import aicc, r_squared, scaled_weights, solve_linear
from scylla_sim.stats.quantiles import student_quantile


@dataclass(frozen=True)
class Fit:
    """A form fitted to points. Where ``converged`` is false the parameters must not be used; ``message`` says why.

    ``covariance`` is of the parameters in the form's order. ``aicc``, ``loo_rmse`` and ``r2`` are ``None`` where
    the points do not define them, and ``message`` says so.
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
        """Square roots of the covariance's diagonal."""
        return np.sqrt(np.diag(self.covariance))

    def intervals(self, level: float = 0.9) -> tuple[FloatArray, FloatArray]:
        """Lower and upper ends of the parameters' Student-t intervals."""
        half = student_quantile(level, self.dof) * self.standard_errors
        return self.values - half, self.values + half

    def predict(
        self, x: ArrayLike, *, level: float = 0.9, new_point: bool = False
    ) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Value and interval at x: of the law itself, or of one new measurement of weight 1 (``new_point``).

        Notes
        -----
        By linear propagation of the covariance, exact for forms without shape parameters.
        """
        at = np.asarray(x, dtype=np.float64)
        gradient = _gradient(ALL_FORMS[self.form], at.ravel(), self.values)
        variance = np.einsum("ij,jk,ik->i", gradient, self.covariance, gradient)
        if new_point:
            variance = variance + self.rss / self.dof
        half = student_quantile(level, self.dof) * np.sqrt(np.maximum(variance, 0)).reshape(at.shape)
        value = ALL_FORMS[self.form](at, *self.values)
        return value, value - half, value + half

    def extrapolates(self, x: ArrayLike) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
        """Whether x lies outside the range of the points fitted."""
        at = np.asarray(x, dtype=np.float64)
        return np.asarray((at < self.x_min) | (at > self.x_max))


def _gradient(form: LawForm, x: FloatArray, values: FloatArray) -> FloatArray:
    """Derivatives of the form by its parameters, shape (points, parameters)."""
    shapes = values[form.num_coefficients :]
    columns = [form.basis(x, *shapes)]
    for i in range(form.num_coefficients, len(values)):
        step = 1e-6 * max(abs(values[i]), 1e-6)
        up, down = values.copy(), values.copy()
        up[i] += step
        down[i] -= step
        columns.append(((form(x, *up) - form(x, *down)) / (2 * step))[:, None])
    return np.concatenate(columns, axis=1)


def check_points(x: ArrayLike, y: ArrayLike, form: str) -> tuple[FloatArray, FloatArray]:
    """Points as float64, refused where the form is not defined."""
    law = ALL_FORMS[one_of("form", form, ALL_FORMS)]
    hint = f"{form} is {law.formula}"
    at = in_range("x", x, law.lowest, above=law.open_end, hint=hint).ravel()
    value = in_range("y", y).ravel()
    if at.size != value.size:
        raise fail("y", value.size, f"must have as many values as x ({at.size})")
    return at, value


def fit(x: ArrayLike, y: ArrayLike, form: str, weights: ArrayLike | None = None) -> Fit:
    """Fit one named form (`ALL_FORMS`) by weighted least squares.

    Parameters
    ----------
    x, y
        Points, shape (n,).
    weights
        Inverse variances up to a common factor.

    Returns
    -------
    Fit
        ``converged`` false, never an exception, when the points cannot determine the form.

    Raises
    ------
    InputError
        For an unknown form, for points that are not finite or outside the form's domain.

    Examples
    --------
    >>> law = fit([1, 2, 4, 8], [1.0, 1.7, 2.4, 3.1], "log-linear")
    >>> law.values.round(3).tolist()
    [1.01, 1.0]
    """
    at, value = check_points(x, y, form)
    law, w = ALL_FORMS[form], scaled_weights(weights, at.size)
    values, problem = _estimate(law, at, value, w)
    n, p = at.size, len(law.parameters)
    if values is None:
        return _unfitted(form, at, problem)
    rss = float(np.sum(w * (value - law(at, *values)) ** 2))
    gradient = _gradient(law, at, values) * np.sqrt(w)[:, None]
    norms = np.maximum(np.linalg.norm(gradient, axis=0), 1e-150)
    curvature = (gradient / norms).T @ (gradient / norms)
    singular = bool(np.linalg.cond(curvature) > 1e14)
    inverse = np.linalg.pinv(curvature) if singular else np.linalg.inv(curvature)
    score = aicc(rss, n=n, parameters=p, magnitude=float(np.abs(value).max()))
    messages = [problem] if problem else []
    if singular and not problem:
        messages.append("the points do not determine its parameters separately")
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
        loo_rmse=_leave_one_out(law, at, value, w),
        x_min=float(at.min()),
        x_max=float(at.max()),
        converged=not problem and not singular,
        message="; ".join(messages),
    )


def _unfitted(form: str, x: FloatArray, problem: str) -> Fit:
    """What is returned where nothing could be fitted: not a number anywhere, and the reason."""
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


def _estimate(form: LawForm, x: FloatArray, y: FloatArray, w: FloatArray) -> tuple[FloatArray | None, str]:
    """Best parameters and, when they must not be used, why."""
    p = len(form.parameters)
    if x.size <= p:
        return None, f"{p} parameters need at least {p + 1} points"
    if np.unique(x).size < p:
        return None, f"{p} parameters need at least {p} different x"
    if form.starts is None:
        return solve_linear(form.basis(x), y, w).values, ""
    return _refine(form, x, y, w, _best_start(form, x, y, w))


def _coefficients(form: LawForm, x: FloatArray, y: FloatArray, w: FloatArray, shapes: FloatArray) -> FloatArray:
    """The coefficients that are best for given shapes."""
    design = form.basis(x, *shapes) * np.sqrt(w)[:, None]
    return np.asarray(np.linalg.lstsq(design, y * np.sqrt(w), rcond=1e-12)[0], dtype=np.float64)


def _best_start(form: LawForm, x: FloatArray, y: FloatArray, w: FloatArray) -> FloatArray:
    """The scanned shapes of least residual."""
    assert form.starts is not None
    shapes = form.starts(x)
    designs = np.stack([form.basis(x, *shape) for shape in shapes]) * np.sqrt(w)[:, None]
    target = y * np.sqrt(w)
    residuals = target - np.einsum("sij,sj->si", designs, np.linalg.pinv(designs, rcond=1e-12) @ target)
    return np.array(shapes[int(np.argmin(np.sum(residuals**2, axis=1)))])


def _refine(
    form: LawForm, x: FloatArray, y: FloatArray, w: FloatArray, start: FloatArray
) -> tuple[FloatArray, str]:
    """Parameters of least residual near the shapes ``start`` and, when they must not be used, why."""
    from scipy.optimize import least_squares

    assert form.limits is not None
    low, high = np.array(form.limits(x)).T
    # A scale or a break is searched by its logarithm; an exponent may be negative and is searched as it is.
    inward, outward = (np.log, np.exp) if (low > 0).all() else (np.asarray, np.asarray)

    def residuals(searched: FloatArray) -> FloatArray:
        shapes = outward(searched)
        return (form(x, *_coefficients(form, x, y, w, shapes), *shapes) - y) * np.sqrt(w)

    first, last = inward(low), inward(high)
    begin = np.clip(inward(start), first + 1e-9 * (last - first), last - 1e-9 * (last - first))
    found = least_squares(residuals, begin, bounds=(first, last), max_nfev=200, xtol=1e-10, ftol=1e-12)
    shapes = outward(found.x)
    values = np.concatenate([_coefficients(form, x, y, w, shapes), shapes])
    edge = np.minimum(found.x - first, last - found.x) < 1e-4 * (last - first)
    if found.status < 1:
        return values, f"no convergence after {found.nfev} evaluations"
    if edge.any():
        name = form.parameters[form.num_coefficients + int(np.argmax(edge))]
        return values, f"{name} lies at the end of its range: the points do not show this shape"
    return values, ""


def _leave_one_out(form: LawForm, x: FloatArray, y: FloatArray, w: FloatArray) -> float | None:
    """Root mean square error of each point predicted from the others; ``None`` if one cannot be left out."""
    if form.starts is None:
        return solve_linear(form.basis(x), y, w).loo_rmse
    errors = np.empty(x.size)
    for i in range(x.size):
        keep = np.arange(x.size) != i
        values, _ = _estimate(form, x[keep], y[keep], w[keep])
        if values is None:
            return None
        errors[i] = y[i] - form(x[i], *values)
    return float(np.sqrt(np.average(errors**2, weights=w)))


def compare(x: ArrayLike, y: ArrayLike, forms: list[str], weights: ArrayLike | None = None) -> list[Fit]:
    """Fit several forms to the same points, best AICc first; those without one follow.

    Examples
    --------
    >>> fits = compare([1, 2, 4, 8, 16, 32], [0, 1, 2, 3, 4, 5.1], ["linear", "log-linear"])
    >>> [law.form for law in fits]
    ['log-linear', 'linear']
    """
    return in_order([fit(x, y, form, weights) for form in forms])


def in_order(fits: list[Fit]) -> list[Fit]:
    """Best AICc first; those without one follow, those that must not be used come last."""
    return sorted(fits, key=lambda law: (not law.converged, law.aicc is None, law.aicc or 0.0))


def bootstrap(
    x: ArrayLike, y: ArrayLike, law: Fit, *, samples: int, seed: int, weights: ArrayLike | None = None
) -> FloatArray:
    """Parameters refitted to resampled residuals, shape (successful samples, parameters).

    Residuals are studentised by sqrt(n / dof) and resampled with replacement; x stays as it is, for the few points
    of a scaling law do not survive resampling in pairs.

    Notes
    -----
    Source: Davison and Hinkley, "Bootstrap Methods and their Application" (1997), section 6.2.3 and 7.3.

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
    refits = [_refine(form, at, sample, w, law.values[form.num_coefficients :]) for sample in drawn]
    return np.array([values for values, problem in refits if not problem]).reshape(-1, len(law.values))
