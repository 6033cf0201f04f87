"""Acceptance profiles: how likely drafted tokens are accepted, and what that is worth per cycle.

Three kinds of profile, never mixed:

* **conditional**: ``alpha[i]`` = P(position i accepted, given that all before it were). EAGLE's n-alpha, DSpark.
* **cumulative**: ``c[i]`` = P(positions 0..i all accepted) = cumprod(alpha). vLLM's per-position log line.
* **rank**: ``p[d, r]`` = P(the target's token is the draft's r-th choice at depth d | the path above is accepted).
  It serves every chain (its first column) and every tree (`scylla_sim.acceptance.trees`).

tau, ``tokens_per_cycle``, counts the bonus token: plain decoding has 1. The last axis of an array is the position
(the last two are depth and rank for a rank profile); every axis before it is broadcast through.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from scylla_sim.checks import FloatArray, fail, in_range, whole
from scylla_sim.stats.quantiles import beta_quantile

RANK_EXPONENT = 0.675
"""Exponent of the default rank law (see `rank_profile`), one number for every draft."""


def _profile(name: str, value: ArrayLike) -> FloatArray:
    array = in_range(name, value, 0, 1)
    if array.ndim == 0 or array.shape[-1] == 0:
        raise fail(name, value, "must have at least one position", "write it as a list, for example 0.7,0.6")
    return array


def tokens_per_cycle(acceptance_rate: ArrayLike) -> FloatArray:
    """Mean tokens of one draft-verify cycle of a chain, bonus token included.

    Parameters
    ----------
    acceptance_rate
        Conditional probabilities, shape (..., draft_len), in [0, 1].

    Returns
    -------
    Shape (...), in [1, draft_len + 1]: 1 + sum over i of alpha_1 ... alpha_i.

    Raises
    ------
    InputError
        For a probability outside [0, 1] or an empty profile.

    Notes
    -----
    Source: Leviathan et al., arXiv 2211.17192, section 3.1, without its assumption of equal rates.

    Examples
    --------
    >>> float(tokens_per_cycle([0.8, 0.5]))
    2.2
    """
    alpha = _profile("acceptance_rate", acceptance_rate)
    # Horner from the last position: no cumulative array, 4 times faster than cumprod on a million profiles.
    tau = 1.0 + alpha[..., -1]
    for i in range(alpha.shape[-1] - 2, -1, -1):
        tau = 1.0 + alpha[..., i] * tau
    return np.asarray(tau, dtype=np.float64)


def to_cumulative(acceptance_rate: ArrayLike) -> FloatArray:
    """Conditional -> cumulative rates along the last axis.

    Examples
    --------
    >>> to_cumulative([0.8, 0.5]).tolist()
    [0.8, 0.4]
    """
    return np.cumprod(_profile("acceptance_rate", acceptance_rate), axis=-1, dtype=np.float64)


def to_conditional(cumulative_rate: ArrayLike) -> FloatArray:
    """Cumulative -> conditional rates along the last axis; 0 after a position that is never reached.

    Raises
    ------
    InputError
        When a rate rises along the axis: then it is not cumulative.

    Examples
    --------
    >>> to_conditional([0.8, 0.4, 0.0, 0.0]).tolist()
    [0.8, 0.5, 0.0, 0.0]
    """
    rate = _profile("cumulative_rate", cumulative_rate)
    rises = np.diff(rate, axis=-1) > 1e-12
    if rises.any():
        value = rate[..., 1:][rises].flat[0]
        raise fail(
            "cumulative_rate", value, "must not exceed the position before it", "are these rates conditional?"
        )
    before = np.concatenate([np.ones_like(rate[..., :1]), rate[..., :-1]], axis=-1)
    rates: FloatArray = np.divide(rate, before, out=np.zeros_like(rate), where=before > 0)
    return np.minimum(rates, 1.0)


def extend(acceptance_rate: ArrayLike, draft_len: int) -> FloatArray:
    """First ``draft_len`` positions of a profile; one that is shorter repeats its last value.

    Examples
    --------
    >>> extend([0.8, 0.6], 4).tolist(), extend(0.7, 2).tolist()
    ([0.8, 0.6, 0.6, 0.6], [0.7, 0.7])
    """
    alpha = _profile("acceptance_rate", np.atleast_1d(np.asarray(acceptance_rate, dtype=np.float64)))
    length = int(whole("draft_len", draft_len, 1))
    return np.asarray(alpha[..., np.minimum(np.arange(length), alpha.shape[-1] - 1)])


def cycle_distribution(acceptance_rate: ArrayLike) -> FloatArray:
    """Exact probabilities of 1, 2, ..., draft_len + 1 tokens in a cycle.

    Returns
    -------
    Shape (..., draft_len + 1); entry i is the probability of i + 1 tokens, and each row sums to 1.

    Examples
    --------
    >>> cycle_distribution([0.8, 0.5]).round(3).tolist()
    [0.2, 0.4, 0.4]
    """
    reached = to_cumulative(acceptance_rate)
    edge = np.ones_like(reached[..., :1])
    return -np.diff(np.concatenate([edge, reached, 0 * edge], axis=-1), axis=-1)


def cycle_quantile(acceptance_rate: ArrayLike, probability: float) -> FloatArray:
    """Smallest number of tokens n with P(tokens <= n) >= probability, per profile.

    Examples
    --------
    >>> float(cycle_quantile([0.8, 0.5], 0.5)), float(cycle_quantile([0.8, 0.5], 0.99))
    (2.0, 3.0)
    """
    wanted = float(in_range("probability", probability, 0, 1))
    below = np.cumsum(cycle_distribution(acceptance_rate), axis=-1) < wanted - 1e-12
    return np.asarray(np.minimum(below.sum(axis=-1) + 1.0, below.shape[-1]))


def rank_profile(acceptance_rate: ArrayLike, top_k: int, *, exponent: float = RANK_EXPONENT) -> FloatArray:
    """Rank probabilities of a draft of which only the top-1 rate is known: the default law.

    The odds that the target's token is among the draft's first r choices are ``r**exponent`` times the odds that
    it is the first: a log-logistic distribution over ranks, whose first value is ``acceptance_rate``.

    Parameters
    ----------
    acceptance_rate
        Top-1 rates, shape (...), in [0, 1]; for a profile over positions the last axis is the depth.
    top_k
        Ranks wanted, at least 1.
    exponent
        In (0, 1], so that probabilities fall with the rank.

    Returns
    -------
    Shape (..., top_k), each row falling, its sum at most 1.

    Notes
    -----
    Source: fitted by least squares on top-2..5 accuracies of the five Medusa-1 heads of Vicuna-7B, 13B and 33B
    (FasterDecoding/Medusa, assets/medusa_acc.csv) and the first ten ranks of Sequoia's acceptance vector
    (Infini-AI-Lab/Sequoia, acceptance-rate-vector.pt). Error of the top-r accuracy: 1.1 points root mean square,
    2.5 at most, over top-1 rates 0.12-0.63; Sequoia's ranks 11-32, not used, within 2.2. Rival one-parameter laws
    (geometric, 1 - (1 - a)^(1 + c (r - 1)), 1 - (1 - a) r^(-c a), ...) err 1.7 to 5 times as much.

    Examples
    --------
    >>> rank_profile(0.6, 4).round(3).tolist()
    [0.6, 0.105, 0.054, 0.034]
    """
    alpha = in_range("acceptance_rate", acceptance_rate, 0, 1)[..., None]
    c = float(in_range("exponent", exponent, 0, 1, above=True))
    ranks = np.arange(1.0, int(whole("top_k", top_k, 1)) + 1)
    # alpha r^c / (1 - alpha + alpha r^c) is the odds law without dividing by 1 - alpha.
    weight = alpha * ranks**c
    within = weight / (1.0 - alpha + weight)
    first = np.broadcast_to(within[..., :1], (*within.shape[:-1], 1))
    return np.concatenate([first, np.diff(within, axis=-1)], axis=-1)


def check_rank_profile(probability: ArrayLike, *, name: str = "rank_probability") -> FloatArray:
    """Return a rank profile (..., depth, ranks) as float64; refuse values or sums over ranks outside [0, 1].

    Examples
    --------
    >>> check_rank_profile([[0.7, 0.5]])
    Traceback (most recent call last):
        ...
    scylla_sim.checks.InputError: rank_probability=1.2 must sum to at most 1 over the ranks of a depth
    """
    p = in_range(name, probability, 0, 1)
    if p.ndim < 2 or 0 in p.shape[-2:]:
        raise fail(name, p.shape, "must have the shape (depth, ranks)")
    total = p.sum(axis=-1)
    if (total > 1 + 1e-9).any():
        raise fail(name, round(float(total.max()), 6), "must sum to at most 1 over the ranks of a depth")
    return p


def solve_rate(
    tokens_per_cycle: ArrayLike, tau_of: Callable[[FloatArray], FloatArray], *, hint: str = ""
) -> FloatArray:
    """One-parameter profile that yields a given tau: inverts a rising tau(alpha) by bisection, vectorised.

    Parameters
    ----------
    tokens_per_cycle
        Wanted tau, any shape.
    tau_of
        Rising function of an array of rates in [0, 1], same shape out.

    Raises
    ------
    InputError
        When the wanted tau lies outside [tau_of(0), tau_of(1)]: this drafting configuration cannot give it.

    Examples
    --------
    >>> float(solve_rate(2.0, lambda a: 1 + a + a * a).round(6))
    0.618034
    """
    wanted = in_range("tokens_per_cycle", tokens_per_cycle, 1)
    low, high = np.zeros(wanted.shape), np.ones(wanted.shape)
    top = tau_of(high)
    if (wanted > top + 1e-9).any():
        limit = float(np.max(top))
        raise fail(
            "tokens_per_cycle",
            float(np.max(wanted)),
            f"exceeds {limit:g}, the most this draft can yield",
            hint or "draft longer, or verify more tokens",
        )
    for _ in range(50):
        middle = (low + high) / 2
        below = tau_of(middle) < wanted
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return np.asarray((low + high) / 2)


def iid_rate(tokens_per_cycle: ArrayLike, draft_len: int) -> FloatArray:
    """The single rate with which a chain of ``draft_len`` yields ``tokens_per_cycle``.

    Examples
    --------
    >>> float(iid_rate(3.3616, 4).round(6))
    0.8
    """
    return solve_rate(tokens_per_cycle, lambda alpha: iid_tokens_per_cycle(alpha, draft_len))


def rates_from_counts(
    accepted: ArrayLike, drafted: ArrayLike, *, level: float = 0.9
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Conditional rates from counts per position, with equal-tailed Jeffreys intervals.

    Parameters
    ----------
    accepted, drafted
        Cycles in which the position was accepted, and in which it was reached; they broadcast.
    level
        Coverage of the interval, in (0, 1).

    Returns
    -------
    rate, lower, upper
        ``rate`` is accepted / drafted; the interval is of Beta(accepted + 1/2, drafted - accepted + 1/2), closed at
        0 or 1 where no or every draft was accepted.

    Notes
    -----
    Source: Brown, Cai and DasGupta, "Interval estimation for a binomial proportion", Stat. Sci. 16 (2001), 4.3.

    Examples
    --------
    >>> rate, lower, upper = rates_from_counts([80, 40], [100, 80])
    >>> rate.tolist(), lower.round(3).tolist(), upper.round(3).tolist()
    ([0.8, 0.5], [0.728, 0.409], [0.859, 0.591])
    """
    hits, tries = np.broadcast_arrays(whole("accepted", accepted, 0), whole("drafted", drafted, 1))
    if (hits > tries).any():
        raise fail("accepted", int(hits[hits > tries].flat[0]), "must not exceed drafted")
    tail = (1.0 - float(in_range("level", level, 0, 1))) / 2
    a, b = hits + 0.5, tries - hits + 0.5
    lower = np.where(hits == 0, 0.0, beta_quantile(tail, a, b))
    upper = np.where(hits == tries, 1.0, beta_quantile(1.0 - tail, a, b))
    return hits / tries, lower, upper


def iid_tokens_per_cycle(acceptance_rate: ArrayLike, draft_len: ArrayLike) -> FloatArray:
    """Mean tokens per cycle with one rate at every position: (1 - alpha^(gamma + 1)) / (1 - alpha).

    ``acceptance_rate`` and ``draft_len`` broadcast; alpha = 1 gives draft_len + 1.

    Notes
    -----
    Source: Leviathan et al., arXiv 2211.17192, Eq. 1.

    Examples
    --------
    >>> iid_tokens_per_cycle([0.0, 0.8, 1.0], 4).round(4).tolist()
    [1.0, 3.3616, 5.0]
    """
    alpha = in_range("acceptance_rate", acceptance_rate, 0, 1)
    gamma = whole("draft_len", draft_len, 0)
    alpha, terms = np.broadcast_arrays(alpha, gamma + 1.0)
    inside = np.clip(alpha, 1e-300, 1 - 1e-12)
    # expm1 keeps the digits that 1 - alpha^n loses near 1.
    tau = -np.expm1(terms * np.log(inside)) / (1.0 - inside)
    return np.asarray(np.where(alpha >= 1 - 1e-12, terms, np.where(alpha <= 0, 1.0, tau)), dtype=np.float64)
