"""Laws of several variables whose terms add: ``y = a1 g1(x1) + a2 g2(x2) + ... + c``.

Each g is ln x, ln(x + 1) or x. Theorems 1.1 and 1.2 together are such a law
(`scylla_sim.laws.theorems.joint_fit`). SDSL's plane over the perplexities of draft and target is another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from scylla_sim.checks import FloatArray, fail, one_of
from scylla_sim.laws.fit import check_points
from scylla_sim.laws.forms import FORMS
from scylla_sim.stats.least_squares import aicc, solve_linear, with_constant

TERMS = {name: form.term for name, form in FORMS.items() if form.term}
"""Laws that can be a term of a sum, with the formula of the term."""


@dataclass(frozen=True)
class AdditiveFit:
    """A sum of terms fitted to points.

    Attributes
    ----------
    form
        Names of the terms, joined by ``+``.
    formula
        Formula of the sum.
    n
        Number of points.
    names
        Names of the coefficients: a1, a2, ..., c.
    values, covariance
        Coefficients, shape (k,), and their covariance, shape (k, k).
    dof
        Degrees of freedom of the residuals.
    r2, aicc, loo_rmse
        Coefficient of determination, corrected Akaike criterion, and root mean square error when each point is left
        out in turn. ``None`` where the points do not define them.
    """

    form: str
    formula: str
    n: int
    names: tuple[str, ...]
    values: FloatArray
    covariance: FloatArray
    dof: int
    r2: float | None
    aicc: float | None
    loo_rmse: float | None

    @property
    def standard_errors(self) -> FloatArray:
        """Standard errors of the coefficients."""
        return np.sqrt(np.diag(self.covariance))


def fit_additive(
    columns: Sequence[ArrayLike], y: ArrayLike, terms: Sequence[str], weights: ArrayLike | None = None
) -> AdditiveFit:
    """Fit a sum of terms, one per column, by weighted least squares.

    Parameters
    ----------
    columns
        One array of shape (n,) per variable.
    y
        Values to explain, shape (n,).
    terms
        One name of `TERMS` per column.
    weights
        Inverse variances of ``y`` up to a common factor, shape (n,); equal if not given.

    Raises
    ------
    InputError
        For an unknown term, an x outside the domain of its term, or too few points for the coefficients.

    Examples
    --------
    >>> law = fit_additive([[1, 2, 1, 2], [1, 1, 3, 3]], [1.0, 2.0, 5.1, 6.0], ["linear", "linear"])
    >>> law.formula, law.values.round(2).tolist()
    ('a1 x1 + a2 x2 + c', [0.95, 2.02, -1.95])
    """
    if len(terms) != len(columns):
        raise fail("terms", "+".join(terms), f"must be one term per column ({len(columns)})")
    parts = []
    for column, term in zip(columns, terms):
        at, value = check_points(column, y, one_of("term", term, TERMS))
        parts.append(FORMS[term].basis(at)[:, 0])
    solution = solve_linear(with_constant(*parts), value, weights)
    names = tuple(f"a{i + 1}" for i in range(len(terms)))
    written = (f"{name} {TERMS[term].format(f'x{i + 1}')}" for i, (name, term) in enumerate(zip(names, terms)))
    return AdditiveFit(
        form="+".join(terms),
        formula=" + ".join([*written, "c"]),
        n=value.size,
        names=(*names, "c"),
        values=solution.values,
        covariance=solution.covariance,
        dof=solution.dof,
        r2=solution.r2,
        aicc=aicc(solution.rss, n=value.size, parameters=len(names) + 1, magnitude=float(np.abs(value).max())),
        loo_rmse=solution.loo_rmse,
    )
