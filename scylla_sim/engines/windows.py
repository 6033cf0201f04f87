"""Tokens per cycle of the windows, requests or iterations of a run, from engines that count no positions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scylla_sim.acceptance.draft_shape import MAX_DRAFT_LEN
from scylla_sim.checks import FloatArray, fail, positive, whole
from scylla_sim.engines.counts import length_of
from scylla_sim.stats.estimate import Estimate, exact
from scylla_sim.stats.quantiles import student_quantile


@dataclass(frozen=True)
class Windows:
    """Tokens per cycle of the windows of a run.

    Attributes
    ----------
    tokens_per_cycle
        Tokens per cycle of each window, bonus token included, shape (windows,).
    weight
        Cycles of each window, or a number proportional to it such as its running requests, shape (windows,).
    cycles, drafted, accepted
        Totals over the windows; ``None`` if they were not counted.
    draft_len
        Draft length, if the source states it.
    """

    tokens_per_cycle: FloatArray
    weight: FloatArray
    cycles: int | None = None
    drafted: int | None = None
    accepted: int | None = None
    draft_len: int | None = None

    def tau(self, level: float = 0.9) -> Estimate:
        """Return the weighted mean over windows, and its interval from the scatter between windows.

        One window has no interval.

        Examples
        --------
        >>> float(Windows(np.array([2.0, 3.0]), np.array([1.0, 3.0])).tau().value)
        2.75
        """
        tau = float(np.average(self.tokens_per_cycle, weights=self.weight))
        if self.tokens_per_cycle.size < 2:
            return exact(tau)
        share = self.weight / self.weight.sum()
        error = float(np.sqrt(np.sum((share * (self.tokens_per_cycle - tau)) ** 2) / (1 - np.sum(share**2))))
        half = student_quantile(level, self.tokens_per_cycle.size - 1) * error
        return Estimate.of(tau, max(tau - half, 1.0), tau + half)

    @property
    def counted_len(self) -> int | None:
        """Mean drafted tokens per cycle, rounded up; ``None`` if they were not counted."""
        if not self.cycles or self.drafted is None or self.accepted is None:
            return None
        return length_of(self.drafted, self.accepted, self.cycles)


@dataclass(frozen=True)
class Totals:
    """Drafted and accepted tokens of each window, without the number of cycles.

    Attributes
    ----------
    drafted, accepted
        Tokens of each window, shape (windows,).
    why
        Reason for the missing number of cycles, for error messages.
    draft_len
        Draft length, if the source states it.
    """

    drafted: FloatArray
    accepted: FloatArray
    why: str
    draft_len: int | None = None

    def windows(self, draft_len: int | None) -> Windows:
        """Return the windows with as many cycles as whole drafts of a length.

        Raises
        ------
        InputError
            Without a draft length.

        Examples
        --------
        >>> found = Totals(np.array([786.0]), np.array([399.0]), "an old version").windows(3)
        >>> found.cycles, round(float(found.tau().value), 3)
        (262, 2.523)
        """
        length = self.draft_len if draft_len is None else draft_len
        if length is None:
            raise fail(
                "draft_len", None, f"must be given: {self.why}", "give --draft-len if all drafts had one length"
            )
        length = int(whole("draft_len", length, 1, MAX_DRAFT_LEN))
        cycles = positive("drafted", self.drafted) / length
        total = max(round(float(cycles.sum())), 1)
        tokens = 1.0 + self.accepted / cycles
        return Windows(tokens, cycles, total, int(self.drafted.sum()), int(self.accepted.sum()), length)


def of_cycles(
    cycles: Sequence[float], accepted: Sequence[float], drafted: Sequence[float] | None = None
) -> Windows:
    """Return windows from their cycles, accepted and drafted tokens.

    Examples
    --------
    >>> found = of_cycles([10, 30], [10, 60], [30, 90])
    >>> float(found.tau().value), found.counted_len
    (2.75, 3)
    """
    steps = positive("cycles", list(cycles))
    gained = np.asarray(accepted, dtype=np.float64)
    return Windows(
        1.0 + gained / steps,
        steps,
        round(float(steps.sum())),
        None if drafted is None else round(float(np.sum(drafted))),
        round(float(gained.sum())),
    )
