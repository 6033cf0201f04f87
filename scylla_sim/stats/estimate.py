"""A value with its interval, and the one rule by which independent deviations add."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from scylla_sim.checks import FloatArray


@dataclass(frozen=True)
class Estimate:
    """A value with the lower and upper end of its interval.

    Every interval of this package holds 90 % of the outcomes, unless the function that returns it says otherwise.

    Attributes
    ----------
    value, lower, upper
        Arrays that broadcast against each other, in the same unit.
    """

    value: FloatArray
    lower: FloatArray
    upper: FloatArray

    @property
    def down(self) -> FloatArray:
        """Distance from the value to the lower end."""
        return self.value - self.lower

    @property
    def up(self) -> FloatArray:
        """Distance from the value to the upper end."""
        return self.upper - self.value

    def scaled(self, factor: ArrayLike) -> Estimate:
        """Return the estimate multiplied by a positive factor.

        Examples
        --------
        >>> exact(2.0).scaled(3.0).upper
        array(6.)
        """
        by = np.asarray(factor, dtype=np.float64)
        return Estimate(self.value * by, self.lower * by, self.upper * by)


def exact(value: ArrayLike) -> Estimate:
    """Return an estimate without uncertainty."""
    array = np.asarray(value, dtype=np.float64)
    return Estimate(array, array, array)


def quadrature(deviations: Iterable[FloatArray]) -> FloatArray:
    """Return the root of the sum of squares: the size of independent deviations together.

    Examples
    --------
    >>> float(quadrature([np.array(3.0), np.array(4.0)]))
    5.0
    """
    total: FloatArray = np.sqrt(sum((deviation**2 for deviation in deviations), np.asarray(0.0)))
    return total


def with_deviations(value: FloatArray, down: Iterable[FloatArray], up: Iterable[FloatArray]) -> Estimate:
    """Return a value whose interval adds independent deviations below and above it.

    Examples
    --------
    >>> with_deviations(np.array(10.0), [np.array(3.0), np.array(4.0)], [np.array(1.0)])
    Estimate(value=array(10.), lower=array(5.), upper=array(11.))
    """
    return Estimate(value, value - quadrature(down), value + quadrature(up))
