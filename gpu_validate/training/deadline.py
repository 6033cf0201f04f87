"""Deadlines of training: a segment that is too slow to end in time is abandoned early."""

from __future__ import annotations

import time
from dataclasses import dataclass

_WARM_STEPS = 16
"""First steps of a segment that do not count towards its speed: they load and select kernels."""
_MIN_SPENT_S = 5.0
"""Seconds after which the speed of a segment is known."""

clock = time.monotonic
"""Clock in seconds, the same in all processes of a machine."""


@dataclass(frozen=True)
class Deadline:
    """Time at which training must end.

    Attributes
    ----------
    stop_s
        Time of `clock`; ``None`` means no deadline.
    """

    stop_s: float | None = None

    def pace(self, goal: int, *, after_s: float = 0.0) -> Pace:
        """Return the pace of a segment that starts now.

        Parameters
        ----------
        goal
            Tokens at the end of the segment.
        after_s
            Seconds needed after the goal is reached.
        """
        return Pace(goal, None if self.stop_s is None else self.stop_s - after_s)


class Pace:
    """Speed of one segment of training.

    Parameters
    ----------
    goal
        Tokens at the end of the segment.
    stop_s
        Time of `clock` at which the goal must be reached; ``None`` means no deadline.
    """

    def __init__(self, goal: int, stop_s: float | None) -> None:
        self.goal, self.stop_s = goal, stop_s
        self.calls = 0
        self.since_s, self.since_tokens = clock(), 0

    def end_s(self, tokens: int) -> float:
        """Return the time at which the goal is reached at the present speed, or now if the speed is unknown."""
        now = clock()
        self.calls += 1
        if self.calls <= _WARM_STEPS:
            self.since_s, self.since_tokens = now, tokens
        spent, done = now - self.since_s, tokens - self.since_tokens
        if spent < _MIN_SPENT_S or not done:
            return now
        return now + (self.goal - tokens) * spent / done

    def over_s(self, tokens: int) -> float:
        """Return the seconds by which the goal misses the deadline; negative values are time to spare."""
        return 0.0 if self.stop_s is None else self.end_s(tokens) - self.stop_s

    def late(self, tokens: int) -> bool:
        """Return whether the goal misses the deadline; call it before every step."""
        return self.stop_s is not None and self.end_s(tokens) > self.stop_s
