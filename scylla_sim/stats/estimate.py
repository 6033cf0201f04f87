"""A value with its interval, and the rule that adds independent deviations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from scylla_sim.checks import FloatArray


@dataclass(frozen=True)
class Estimate:
    """A value with the lower and upper end of its interval.

    An interval holds 90 % of the outcomes, unless the function that returns it says otherwise.

    Attributes
    ----------
    value, lower, upper
        Arrays that broadcast against each other, in the same unit.
    """

    value: FloatArray
    lower: FloatArray
    upper: FloatArray

    @classmethod
    def of(cls, value: ArrayLike, lower: ArrayLike, upper: ArrayLike) -> Estimate:
        """Return an estimate made of numbers, sequences or arrays.

        Examples
        --------
        >>> float(Estimate.of(2.0, 1.5, 3.0).up)
        1.0
        """
        return cls(*(np.asarray(end, dtype=np.float64) for end in (value, lower, upper)))

    @property
    def down(self) -> FloatArray:
        """Distance from the value to the lower end."""
        return self.value - self.lower

    @property
    def up(self) -> FloatArray:
        """Distance from the value to the upper end."""
        return self.upper - self.value

    @property
    def is_exact(self) -> bool:
        """Whether both ends are the array of the value itself, as `exact` makes them."""
        return self.lower is self.value and self.upper is self.value

    def scaled(self, factor: ArrayLike) -> Estimate:
        """Return the estimate multiplied by a positive factor.

        Examples
        --------
        >>> float(exact(2.0).scaled(3.0).upper)
        6.0
        """
        by = np.asarray(factor, dtype=np.float64)
        value = self.value * by
        return exact(value) if self.is_exact else Estimate(value, self.lower * by, self.upper * by)

    def plus(self, other: Estimate) -> Estimate:
        """Return the sum of two estimates with fully correlated errors: their ends add.

        Use `with_deviations` for errors that are independent.

        Examples
        --------
        >>> total = exact(2.0).plus(Estimate.of(5.0, 4.0, 7.0))
        >>> float(total.lower), float(total.value), float(total.upper)
        (6.0, 7.0, 9.0)
        """
        value = self.value + other.value
        if self.is_exact and other.is_exact:
            return exact(value)
        return Estimate(value, self.lower + other.lower, self.upper + other.upper)

    def or_where(self, condition: ArrayLike, other: Estimate) -> Estimate:
        """Return this estimate, or another one where a condition holds.

        Examples
        --------
        >>> exact([1.0, 2.0]).or_where([False, True], exact(5.0)).value.tolist()
        [1.0, 5.0]
        """
        if self.is_exact and other.is_exact:
            return exact(np.where(condition, other.value, self.value))
        pairs = ((other.value, self.value), (other.lower, self.lower), (other.upper, self.upper))
        return Estimate(*(np.where(condition, there, here) for there, here in pairs))

    def broadcast_to(self, shape: tuple[int, ...]) -> Estimate:
        """Return the estimate with all three arrays broadcast to one shape."""
        return Estimate(*(np.broadcast_to(end, shape) for end in (self.value, self.lower, self.upper)))


def exact(value: ArrayLike) -> Estimate:
    """Return an estimate without uncertainty."""
    array = np.asarray(value, dtype=np.float64)
    return Estimate(array, array, array)


@dataclass(frozen=True)
class Deviation:
    """Amounts by which one source of error may shorten or lengthen a quantity, both at least 0.

    Attributes
    ----------
    down, up
        Distances from the estimate to the ends of the 90 % interval that this source alone would give.
    """

    down: FloatArray
    up: FloatArray

    @classmethod
    def between(cls, value: FloatArray, ends: Iterable[FloatArray]) -> Deviation:
        """Return the deviation of a value that lies between other values at the ends of a range.

        Examples
        --------
        >>> found = Deviation.between(np.array(5.0), [np.array(4.0), np.array(7.0)])
        >>> float(found.down), float(found.up)
        (1.0, 2.0)
        """
        down, up = np.zeros_like(value), np.zeros_like(value)
        for end in ends:
            down, up = np.maximum(down, value - end), np.maximum(up, end - value)
        return cls(down, up)

    def plus(self, other: Deviation) -> Deviation:
        """Return the deviation of a sum, both of whose terms the source moves together."""
        return Deviation(self.down + other.down, self.up + other.up)

    def scaled(self, factor: ArrayLike) -> Deviation:
        """Return the deviation of a quantity multiplied by a factor that is not negative."""
        by = np.asarray(factor, dtype=np.float64)
        return Deviation(self.down * by, self.up * by)

    def where(self, kept: ArrayLike) -> Deviation:
        """Return the deviation where ``kept`` is true, and 0 elsewhere."""
        return self.scaled(np.asarray(kept, dtype=np.float64))


Sources = Mapping[str, Deviation]
"""Name of a source of error -> the deviation that it causes."""


def add_sources(one: Sources, other: Sources) -> Sources:
    """Return the sources of a sum of two quantities; the deviations of one source add.

    Examples
    --------
    >>> one = {"power": Deviation(np.array(0.0), np.array(1.0))}
    >>> float(add_sources(one, one)["power"].up)
    2.0
    """
    if not one or not other:
        return one or other
    return {**one, **{name: one[name].plus(more) if name in one else more for name, more in other.items()}}


def root_sum(squares: Iterable[FloatArray]) -> FloatArray:
    """Return the root of a sum of squared deviations."""
    total: FloatArray = np.sqrt(sum(squares, np.asarray(0.0)))
    return total


def quadrature(deviations: Iterable[FloatArray]) -> FloatArray:
    """Return the joint size of independent deviations: the root of the sum of their squares.

    Examples
    --------
    >>> float(quadrature([np.array(3.0), np.array(4.0)]))
    5.0
    """
    return root_sum(deviation**2 for deviation in deviations)


def with_deviations(value: FloatArray, down: Iterable[FloatArray], up: Iterable[FloatArray]) -> Estimate:
    """Return a value whose interval adds independent deviations below and above it.

    Examples
    --------
    >>> found = with_deviations(np.array(10.0), [np.array(3.0), np.array(4.0)], [np.array(1.0)])
    >>> float(found.lower), float(found.upper)
    (5.0, 11.0)
    """
    return Estimate(value, value - quadrature(down), value + quadrature(up))
