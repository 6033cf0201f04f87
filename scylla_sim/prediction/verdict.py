"""Whether speculation is slower than plain decoding: a probability, and a word for it."""

from __future__ import annotations

import numpy as np

from scylla_sim.checks import FloatArray
from scylla_sim.stats.estimate import Estimate
from scylla_sim.stats.quantiles import Z_90, normal_cdf

SLOWER, UNDECIDED, FASTER, BASELINE = "slower", "undecided", "faster", "baseline"
"""Words of a verdict; the last one is that of plain decoding."""
SLOWER_ABOVE, FASTER_BELOW = 0.7, 0.3
"""Probabilities beyond which a verdict is `SLOWER` or `FASTER`.

Notes
-----
Source: published speed-ups of at most 0.95, each predicted without its source. With 0.9 as the limit, hardly any of
them is called slower. With 0.7, half of them are, and no call is wrong.
"""


def probability_below(limit: float, estimate: Estimate) -> FloatArray:
    """Return the probability that a positive quantity lies below a limit.

    The quantity is log-normal around its value. Its standard deviation follows from the end of the 90 % interval on
    the side of the limit. A quantity without an interval is below the limit or not. One whose interval begins at 0
    is as likely below the limit as above.

    Examples
    --------
    >>> some = Estimate.of([1.1, 0.9, 1.0, 2.0], [1.0, 0.8, 0.9, 2.0], [1.3, 1.0, 1.1, 2.0])
    >>> probability_below(1.0, some).round(2).tolist()
    [0.05, 0.95, 0.5, 0.0]
    """
    value, lower, upper = np.broadcast_arrays(estimate.value, estimate.lower, estimate.upper)
    distance = np.log(limit / value)
    with np.errstate(divide="ignore"):  # an end at 0 is infinitely far in logs
        spread = np.where(distance < 0.0, np.log(value / lower), np.log(upper / value))
    sure = np.where(distance > 0.0, np.inf, -np.inf)
    return normal_cdf(np.divide(Z_90 * distance, spread, out=sure, where=spread > 0.0))


def verdict(p_slower: float, *, speculates: bool = True) -> str:
    """Return the word for a probability that speculation is slower than plain decoding.

    Examples
    --------
    >>> verdict(0.71), verdict(0.7), verdict(0.3), verdict(0.29), verdict(0.0, speculates=False)
    ('slower', 'undecided', 'undecided', 'faster', 'baseline')
    """
    if not speculates:
        return BASELINE
    if p_slower > SLOWER_ABOVE:
        return SLOWER
    return FASTER if p_slower < FASTER_BELOW else UNDECIDED
