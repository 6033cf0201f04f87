"""Laws with a common slope and one offset per level of each factor, such as the task or the temperature.

A single published series has three or four points, too few to compare laws. Several series together allow the
comparison if the slope is the same in all of them. `GroupedFit.separate_aicc` tests this assumption.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from scylla_sim.checks import FloatArray, InputError, fail, one_of
from scylla_sim.laws.fit import check_points
from scylla_sim.laws.forms import ALL_FORMS, FORMS, PERPLEXITY_FORMS, LawForm
from scylla_sim.stats.least_squares import Solution, aicc, solve_linear

OFFSET_FORMS = tuple(name for name, form in FORMS.items() if form.has_constant)
"""Laws of x with a constant, to which a factor can add an offset. The laws of perplexity also have one."""


@dataclass(frozen=True)
class GroupedFit:
    """A law fitted with a common slope and offsets.

    Attributes
    ----------
    form
        Name of the law.
    n
        Number of points.
    names
        Names of the parameters: slope ``a``, constant ``c``, one ``factor=level`` per further level, and the shape
        of the law. ``c`` belongs to the first level of every factor; an offset is the difference to that level.
    values, covariance
        Parameters in the order of ``names``, shape (p,), and their covariance, shape (p, p).
    dof
        Degrees of freedom of the residuals.
    r2, aicc, loo_rmse
        Coefficient of determination, corrected Akaike criterion, and root mean square error when each point is left
        out in turn. ``None`` where the points do not define them.
    r2_within
        Share of the variation within levels that the slope explains.
    separate_aicc
        AICc of the law with one slope per level of the first factor. A value below ``aicc`` means that the slopes
        differ. ``None`` if the points do not allow separate slopes.
    slopes
        Value and standard error of these slopes by level; empty without ``separate_aicc``.
    separate_dof
        Degrees of freedom of the fit with separate slopes.
    converged
        Whether the parameters can be used.
    message
        Reason why the parameters cannot be used.
    """

    form: str
    n: int
    names: tuple[str, ...]
    values: FloatArray
    covariance: FloatArray
    dof: int
    r2: float | None
    r2_within: float | None
    aicc: float | None
    separate_aicc: float | None
    slopes: Mapping[str, tuple[float, float]]
    separate_dof: int
    loo_rmse: float | None
    converged: bool
    message: str = ""

    @property
    def standard_errors(self) -> FloatArray:
        """Standard errors of the parameters."""
        return np.sqrt(np.diag(self.covariance))


def _indicators(factors: Mapping[str, Sequence[str]], n: int) -> tuple[list[str], FloatArray]:
    """Return the names and 0/1 columns of the levels of each factor, except its first level."""
    names: list[str] = []
    columns: list[FloatArray] = []
    for factor, levels in factors.items():
        if len(levels) != n:
            raise fail(factor, len(levels), f"must have one level per point ({n})")
        known = list(dict.fromkeys(levels))
        names += [f"{factor}={level}" for level in known[1:]]
        columns += [np.array([float(own == level) for own in levels]) for level in known[1:]]
    return names, np.array(columns).reshape(len(columns), n).T


def _slope_column(form: LawForm, x: FloatArray, shapes: Sequence[float]) -> FloatArray:
    return form.basis(x, *shapes)[:, :1]


def fit_grouped(x: ArrayLike, y: ArrayLike, form: str, factors: Mapping[str, Sequence[str]]) -> GroupedFit:
    """Fit a law with a common slope and one offset per level of each factor.

    Parameters
    ----------
    x, y
        Points, shape (n,).
    form
        Name of the law, one of `OFFSET_FORMS` or of `scylla_sim.laws.forms.PERPLEXITY_FORMS`.
    factors
        For each factor, the level (a text) of every point; at least one factor.

    Raises
    ------
    InputError
        For a law without a constant, for levels that do not match the points, or for points that do not determine
        the parameters.

    Examples
    --------
    >>> law = fit_grouped([1, 2, 4, 1, 2, 4], [1, 2, 3, 5, 6, 7.1], "log-linear", {"task": list("aaabbb")})
    >>> dict(zip(law.names, law.values.round(2).tolist()))
    {'a': 1.48, 'c': 0.97, 'task=b': 4.03}
    """
    one_of("form", form, (*OFFSET_FORMS, *PERPLEXITY_FORMS), hint="a factor needs a law with a constant")
    if not factors:
        raise fail("factors", "", "must name at least one factor")
    at, value = check_points(x, y, form)
    law = ALL_FORMS[form]
    names, offsets = _indicators(factors, at.size)
    shapes = _best_shapes(law, at, value, offsets)
    solution = _solve(law, at, value, offsets, shapes)
    gradient = _gradient(law, at, offsets, shapes, float(solution.values[0]))
    covariance = np.linalg.pinv(gradient.T @ gradient)
    # The linear solution does not count the shape as a parameter.
    dof = at.size - gradient.shape[1]
    if dof < 1:
        raise fail("points", at.size, f"must be more than the {gradient.shape[1]} parameters")
    magnitude = float(np.abs(value).max())
    edge = _at_edge(law, at, shapes)
    own = _separate(law, at, value, factors, offsets, shapes)
    return GroupedFit(
        form=form,
        n=at.size,
        names=("a", "c", *names, *law.parameters[2:]),
        values=np.concatenate([solution.values[:1], solution.values[-1:], solution.values[1:-1], shapes]),
        covariance=np.asarray(covariance * solution.rss / dof, dtype=np.float64),
        dof=dof,
        r2=solution.r2,
        r2_within=_within(solution.rss, value, offsets),
        aicc=aicc(solution.rss, n=at.size, parameters=gradient.shape[1], magnitude=magnitude),
        separate_aicc=own.aicc,
        slopes=own.slopes,
        separate_dof=own.dof,
        loo_rmse=solution.loo_rmse if not len(shapes) else None,
        converged=not edge,
        message=f"{law.parameters[2]} lies at the end of its range: the points do not determine it" if edge else "",
    )


def _design(form: LawForm, x: FloatArray, offsets: FloatArray, shapes: Sequence[float]) -> FloatArray:
    return np.column_stack([_slope_column(form, x, shapes), offsets, np.ones(x.size)])


def _solve(form: LawForm, x: FloatArray, y: FloatArray, offsets: FloatArray, shapes: Sequence[float]) -> Solution:
    return solve_linear(_design(form, x, offsets, shapes), y)


def _best_shapes(form: LawForm, x: FloatArray, y: FloatArray, offsets: FloatArray) -> tuple[float, ...]:
    """Return the shape with the smallest residual, from a scan that narrows three times."""
    if form.starts is None or form.limits is None:
        return ()
    scan = np.array([shape[0] for shape in form.starts(x)])
    low, high = form.limits(x)[0]
    for _ in range(4):
        residuals = []
        for shape in scan:
            design = _design(form, x, offsets, (float(shape),))
            fitted = design @ np.linalg.lstsq(design, y, rcond=1e-12)[0]
            residuals.append(float(np.sum((y - fitted) ** 2)))
        best = int(np.argmin(residuals))
        around = scan[max(best - 1, 0)], scan[min(best + 1, scan.size - 1)]
        chosen = float(scan[best])
        scan = np.geomspace(max(around[0], low), min(around[1], high), 31)
    return (chosen,)


def _at_edge(form: LawForm, x: FloatArray, shapes: Sequence[float]) -> bool:
    if not shapes or form.starts is None:
        return False
    scanned = [shape[0] for shape in form.starts(x)]
    return bool(shapes[0] <= min(scanned) * 1.001 or shapes[0] >= max(scanned) * 0.999)


def _gradient(
    form: LawForm, x: FloatArray, offsets: FloatArray, shapes: Sequence[float], slope: float
) -> FloatArray:
    """Return the derivatives with respect to the parameters, in the order of `GroupedFit.names`."""
    columns = [_slope_column(form, x, shapes), np.ones((x.size, 1)), offsets]
    for shape in shapes:
        step = 1e-5 * shape
        rise = _slope_column(form, x, (shape + step,)) - _slope_column(form, x, (shape - step,))
        columns.append(slope * rise / (2 * step))
    return np.column_stack(columns)


def _within(rss: float, y: FloatArray, offsets: FloatArray) -> float | None:
    """Return the share of the variation about the means of the levels that the slope explains."""
    means = np.column_stack([offsets, np.ones(y.size)])
    left = float(np.sum((y - means @ np.linalg.lstsq(means, y, rcond=None)[0]) ** 2))
    return 1.0 - rss / left if left > 0 else None


@dataclass(frozen=True)
class _Separate:
    """A fit with one slope per level of the first factor."""

    aicc: float | None
    slopes: Mapping[str, tuple[float, float]]
    dof: int


def _separate(
    form: LawForm,
    x: FloatArray,
    y: FloatArray,
    factors: Mapping[str, Sequence[str]],
    offsets: FloatArray,
    shapes: Sequence[float],
) -> _Separate:
    """Fit one slope per level of the first factor, with the shapes of the common fit."""
    first = list(next(iter(factors.values())))
    levels = list(dict.fromkeys(first))
    slope = _slope_column(form, x, shapes)[:, 0]
    slopes = [slope * np.array([own == level for own in first]) for level in levels]
    design = np.column_stack([*slopes, offsets, np.ones(x.size)])
    try:
        found = solve_linear(design, y)
    except InputError:
        return _Separate(None, {}, 0)
    count = design.shape[1] + len(shapes)
    score = aicc(found.rss, n=x.size, parameters=count, magnitude=float(np.abs(y).max()))
    if score is None:
        return _Separate(None, {}, 0)
    errors = np.sqrt(np.diag(found.covariance))
    pairs = zip(levels, found.values.tolist(), errors.tolist())
    return _Separate(score, {level: (value, error) for level, value, error in pairs}, x.size - count)
