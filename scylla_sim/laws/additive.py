"""Laws of several variables whose terms add: y = a1 g1(x1) + a2 g2(x2) + ... + c.

Each g is ln x, ln(x + 1) or x itself. Theorems 1.1 and 1.2 together are one of them
(`scylla_sim.laws.theorems.refit`), and so is SDSL's plane over the perplexities of draft and target.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from scylla_sim.checks import FloatArray, fail, one_of
from scylla_sim.laws.fit import check_points
from scylla_sim.laws.forms import FORMS
from scylla_sim.stats.least_squares import aicc, solve_linear

TERMS = {"log-linear": "ln {}", "log1p": "ln({} + 1)", "linear": "{}"}
"""Forms of one variable that can be a term, and how each is written."""


@dataclass(frozen=True)
class JointFit:
    """A sum of terms fitted to points; ``values`` are a1, a2, ..., c, as ``names`` says."""

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
        """Square roots of the covariance's diagonal."""
        return np.sqrt(np.diag(self.covariance))


def fit_joint(
    columns: Sequence[ArrayLike], y: ArrayLike, terms: Sequence[str], weights: ArrayLike | None = None
) -> JointFit:
    """Fit a sum of terms, one per column, by weighted least squares.

    Parameters
    ----------
    columns
        One array of n points per variable.
    terms
        A name of `TERMS` per column.
    weights
        Inverse variances up to a common factor.

    Raises
    ------
    InputError
        For an unknown term, a column outside its domain, or points that cannot determine the coefficients.

    Examples
    --------
    >>> law = fit_joint([[1, 2, 1, 2], [1, 1, 3, 3]], [1.0, 2.0, 5.1, 6.0], ["linear", "linear"])
    >>> law.formula, law.values.round(2).tolist()
    ('a1 x1 + a2 x2 + c', [0.95, 2.02, -1.95])
    """
    if len(terms) != len(columns):
        raise fail("terms", "+".join(terms), f"must be one per column ({len(columns)})")
    parts = []
    for column, term in zip(columns, terms):
        at, value = check_points(column, y, one_of("term", term, TERMS))
        parts.append(FORMS[term].basis(at)[:, 0])
    solution = solve_linear(np.column_stack([*parts, np.ones(value.size)]), value, weights)
    names = tuple(f"a{i + 1}" for i in range(len(terms)))
    written = (f"{name} {TERMS[term].format(f'x{i + 1}')}" for i, (name, term) in enumerate(zip(names, terms)))
    return JointFit(
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
