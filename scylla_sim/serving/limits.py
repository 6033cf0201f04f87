"""Limits on the latency of a served load, such as ``p95:500ms`` on the time to the first token."""

from __future__ import annotations

from dataclasses import dataclass

from scylla_sim.checks import fail, one_of, positive
from scylla_sim.units import MILLI, parse_seconds

STATISTICS = ("mean", "p50", "p90", "p95", "p99")
"""Statistics over requests that a limit can name."""
METRICS = ("ttft", "tpot", "e2e")
"""Latencies that a limit can bound: time to the first token, per output token, and of a whole request."""


@dataclass(frozen=True)
class Limit:
    """An upper limit on a statistic of a latency.

    Attributes
    ----------
    metric, statistic
        One of `METRICS`, and one of `STATISTICS`.
    seconds
        The limit.

    Examples
    --------
    >>> str(Limit("ttft", "p95", 0.5))
    'TTFT p95 <= 500 ms'
    """

    metric: str
    statistic: str
    seconds: float

    def __post_init__(self) -> None:
        """Check the fields."""
        one_of("metric", self.metric, METRICS)
        one_of(self.metric, self.statistic, STATISTICS)
        positive(self.metric, self.seconds)

    @property
    def probability(self) -> float | None:
        """Probability of the quantile; ``None`` for the mean."""
        return None if self.statistic == "mean" else int(self.statistic[1:]) / 100.0

    def __str__(self) -> str:
        """Return the limit in words."""
        return f"{self.metric.upper()} {self.statistic} <= {self.seconds / MILLI:.4g} ms"


def parse_limit(metric: str, text: str) -> Limit:
    """Return the limit that a text such as ``p95:500ms`` or ``40ms`` (the mean) states.

    Raises
    ------
    InputError
        If the statistic is not known, or the time has no unit.

    Examples
    --------
    >>> parse_limit("tpot", "40ms")
    Limit(metric='tpot', statistic='mean', seconds=0.04)
    """
    if not isinstance(text, str):  # a number of the library has no unit
        raise fail(metric, text, "must be text with a unit", "write p95:500ms, or 40ms for the mean")
    statistic, colon, time = text.rpartition(":")
    try:
        seconds = parse_seconds(time)
    except ValueError as error:
        raise fail(metric, text, f"is not understood ({error})", "write p95:500ms, or 40ms for the mean") from None
    return Limit(metric, statistic.strip() if colon else "mean", seconds)
