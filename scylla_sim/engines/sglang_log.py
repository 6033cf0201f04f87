"""Tokens per cycle from SGLang's log.

The log has no acceptance per position. Its "accept len" is the number of tokens per cycle, bonus token included.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from scylla_sim.checks import FloatArray, fail
from scylla_sim.stats.estimate import Estimate, exact
from scylla_sim.stats.quantiles import student_quantile

LINE = re.compile(r"Decode batch.*#running-req: (\d+).*accept len: ([\d.]+)")
"""A line of the log with the running requests and the tokens per cycle."""


@dataclass(frozen=True)
class Lengths:
    """Tokens per cycle of the lines of an SGLang log.

    Attributes
    ----------
    accept_len
        Tokens per cycle of each line, shape (lines,).
    requests
        Number of running requests in each line, shape (lines,).
    """

    accept_len: FloatArray
    requests: FloatArray

    def tokens_per_cycle(self, level: float = 0.9) -> Estimate:
        """Return the mean over lines, weighted by requests, and its interval from the scatter between lines."""
        tau = float(np.average(self.accept_len, weights=self.requests))
        if self.accept_len.size < 2:
            return exact(tau)
        share = self.requests / self.requests.sum()
        error = float(np.sqrt(np.sum((share * (self.accept_len - tau)) ** 2) / (1 - np.sum(share**2))))
        half = student_quantile(level, self.accept_len.size - 1) * error
        return Estimate.of(tau, max(tau - half, 1.0), tau + half)


def read_sglang_log(text: str) -> Lengths:
    """Return the ``accept len`` of every ``Decode batch`` line with running requests.

    Raises
    ------
    InputError
        For a log without such lines, or with a length below 1.

    Notes
    -----
    Source: sgl-project/sglang, scheduler metrics: the accept length includes the bonus token.

    Examples
    --------
    >>> line = "Decode batch, #running-req: 4, #token: 900, accept len: 2.50, gen throughput (token/s): 310"
    >>> read_sglang_log(line).tokens_per_cycle().value.item()
    2.5
    """
    pairs = [(float(m[2]), float(m[1])) for m in map(LINE.search, text.splitlines()) if m is not None]
    kept = np.array([pair for pair in pairs if pair[1] > 0]).reshape(-1, 2)
    if not len(kept):
        raise fail("requests", 0, "were running in this log")
    if (kept[:, 0] < 1).any():
        raise fail("accept_len", float(kept[:, 0].min()), "must be at least 1, because it counts the bonus token")
    return Lengths(kept[:, 0], kept[:, 1])
