"""The laws that can be fitted: linear in their coefficients once their shape parameters are fixed.

Logarithms are natural. x counts whatever unit the caller's numbers have; only ln(x + 1) knows what one unit is.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from scylla_sim.checks import FloatArray


@dataclass(frozen=True)
class LawForm:
    """A law y(x): ``basis(x, *shapes) @ coefficients``.

    Attributes
    ----------
    parameters
        Coefficients first, then shapes.
    num_shapes
        How many of the parameters enter non-linearly. All of them are positive, except the exponent of ``power``.
    lowest
        Smallest x the form is defined for; ``open_end`` says that it is excluded.
    """

    formula: str
    parameters: tuple[str, ...]
    basis: Callable[..., FloatArray]
    lowest: float = -np.inf
    open_end: bool = False
    num_shapes: int = 0
    starts: Callable[[FloatArray], list[tuple[float, ...]]] | None = None
    limits: Callable[[FloatArray], list[tuple[float, float]]] | None = None

    @property
    def num_coefficients(self) -> int:
        """Parameters that enter linearly."""
        return len(self.parameters) - self.num_shapes

    def __call__(self, x: ArrayLike, *values: float) -> FloatArray:
        """The law's value at x for given parameters."""
        coefficients, shapes = values[: self.num_coefficients], values[self.num_coefficients :]
        x = np.asarray(x, dtype=np.float64)
        return np.asarray(self.basis(x.ravel(), *shapes) @ np.array(coefficients)).reshape(x.shape)


def _with_constant(*columns: FloatArray) -> FloatArray:
    return np.stack([*columns, np.ones_like(columns[0])], axis=-1)


def _span(x: FloatArray) -> tuple[float, float]:
    above = x[x > 0]
    return (float(above.min()), float(above.max())) if above.size else (1.0, 1.0)


def _scales(low: float, high: float, count: int) -> list[tuple[float, ...]]:
    return [(float(s),) for s in np.geomspace(low, high, count)]


def _scale_limits(x: FloatArray) -> list[tuple[float, float]]:
    low, high = _span(x)
    return [(low / 10, high * 10)]


def _break_range(x: FloatArray) -> tuple[float, float]:
    """Half-way past the first and before the last point: beyond, a break would only excuse one point."""
    at = np.unique(x)
    return float(np.sqrt(at[0] * at[1])), float(np.sqrt(at[-2] * at[-1]))


def _logistic(x: FloatArray, middle: float, slope: float) -> FloatArray:
    with np.errstate(over="ignore", divide="ignore"):
        return np.asarray(1.0 / (1.0 + np.power(middle / x, slope)))[:, None]


FORMS = {
    "log-linear": LawForm("a ln x + c", ("a", "c"), lambda x: _with_constant(np.log(x)), lowest=0.0, open_end=True),
    "log1p": LawForm("a ln(x + 1) + c", ("a", "c"), lambda x: _with_constant(np.log1p(x)), lowest=0.0),
    "linear": LawForm("a x + c", ("a", "c"), lambda x: _with_constant(x)),
    "power": LawForm(
        "a x^b",
        ("a", "b"),
        lambda x, b: np.power(x, b)[:, None],
        lowest=0.0,
        open_end=True,
        num_shapes=1,
        starts=lambda x: [(float(b),) for b in np.linspace(-2, 2, 41)],
        limits=lambda x: [(-10.0, 10.0)],
    ),
    "saturating-exponential": LawForm(
        "c - a exp(-x / s)",
        ("a", "c", "s"),
        lambda x, s: _with_constant(-np.exp(-x / s)),
        lowest=0.0,
        num_shapes=1,
        starts=lambda x: _scales(_span(x)[0] / 5, _span(x)[1] * 5, 40),
        limits=_scale_limits,
    ),
    "logistic": LawForm(
        "a / (1 + (m / x)^w)",
        ("a", "m", "w"),
        _logistic,
        lowest=0.0,
        open_end=True,
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
        lambda x, x_b: _with_constant(np.log(np.minimum(x, x_b))),
        lowest=0.0,
        open_end=True,
        num_shapes=1,
        starts=lambda x: _scales(*_break_range(x), 80),
        limits=lambda x: [_break_range(x)],
    ),
}
"""The laws of x that can be fitted, by name: formula, parameters, domain."""

PERPLEXITY_FORMS = {
    "sdsl": LawForm(
        "a P + c, P the draft's perplexity", ("a", "c"), FORMS["linear"].basis, lowest=0.0, open_end=True
    ),
    "sdsl-loss": LawForm(
        "a ln P + c, P the draft's perplexity", ("a", "c"), FORMS["log-linear"].basis, lowest=0.0, open_end=True
    ),
}
"""Rival laws of SDSL. Their x is the perplexity of the draft (`scylla_sim.laws.sdsl`)."""

ALL_FORMS = FORMS | PERPLEXITY_FORMS
