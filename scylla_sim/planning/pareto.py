"""Pareto front of deployments: tokens per second of a user against tokens per second of a GPU."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scylla_sim.checks import FloatArray
from scylla_sim.planning.traffic import Traffic, statistic
from scylla_sim.planning.traffic_search import Option

_LOADS = np.array([0.02, 0.05, *np.linspace(0.1, 1.0, 10)])
"""Loads at which each candidate stands on the plane, as shares of the highest planned load."""


@dataclass(frozen=True)
class FrontPoint:
    """A candidate at one load.

    Attributes
    ----------
    option
        The candidate.
    load
        Share of saturation.
    rate_per_s, running
        Requests per second, and requests that decode, of one replica.
    tokens_per_s_per_user, tokens_per_s_per_gpu
        Output tokens per second; a user's are the inverse of the mean time per token.
    ttft_mean_s, ttft_p95_s
        Seconds to the first token.
    """

    option: Option
    load: float
    rate_per_s: float
    running: float
    tokens_per_s_per_user: float
    tokens_per_s_per_gpu: float
    ttft_mean_s: float
    ttft_p95_s: float


def not_dominated(first: FloatArray, second: FloatArray) -> NDArray[np.bool_]:
    """Return the points that no other point beats in one quantity and equals or beats in the other.

    Examples
    --------
    >>> not_dominated(np.array([1.0, 2.0, 3.0, 2.0]), np.array([9.0, 5.0, 1.0, 4.0])).tolist()
    [True, True, True, False]
    """
    order = np.lexsort((-second, -first))
    best = np.maximum.accumulate(np.concatenate([[-np.inf], second[order][:-1]]))
    kept = np.zeros(first.size, dtype=np.bool_)
    kept[order] = second[order] > best
    return kept


def front(options: Sequence[Option], traffic: Traffic) -> list[FrontPoint]:
    """Return the points of all candidates that no other one dominates, from the fastest user to the busiest GPU.

    Points beyond the highest planned load are left out, and so are those that miss a limit on the time to the first
    token. Limits on the time per token are left out, because the front shows what they cost.
    """
    found: list[FrontPoint] = []
    ttft = [limit for limit in traffic.limits if limit.metric == "ttft"]
    for option in options:
        served = option.served
        at = served.curve.at_rate(_LOADS * traffic.max_load * served.saturation_per_s)
        good = np.ones(_LOADS.size, dtype=np.bool_)
        for limit in ttft:
            good &= statistic(at, limit) <= limit.seconds
        tokens = at.output_tokens_per_s / served.deployment.tp
        late = at.ttft_quantile(0.95)
        found += [
            FrontPoint(
                option=option,
                load=float(at.rate_per_s[i] / served.saturation_per_s),
                rate_per_s=float(at.rate_per_s[i]),
                running=float(at.running[i]),
                tokens_per_s_per_user=float(1.0 / at.tpot_s[i]),
                tokens_per_s_per_gpu=float(tokens[i]),
                ttft_mean_s=float(at.ttft_s[i]),
                ttft_p95_s=float(late[i]),
            )
            for i in np.flatnonzero(good).tolist()
        ]
    user, gpu = (
        np.array([getattr(one, name) for one in found])
        for name in ("tokens_per_s_per_user", "tokens_per_s_per_gpu")
    )
    kept = [found[i] for i in np.flatnonzero(not_dominated(user, gpu)).tolist()]
    return sorted(kept, key=lambda one: -one.tokens_per_s_per_user)
