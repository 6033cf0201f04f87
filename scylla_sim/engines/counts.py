"""Counts of accepted tokens per position, and their CSV file."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scylla_sim.acceptance.profiles import rates_from_counts
from scylla_sim.checks import InputError, fail, whole
from scylla_sim.stats.estimate import Estimate
from scylla_sim.stats.quantiles import student_quantile


@dataclass(frozen=True)
class Counts:
    """Counts of accepted tokens per position of a chain.

    Attributes
    ----------
    cycles
        Number of draft-verify cycles.
    accepted
        Number of cycles that accepted each position and all positions before it; it never rises.
    windows
        Number of log lines that the counts add up.
    whole_drafts
        Whether all drafts had the same length. If not, ``cycles`` is calculated from rounded rates.

    Raises
    ------
    InputError
        For counts that rise with the position.
    """

    cycles: int
    accepted: tuple[int, ...]
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

    @property
    def reached(self) -> NDArray[np.int64]:
        """Number of cycles that reached each position, because they accepted the position before."""
        return np.array((self.cycles, *self.accepted[:-1]), dtype=np.int64)

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


def read_counts(text: str) -> Counts:
    r"""Return the counts of a CSV file with the columns ``position,accepted,drafted``.

    Positions start at 1. ``drafted`` is the number of all cycles, equal at every position, or the number of cycles
    that reached the position, equal to ``accepted`` at the position before.

    Raises
    ------
    InputError
        For other columns, for cells that are not whole numbers, and for any other ``drafted``.

    Examples
    --------
    >>> read_counts("position,accepted,drafted\n1,7,10\n2,4,7\n") == read_counts(
    ...     "position,accepted,drafted\n1,7,10\n2,4,10\n"
    ... )
    True
    """
    lines = [line.split(",") for line in text.lstrip("\ufeff").split()]
    if lines[0] != ["position", "accepted", "drafted"]:
        raise fail("columns", ",".join(lines[0]), "must be position,accepted,drafted")
    try:
        table = [(int(a), int(b), int(c)) for a, b, c in lines[1:]]
    except ValueError:
        raise InputError("counts must be three whole numbers per line: position,accepted,drafted") from None
    if [row[0] for row in table] != list(range(1, len(table) + 1)) or not table:
        raise fail("position", [row[0] for row in table], "must run from 1 without gaps")
    accepted, drafted = [row[1] for row in table], [row[2] for row in table]
    if len(set(drafted)) > 1 and drafted[1:] != accepted[:-1]:
        raise fail("drafted", drafted, "must be equal at all positions, or equal to accepted one position before")
    return Counts(drafted[0], tuple(accepted))
