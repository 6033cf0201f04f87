"""Laws y(x) that can be fitted, by name.

Every law is a `LawForm`. It is linear in its coefficients once its shape parameters (a rate, a break) are fixed.
Logarithms are natural. x has the unit of the caller's numbers; only ``ln(x + 1)`` depends on this unit.

To add a law, add one entry to `FORMS`. The fits, ``scylla-sim laws`` and its help then include it:

* A law that is linear in its parameters needs ``formula``, ``parameters`` and ``basis``.
* A law with shape parameters also needs ``num_shapes``, ``starts`` and ``limits``.
* A law with the parameters ``("a", "c", ...)``, a slope and a constant, can also be fitted with one offset per
  level of a factor (`scylla_sim.laws.grouped`).
* A law with ``term`` can also be one term of a sum over several columns (`scylla_sim.laws.additive`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scylla_sim.checks import FloatArray
from scylla_sim.stats.least_squares import with_constant


@dataclass(frozen=True)
class LawForm:
    """A law y(x), computed as ``basis(x, *shapes) @ coefficients``.

    Attributes
    ----------
    formula
        Formula of the law, for help texts and tables.
    parameters
        Names of the parameters, coefficients first, then shapes.
    basis
        Function of x, shape (n,), and the shapes. It returns the design matrix, shape (n, coefficients).
    min_x
        Smallest x in the domain of the law.
    min_x_excluded
        Whether the domain leaves out ``min_x`` itself.
    num_shapes
        Number of parameters that enter non-linearly.
    starts
        Function of x that returns the shapes of a first scan; ``None`` for a law without shapes.
    limits
        Function of x that returns the lower and upper limit of each shape. If all limits are positive, the fit
        searches the logarithm of the shape.
    term
        Formula of the slope's function with ``{}`` for x; empty if the law cannot be a term of a sum.

    Examples
    --------
    >>> FORMS["log-linear"]([1.0, np.e], 0.5, 5.0).tolist()
    [5.0, 5.5]
    """

    formula: str
    parameters: tuple[str, ...]
    basis: Callable[..., FloatArray]
    min_x: float = -np.inf
    min_x_excluded: bool = False
    num_shapes: int = 0
    starts: Callable[[FloatArray], list[tuple[float, ...]]] | None = None
    limits: Callable[[FloatArray], list[tuple[float, float]]] | None = None
    term: str = ""

    @property
    def num_coefficients(self) -> int:
        """Number of parameters that enter linearly."""
        return len(self.parameters) - self.num_shapes

    @property
    def has_constant(self) -> bool:
        """Whether the law is a slope times a function of x, plus a constant."""
        return self.parameters[:2] == ("a", "c")

    def excludes(self, x: ArrayLike) -> NDArray[np.bool_]:
        """Return whether each x lies outside the domain of the law.

        Examples
        --------
        >>> FORMS["log-linear"].excludes([0.0, 1.0]).tolist()
        [True, False]
        """
        at = np.asarray(x, dtype=np.float64)
        return np.asarray(at <= self.min_x if self.min_x_excluded else at < self.min_x)

    def __call__(self, x: ArrayLike, *values: float) -> FloatArray:
        """Return the value of the law at x for given parameters."""
        coefficients, shapes = values[: self.num_coefficients], values[self.num_coefficients :]
        x = np.asarray(x, dtype=np.float64)
        return np.asarray(self.basis(x.ravel(), *shapes) @ np.array(coefficients)).reshape(x.shape)


def _span(x: FloatArray) -> tuple[float, float]:
    above = x[x > 0]
    return (float(above.min()), float(above.max())) if above.size else (1.0, 1.0)


def _scales(low: float, high: float, count: int) -> list[tuple[float, ...]]:
    return [(float(s),) for s in np.geomspace(low, high, count)]


def _scale_limits(x: FloatArray) -> list[tuple[float, float]]:
    low, high = _span(x)
    return [(low / 10, high * 10)]


def _break_range(x: FloatArray) -> tuple[float, float]:
    """Return the range of a break: between the first two points, and between the last two, on a log scale.

    A break outside this range would only explain a single point.
    """
    at = np.unique(x)
    return float(np.sqrt(at[0] * at[1])), float(np.sqrt(at[-2] * at[-1]))


def _logistic(x: FloatArray, middle: float, slope: float) -> FloatArray:
    with np.errstate(over="ignore", divide="ignore"):
        return np.asarray(1.0 / (1.0 + np.power(middle / x, slope)))[:, None]


FORMS = {
    "log-linear": LawForm(
        "a ln x + c", ("a", "c"), lambda x: with_constant(np.log(x)), min_x=0.0, min_x_excluded=True, term="ln {}"
    ),
    "log1p": LawForm(
        "a ln(x + 1) + c", ("a", "c"), lambda x: with_constant(np.log1p(x)), min_x=0.0, term="ln({} + 1)"
    ),
    "linear": LawForm("a x + c", ("a", "c"), lambda x: with_constant(x), term="{}"),
    "power": LawForm(
        "a x^b",
        ("a", "b"),
        lambda x, b: np.power(x, b)[:, None],
        min_x=0.0,
        min_x_excluded=True,
        num_shapes=1,
        starts=lambda x: [(float(b),) for b in np.linspace(-2, 2, 41)],
        limits=lambda x: [(-10.0, 10.0)],
    ),
    "saturating-exponential": LawForm(
        "c - a exp(-x / s)",
        ("a", "c", "s"),
        lambda x, s: with_constant(-np.exp(-x / s)),
        min_x=0.0,
        num_shapes=1,
        starts=lambda x: _scales(_span(x)[0] / 5, _span(x)[1] * 5, 40),
        limits=_scale_limits,
    ),
    "logistic": LawForm(
        "a / (1 + (m / x)^w)",
        ("a", "m", "w"),
        _logistic,
        min_x=0.0,
        min_x_excluded=True,
        num_shapes=2,
        starts=lambda x: [
            (float(m), float(w))
            for m in np.geomspace(_span(x)[0] / 1e6, _span(x)[1] * 10, 25)
            for w in np.geomspace(0.02, 10, 15)
        ],
        limits=lambda x: [(_span(x)[0] / 1e9, _span(x)[1] * 1e3), (1e-3, 100.0)],
    ),
    "broken": LawForm(
        "a ln min(x, x_b) + c",
        ("a", "c", "x_b"),
        lambda x, x_b: with_constant(np.log(np.minimum(x, x_b))),
        min_x=0.0,
        min_x_excluded=True,
        num_shapes=1,
        starts=lambda x: _scales(*_break_range(x), 80),
        limits=lambda x: [_break_range(x)],
    ),
}
"""Laws of a column x, by name. Add a new law here."""

PERPLEXITY_FORMS = {
    "sdsl": LawForm(
        "a P + c, P the draft's perplexity", ("a", "c"), FORMS["linear"].basis, min_x=0.0, min_x_excluded=True
    ),
    "sdsl-loss": LawForm(
        "a ln P + c, P the draft's perplexity",
        ("a", "c"),
        FORMS["log-linear"].basis,
        min_x=0.0,
        min_x_excluded=True,
    ),
}
"""Laws of the draft's perplexity, after SDSL (`scylla_sim.laws.sdsl`)."""

ALL_FORMS = FORMS | PERPLEXITY_FORMS
"""All laws by name."""
