"""Which experts a pass touches: the expected number of distinct ones, for a uniform or a skewed router.

A pass over T tokens reads the weights of every expert that at least one token is routed to. Tokens are taken as
independent; expert i is among the ``k`` of a token with probability p_i (they sum to k), so it is read with
1 - (1 - p_i)^T. With a uniform router p_i = k / E and the expectation is E (1 - (1 - k / E)^T), the coupon
collector with k coupons at a time.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import ArrayLike

from scylla_sim.checks import FloatArray, positive
from scylla_sim.specs import Experts


@cache
def _probabilities(count: int, chosen: int, skew: float) -> FloatArray:
    popularity = np.arange(1.0, count + 1.0) ** -skew
    certain = 0
    while certain < chosen:
        scale = (chosen - certain) / popularity[certain:].sum()
        if scale * popularity[certain] <= 1.0:
            break
        certain += 1
    shared = popularity[certain:] * (chosen - certain) / popularity[certain:].sum()
    found = np.concatenate([np.ones(certain), np.minimum(shared, 1.0)])
    found.setflags(write=False)
    return found


def routing_probabilities(experts: Experts) -> FloatArray:
    """Probability that a token is routed to each expert, the most popular first; they sum to ``experts_per_token``.

    Proportional to rank^-skew (Zipf) as far as a probability can be: experts that would exceed 1 take every token
    and the rest share what is left. A larger skew majorises a smaller one (the two cross once), and the expected
    number of distinct experts is Schur-concave in p: more skew never touches more experts.

    Examples
    --------
    >>> routing_probabilities(Experts(4, 2, 64)).tolist()
    [0.5, 0.5, 0.5, 0.5]
    >>> routing_probabilities(Experts(4, 2, 64, router_skew=1.0)).round(2).tolist()
    [0.96, 0.48, 0.32, 0.24]
    """
    return _probabilities(experts.num_experts, experts.experts_per_token, experts.router_skew)


def distinct_experts(experts: Experts, tokens: ArrayLike) -> FloatArray:
    """Expected number of experts that at least one of ``tokens`` tokens is routed to, in one layer.

    Parameters
    ----------
    tokens
        Tokens of a pass, all sequences together; any shape, and the result has it.

    Examples
    --------
    >>> qwen = Experts(num_experts=128, experts_per_token=8, intermediate_size=768)
    >>> distinct_experts(qwen, [1, 16, 256]).round(1).tolist()
    [8.0, 82.4, 128.0]
    """
    total = positive("tokens", tokens)
    share, times = np.unique(routing_probabilities(experts), return_counts=True)
    with np.errstate(divide="ignore"):
        missed = np.log1p(-share)  # -inf for an expert that takes every token
    distinct, place = np.unique(total, return_inverse=True)  # a grid of batches and lengths holds few totals
    touched: FloatArray = (-np.expm1(np.multiply.outer(distinct, missed)) * times).sum(axis=-1)
    return touched[place].reshape(total.shape)
