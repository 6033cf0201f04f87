"""Errors of joint laws at drafts that they were not fitted to: more tokens, or a corner."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scylla_sim.checks import FloatArray, fail
from scylla_sim.laws.joint import JointPoints, fit_joint


@dataclass(frozen=True)
class HeldOut:
    """Errors of a law at points that it was not fitted to.

    Attributes
    ----------
    n
        Number of points.
    error, bias
        Mean of the absolute and of the signed error, predicted minus measured, in tokens per cycle.
    rmse
        Root mean square error.
    """

    n: int
    error: float
    bias: float
    rmse: float

    @staticmethod
    def of(residuals: FloatArray) -> HeldOut:
        """Return the errors of predicted minus measured tau."""
        return HeldOut(
            residuals.size,
            float(np.abs(residuals).mean()),
            float(residuals.mean()),
            float(np.sqrt(np.mean(residuals**2))),
        )


def corner_of(points: JointPoints) -> tuple[float, float]:
    """Return the largest T and D below the last third of the different values of each.

    Examples
    --------
    >>> grid = np.meshgrid([1.0, 2, 4, 8, 16, 32], [1.0, 2, 3, 4, 6, 8])
    >>> corner_of(JointPoints(grid[0].ravel(), grid[1].ravel(), np.full(36, 2.0)))
    (8.0, 4.0)
    """
    every = (np.unique(points.tokens), np.unique(points.layers))
    tokens, layers = (float(values[max(-(-2 * values.size // 3) - 1, 0)]) for values in every)
    return tokens, layers


def leave_tokens_out(points: JointPoints, form: str, *, tokens: float) -> HeldOut:
    """Return the errors of a law at drafts with more tokens than any that it was fitted to."""
    many = points.tokens > tokens
    if not many.any():
        raise fail("corner", f"{tokens:g}", "leaves no point with more tokens")
    law = fit_joint(points.part(~many), form, unit=float(points.tokens.min()))
    out = points.part(many)
    return HeldOut.of(law.tau(out.tokens, out.layers) - out.tau)


def leave_corner_out(points: JointPoints, form: str, *, tokens: float, layers: float) -> HeldOut:
    """Return the errors of a law at drafts with more tokens and more layers than any that it was fitted to.

    The law is fitted where T <= ``tokens`` and D <= ``layers``, and scored where both are larger. This is the test
    of an extrapolation: a large R2 inside says little about it.

    Parameters
    ----------
    points
        All points.
    form
        Name of the law.
    tokens, layers
        Largest T and D of the points that the law is fitted to.

    Raises
    ------
    InputError
        If no point lies in the corner, or too few lie in the other one.
    """
    many, deep = points.tokens > tokens, points.layers > layers
    if not (many & deep).any():
        raise fail("corner", f"{tokens:g},{layers:g}", "leaves no point with more tokens and more layers")
    law = fit_joint(points.part(~many & ~deep), form, unit=float(points.tokens.min()))
    corner = points.part(many & deep)
    return HeldOut.of(law.tau(corner.tokens, corner.layers) - corner.tau)
