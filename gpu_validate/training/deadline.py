"""Training that ends in time: a stretch whose own speed says that it comes too late is given up early."""

from __future__ import annotations

import time
from dataclasses import dataclass

_WARM_STEPS = 16
"""The first steps of a stretch are not judged by: kernels are loaded and chosen in them."""
_JUDGED_S = 5.0
"""A speed is believed after so many seconds."""

clock = time.monotonic
"""Seconds, the same in all processes of a machine."""


@dataclass(frozen=True)
class Deadline:
    """Time of `clock` at which training has to be over; ``None`` for never."""

    stop_s: float | None = None

    def pace(self, goal: int, *, after_s: float = 0.0) -> Pace:
        """The pace of a stretch up to ``goal`` tokens, which takes ``after_s`` seconds more once it is there."""
        return Pace(goal, None if self.stop_s is None else self.stop_s - after_s)


class Pace:
    """Speed of one stretch of training."""

    def __init__(self, goal: int, stop_s: float | None) -> None:
        self.goal, self.stop_s = goal, stop_s
        self.calls = 0
        self.since_s, self.since_tokens = clock(), 0

    def end_s(self, tokens: int) -> float:
        """When the goal will be reached, at the speed so far; now while that is not known."""
        now = clock()
        self.calls += 1
        if self.calls <= _WARM_STEPS:
            self.since_s, self.since_tokens = now, tokens
        spent, done = now - self.since_s, tokens - self.since_tokens
        if spent < _JUDGED_S or not done:
            return now
        return now + (self.goal - tokens) * spent / done

    def over_s(self, tokens: int) -> float:
        """Seconds by which the goal comes too late."""
        return 0.0 if self.stop_s is None else self.end_s(tokens) - self.stop_s

    def late(self, tokens: int) -> bool:
        """Whether the goal cannot be reached in time; to be asked before every step."""
        return self.stop_s is not None and self.end_s(tokens) > self.stop_s
