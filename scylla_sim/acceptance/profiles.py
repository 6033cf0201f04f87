"""Acceptance profiles: probabilities that drafted tokens are accepted, and the tokens per cycle they yield.

There are three kinds of profile:

=============  ==========================================================================================
Kind           Entry
=============  ==========================================================================================
conditional    P(position i is accepted, given that all positions before it are). EAGLE calls it n-alpha.
cumulative     P(positions 1 to i are all accepted): the cumulative product of conditional rates. vLLM
               logs this kind per position.
rank           P(the target's token is the draft's choice of rank r at depth d, given that the path above
               is accepted). Column 0 describes a chain; all columns describe a tree.
=============  ==========================================================================================

``tokens_per_cycle`` (tau) counts the bonus token, so the autoregressive baseline has tau 1. The last axis of an
array is the position. The last two axes of a rank profile are depth and rank. Leading axes hold independent
profiles.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

from scylla_sim.checks import FloatArray, fail, in_range, whole
from scylla_sim.stats.estimate import Estimate
from scylla_sim.stats.quantiles import beta_quantile

RANK_EXPONENT = 0.675
"""Exponent of the default rank law; see `rank_profile`."""


def _profile(name: str, value: ArrayLike) -> FloatArray:
    array = in_range(name, value, 0, 1)
    if array.ndim == 0 or array.shape[-1] == 0:
        raise fail(name, value, "must have at least one position", "write it as a list, for example 0.7,0.6")
    return array


def tokens_per_cycle(acceptance_rate: ArrayLike) -> FloatArray:
    """Return the mean number of tokens per cycle of a chain, bonus token included.

    Parameters
    ----------
    acceptance_rate
        Conditional probabilities, shape (..., draft_len), in [0, 1].

    Returns
    -------
    ndarray
        tau, shape (...), in [1, draft_len + 1]: 1 + sum over i of alpha_1 ... alpha_i.

    Raises
    ------
    InputError
        For a probability outside [0, 1] or an empty profile.

    Notes
    -----
    Source: Leviathan et al., arXiv 2211.17192, section 3.1, generalized to unequal rates.

    Examples
    --------
    >>> float(tokens_per_cycle([0.8, 0.5]))
    2.2
    """
    alpha = _profile("acceptance_rate", acceptance_rate)
    # Horner's rule needs no cumulative array: 4 times faster than cumprod on a million profiles.
    tau = 1.0 + alpha[..., -1]
    for i in range(alpha.shape[-1] - 2, -1, -1):
        tau = 1.0 + alpha[..., i] * tau
    return np.asarray(tau, dtype=np.float64)


def to_cumulative(acceptance_rate: ArrayLike) -> FloatArray:
    """Return cumulative rates from conditional rates, along the last axis.

    Examples
    --------
    >>> to_cumulative([0.8, 0.5]).tolist()
    [0.8, 0.4]
    """
    return np.cumprod(_profile("acceptance_rate", acceptance_rate), axis=-1, dtype=np.float64)


def to_conditional(cumulative_rate: ArrayLike) -> FloatArray:
    """Return conditional rates from cumulative rates; 0 after a position that is never accepted.

    Raises
    ------
    InputError
        For rates that rise along the last axis; cumulative rates never rise.

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
    """Return the first ``draft_len`` positions of a profile; a shorter profile repeats its last value.

    Examples
    --------
    >>> extend([0.8, 0.6], 4).tolist(), extend(0.7, 2).tolist()
    ([0.8, 0.6, 0.6, 0.6], [0.7, 0.7])
    """
    alpha = _profile("acceptance_rate", np.atleast_1d(np.asarray(acceptance_rate, dtype=np.float64)))
    length = int(whole("draft_len", draft_len, 1))
    return np.asarray(alpha[..., np.minimum(np.arange(length), alpha.shape[-1] - 1)])


def cycle_distribution(acceptance_rate: ArrayLike) -> FloatArray:
    """Return the probabilities of 1, 2, ..., draft_len + 1 tokens in a cycle.

    Returns
    -------
    ndarray
        Shape (..., draft_len + 1). Entry i is the probability of i + 1 tokens; each row sums to 1.

    Examples
    --------
    >>> cycle_distribution([0.8, 0.5]).round(3).tolist()
    [0.2, 0.4, 0.4]
    """
    reached = to_cumulative(acceptance_rate)
    edge = np.ones_like(reached[..., :1])
    return -np.diff(np.concatenate([edge, reached, 0 * edge], axis=-1), axis=-1)


def cycle_quantile(acceptance_rate: ArrayLike, probability: float) -> FloatArray:
    """Return the smallest number of tokens n with P(tokens <= n) >= ``probability``.

    Examples
    --------
    >>> float(cycle_quantile([0.8, 0.5], 0.5)), float(cycle_quantile([0.8, 0.5], 0.99))
    (2.0, 3.0)
    """
    wanted = float(in_range("probability", probability, 0, 1))
    below = np.cumsum(cycle_distribution(acceptance_rate), axis=-1) < wanted - 1e-12
    return np.asarray(np.minimum(below.sum(axis=-1) + 1.0, below.shape[-1]))


def rank_profile(acceptance_rate: ArrayLike, top_k: int, *, exponent: float = RANK_EXPONENT) -> FloatArray:
    """Return rank probabilities from top-1 rates, by the default rank law.

    The odds that the target's token is among the first r choices of the draft are ``r**exponent`` times the odds
    that it is the first choice. This is a log-logistic distribution over ranks.

    Parameters
    ----------
    acceptance_rate
        Top-1 rates, shape (...), in [0, 1]. For a profile over positions, the last axis is the depth.
    top_k
        Number of ranks, at least 1.
    exponent
        Exponent of the law, in (0, 1]; probabilities then fall with the rank.

    Returns
    -------
    ndarray
        Shape (..., top_k). Each row falls, starts with the top-1 rate and sums to at most 1.

    Notes
    -----
    The exponent is a least-squares fit to two sources:

    * top-2 to top-5 accuracies of the five Medusa-1 heads of Vicuna-7B, 13B and 33B (FasterDecoding/Medusa,
      assets/medusa_acc.csv),
    * the first ten ranks of Sequoia's acceptance vector (Infini-AI-Lab/Sequoia, acceptance-rate-vector.pt).

    ====================================  ===========================
    Data                                  Error of the top-r accuracy
    ====================================  ===========================
    fitted, top-1 rates 0.12 to 0.63      1.1 points RMS, 2.5 at most
    held out, Sequoia's ranks 11 to 32    2.2 points at most
    ====================================  ===========================

    Other laws with one parameter, such as the geometric law, have 1.7 to 5 times larger errors.

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
    """Return a rank profile as float64, shape (..., depth, ranks).

    Raises
    ------
    InputError
        For values outside [0, 1], or for ranks of one depth that sum to more than 1.

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
    tokens_per_cycle: ArrayLike,
    tau_of: Callable[[FloatArray], FloatArray],
    *,
    hint: str = "",
    steps: int = 50,
) -> FloatArray:
    """Return the rates at which a rising function yields given values of tau, by bisection.

    Parameters
    ----------
    tokens_per_cycle
        Values of tau, any shape.
    tau_of
        Rising function from an array of rates in [0, 1] to an array of tau of the same shape.
    hint
        Advice in the error message.
    steps
        Bisections; the rate is exact to ``2**-steps``.

    Raises
    ------
    InputError
        For a tau above ``tau_of(1)``.

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
    for _ in range(steps):
        middle = (low + high) / 2
        below = tau_of(middle) < wanted
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return np.asarray((low + high) / 2)


def iid_rate(tokens_per_cycle: ArrayLike, draft_len: int) -> FloatArray:
    """Return the acceptance rate, equal at every position, at which a chain yields a given tau.

    Examples
    --------
    >>> float(iid_rate(3.3616, 4).round(6))
    0.8
    """
    return solve_rate(tokens_per_cycle, lambda alpha: iid_tokens_per_cycle(alpha, draft_len))


def rates_from_counts(accepted: ArrayLike, drafted: ArrayLike, *, level: float = 0.9) -> Estimate:
    """Return conditional rates from counts per position, with Jeffreys intervals.

    Parameters
    ----------
    accepted, drafted
        Number of cycles that accepted the position, and that reached it; they broadcast.
    level
        Coverage of the interval, in (0, 1).

    Returns
    -------
    Estimate
        ``rate`` is accepted / drafted. The ends are quantiles of Beta(accepted + 1/2, drafted - accepted + 1/2).
        The interval ends at 0 if no draft was accepted, and at 1 if every draft was.

    Notes
    -----
    Source: Brown, Cai and DasGupta, "Interval estimation for a binomial proportion", Stat. Sci. 16 (2001), 4.3.

    Examples
    --------
    >>> rate = rates_from_counts([80, 40], [100, 80])
    >>> rate.value.tolist(), rate.lower.round(3).tolist(), rate.upper.round(3).tolist()
    ([0.8, 0.5], [0.728, 0.409], [0.859, 0.591])
    """
    hits, tries = np.broadcast_arrays(whole("accepted", accepted, 0), whole("drafted", drafted, 1))
    if (hits > tries).any():
        raise fail("accepted", int(hits[hits > tries].flat[0]), "must not exceed drafted")
    tail = (1.0 - float(in_range("level", level, 0, 1))) / 2
    a, b = hits + 0.5, tries - hits + 0.5
    lower = np.where(hits == 0, 0.0, beta_quantile(tail, a, b))
    upper = np.where(hits == tries, 1.0, beta_quantile(1.0 - tail, a, b))
    return Estimate(hits / tries, lower, upper)


def iid_tokens_per_cycle(acceptance_rate: ArrayLike, draft_len: ArrayLike) -> FloatArray:
    """Return tau for one rate at every position: (1 - alpha^(gamma + 1)) / (1 - alpha).

    ``acceptance_rate`` (alpha) and ``draft_len`` (gamma) broadcast. alpha = 1 gives draft_len + 1.

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
