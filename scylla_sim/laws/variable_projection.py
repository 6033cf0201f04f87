"""Least squares of one law by variable projection: search the shape parameters, solve for the coefficients.

All functions take points x, y and scaled weights w as float64 arrays of shape (n,). Only `refine` imports scipy.
"""

from __future__ import annotations

import numpy as np

from scylla_sim.checks import FloatArray
from scylla_sim.laws.forms import LawForm
from scylla_sim.stats.least_squares import solve_linear


def gradient(form: LawForm, x: FloatArray, values: FloatArray) -> FloatArray:
    """Return the derivatives of a law with respect to its parameters, shape (points, parameters)."""
    shapes = values[form.num_coefficients :]
    columns = [form.basis(x, *shapes)]
    for i in range(form.num_coefficients, len(values)):
        step = 1e-6 * max(abs(values[i]), 1e-6)
        up, down = values.copy(), values.copy()
        up[i] += step
        down[i] -= step
        columns.append(((form(x, *up) - form(x, *down)) / (2 * step))[:, None])
    return np.concatenate(columns, axis=1)


def solve(form: LawForm, x: FloatArray, y: FloatArray, w: FloatArray) -> tuple[FloatArray | None, str]:
    """Return the best parameters, and a reason if they cannot be used."""
    p = len(form.parameters)
    if x.size <= p:
        return None, f"{p} parameters need at least {p + 1} points"
    if np.unique(x).size < p:
        return None, f"{p} parameters need at least {p} different x"
    if form.starts is None:
        return solve_linear(form.basis(x), y, w).values, ""
    return refine(form, x, y, w, _best_start(form, x, y, w))


def _coefficients(form: LawForm, x: FloatArray, y: FloatArray, w: FloatArray, shapes: FloatArray) -> FloatArray:
    """Return the least-squares coefficients for given shapes."""
    design = form.basis(x, *shapes) * np.sqrt(w)[:, None]
    return np.asarray(np.linalg.lstsq(design, y * np.sqrt(w), rcond=1e-12)[0], dtype=np.float64)


def _best_start(form: LawForm, x: FloatArray, y: FloatArray, w: FloatArray) -> FloatArray:
    """Return the shapes of the scan with the smallest residual."""
    assert form.starts is not None
    shapes = form.starts(x)
    designs = np.stack([form.basis(x, *shape) for shape in shapes]) * np.sqrt(w)[:, None]
    target = y * np.sqrt(w)
    residuals = target - np.einsum("sij,sj->si", designs, np.linalg.pinv(designs, rcond=1e-12) @ target)
    return np.array(shapes[int(np.argmin(np.sum(residuals**2, axis=1)))])


def refine(form: LawForm, x: FloatArray, y: FloatArray, w: FloatArray, start: FloatArray) -> tuple[FloatArray, str]:
    """Return the best parameters near the shapes ``start``, and a reason if they cannot be used."""
    from scipy.optimize import least_squares

    assert form.limits is not None
    low, high = np.array(form.limits(x)).T
    # Scales and breaks are positive, so the search uses their logarithms. An exponent may be negative.
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
        return values, f"{name} lies at the end of its range: the points do not determine it"
    return values, ""


def leave_one_out(form: LawForm, x: FloatArray, y: FloatArray, w: FloatArray) -> float | None:
    """Return the root mean square error when each point is left out; ``None`` if the others are too few."""
    if form.starts is None:
        return solve_linear(form.basis(x), y, w).loo_rmse
    errors = np.empty(x.size)
    for i in range(x.size):
        keep = np.arange(x.size) != i
        values, _ = solve(form, x[keep], y[keep], w[keep])
        if values is None:
            return None
        errors[i] = y[i] - form(x[i], *values)
    return float(np.sqrt(np.average(errors**2, weights=w)))
