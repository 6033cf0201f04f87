"""Counts of accepted tokens per position of a chain, with the rates and the tokens per cycle that follow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

import numpy as np
from numpy.typing import NDArray

from scylla_sim.acceptance.profiles import rates_from_counts
from scylla_sim.checks import fail, whole
from scylla_sim.stats.estimate import Estimate
from scylla_sim.stats.quantiles import student_quantile

LENGTH_TOLERANCE = 0.01
"""Share by which the mean draft may exceed a whole number and still count as it: logs print rounded rates."""

ROUNDING = 0.0005
"""Largest error of a printed rate."""


@dataclass(frozen=True)
class Counts:
    """Counts of accepted tokens per position of a chain.

    Attributes
    ----------
    cycles
        Number of draft-verify cycles.
    accepted
        Number of cycles that accepted each position and all positions before it; it never rises.
    drafted
        Drafted tokens of all cycles; ``None`` if every cycle drafted all positions.
    windows
        Number of log lines that the counts add up.
    whole_drafts
        Whether all drafts had the same length. If not, ``cycles`` may be calculated from rounded rates.

    Raises
    ------
    InputError
        For counts that rise with the position.
    """

    cycles: int
    accepted: tuple[int, ...]
    drafted: int | None = None
    windows: int = 1
    whole_drafts: bool = True

    def __post_init__(self) -> None:
        """Check the fields."""
        whole("cycles", self.cycles, 1)
        counts = whole("accepted", list(self.accepted), 0)
        if counts.size == 0 or (np.diff(np.append(self.cycles, counts)) > 0).any():
            raise fail(
                "accepted", list(self.accepted), f"must fall from cycles={self.cycles}", "are they conditional?"
            )
        if self.drafted is not None:
            whole("drafted", self.drafted, int(counts.sum()))

    @property
    def reached(self) -> NDArray[np.int64]:
        """Number of cycles that reached each position, because they accepted the position before."""
        return np.array((self.cycles, *self.accepted[:-1]), dtype=np.int64)

    @property
    def total_drafted(self) -> int:
        """Drafted tokens of all cycles."""
        return self.cycles * len(self.accepted) if self.drafted is None else self.drafted

    @property
    def draft_len(self) -> int:
        """Draft length: the positions, or the mean draft rounded up if drafts vary in length.

        Examples
        --------
        >>> Counts(100, (40, 20, 10, 0)).draft_len, Counts(100, (40, 20, 10, 0), drafted=255).draft_len
        (4, 3)
        """
        return min(length_of(self.total_drafted, sum(self.accepted), self.cycles), len(self.accepted))

    def rates(self, level: float = 0.9) -> Estimate:
        """Return conditional rates with Jeffreys intervals, shape (positions,).

        A position that no cycle reached has rate 0 and the interval [0, 1].
        """
        reached = self.reached
        rate = rates_from_counts(self.accepted, np.maximum(reached, 1), level=level)
        never = reached == 0
        return Estimate(
            np.where(never, 0.0, rate.value), np.where(never, 0.0, rate.lower), np.where(never, 1.0, rate.upper)
        )

    def tokens_per_cycle(self, level: float = 0.9) -> Estimate:
        """Return tau and its interval, from the variance of the tokens per cycle of independent cycles."""
        emitted = -np.diff(np.array([self.cycles, *self.accepted, 0])) / self.cycles
        tokens = np.arange(1, emitted.size + 1)
        tau = float(emitted @ tokens)
        error = np.sqrt(max(float(emitted @ tokens**2) - tau**2, 0.0) / self.cycles)
        half = student_quantile(level, max(self.cycles - 1, 1)) * error
        return Estimate.of(tau, max(tau - half, 1.0), min(tau + half, float(emitted.size)))


def from_rates(rates: Sequence[float], cycles: int, accepted: int) -> tuple[int, ...]:
    """Return counts per position of cumulative rates, which engines print with three decimals.

    They add up to ``accepted`` as far as the rounding of the rates allows.

    Examples
    --------
    >>> from_rates([0.667, 0.333], 3000, 3001)
    (2002, 999)
    """
    exact = [rate * cycles for rate in rates]
    counts = [round(value) for value in exact]
    slack = ROUNDING * cycles + 0.5
    while (rest := accepted - sum(counts)) != 0:
        sign = 1 if rest > 0 else -1
        ends = [cycles, *counts, 0]
        # how far a count may move: to the end of its rounding, and not past its neighbours
        room = [
            min(int(slack + sign * (exact[i] - counts[i])), sign * (ends[i if sign > 0 else i + 2] - counts[i]))
            for i in range(len(counts))
        ]
        at = max(range(len(room)), key=room.__getitem__)
        if room[at] < 1:
            break
        counts[at] += sign * min(room[at], max(abs(rest) // len(counts), 1))
    return tuple(counts)


def length_of(drafted: int, accepted: int, cycles: int) -> int:
    """Return the mean draft rounded up, and never less than the mean of the accepted tokens.

    Examples
    --------
    >>> length_of(301, 200, 100), length_of(301, 301, 100), length_of(320, 200, 100)
    (3, 4, 4)
    """
    return max(ceil(drafted / cycles * (1 - LENGTH_TOLERANCE)), ceil(accepted / cycles), 1)


def total(parts: Sequence[Counts]) -> Counts:
    """Return the sum of counts with the same number of positions.

    Examples
    --------
    >>> total([Counts(10, (7, 4)), Counts(20, (9, 2), drafted=30)])
    Counts(cycles=30, accepted=(16, 6), drafted=50, windows=2, whole_drafts=True)
    """
    known = all(part.drafted is None for part in parts)
    return Counts(
        cycles=sum(part.cycles for part in parts),
        accepted=tuple(map(sum, zip(*(part.accepted for part in parts), strict=True))),
        drafted=None if known else sum(part.total_drafted for part in parts),
        windows=sum(part.windows for part in parts),
        whole_drafts=all(part.whole_drafts for part in parts),
    )
