"""Progress of a run in one line: finished jobs, time left and stage."""

from __future__ import annotations

from collections.abc import Mapping

REFERENCE_CORES = 2
"""Cores of the machine whose jobs take the seconds of `job_seconds.json`."""
OTHER_SECONDS = 2.0
"""Seconds of a job of another rule, most of them for starting Python."""
PRIOR_SECONDS = 20.0
"""Time for which the estimate trusts the seconds of the file. Later it follows the speed of this machine."""
WIDTH = 78
"""Columns of the line."""


def job_seconds(rule: str, known: Mapping[str, float]) -> float:
    """Return the expected seconds of a job: those of its rule, or of the rule without the name of a GPU.

    Examples
    --------
    >>> job_seconds("score_silicon_l40s", {"score_silicon": 20.0})
    20.0
    """
    found = [seconds for name, seconds in known.items() if rule == name or rule.startswith(f"{name}_")]
    return max(found, default=OTHER_SECONDS)


def seconds_left(elapsed_s: float, done_s: float, total_s: float) -> float:
    """Return the seconds that a run still takes.

    Parameters
    ----------
    elapsed_s
        Seconds since its start.
    done_s, total_s
        Expected seconds of the finished work and of all work, summed over jobs.

    Examples
    --------
    >>> seconds_left(0.0, 0.0, 600.0)
    300.0
    >>> round(seconds_left(1e6, 300.0, 600.0) / 1e6, 1)
    0.9
    """
    work_per_s = (done_s + REFERENCE_CORES * PRIOR_SECONDS) / (elapsed_s + PRIOR_SECONDS)
    return max(total_s - done_s, 0.0) / work_per_s


def words(seconds: float) -> str:
    """Return a duration in words.

    Examples
    --------
    >>> words(42), words(200), words(7300)
    ('42 s', '4 min', '2 h 2 min')
    """
    minutes = -(-int(seconds) // 60)
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


class Progress:
    """State of a run: its jobs, those that run now, and the expected seconds of those that are finished."""

    def __init__(self, known: Mapping[str, float], now_s: float) -> None:
        """Start without jobs."""
        self.known = known
        self.start_s = now_s
        self.total = 0
        self.total_s = 0.0
        self.done = 0
        self.done_s = 0.0
        self.stage = "start"
        self.running: dict[int, tuple[str, float]] = {}

    def plan(self, stats: Mapping[str, int]) -> None:
        """Take the number of jobs of each rule."""
        jobs = {rule: count for rule, count in stats.items() if rule != "total"}
        self.total = sum(jobs.values())
        self.total_s = sum(count * job_seconds(rule, self.known) for rule, count in jobs.items())

    def begin(self, job: int, rule: str, wildcards: Mapping[str, str], now_s: float) -> None:
        """Note that a job starts."""
        self.running[job] = (rule, now_s)
        self.stage = " ".join([rule.replace("_", " "), *wildcards.values()])

    def end(self, job: int) -> None:
        """Note that a job ended."""
        rule, _ = self.running.pop(job, ("", 0.0))
        self.done += 1
        self.done_s += job_seconds(rule, self.known)

    def line(self, now_s: float) -> str:
        """Return the line. A running job counts as done in part, but never as done."""
        half_done = (
            min(now_s - begin_s, 0.9 * job_seconds(rule, self.known)) for rule, begin_s in self.running.values()
        )
        left_s = seconds_left(now_s - self.start_s, self.done_s + sum(half_done), self.total_s)
        left = f"about {words(left_s)} left" if self.done < self.total else f"{words(now_s - self.start_s)} in all"
        return f"{self.done:3d}/{self.total} jobs, {left}: {self.stage}"[:WIDTH]
