"""Rank profiles that move with training tokens and decoder layers.

More training raises the probability of every choice. On the scale of log-odds, it moves all ranks of one depth by
the same amount. With F the probability that the target's token is among the first r choices at depth i,

    ln(F / (1 - F)) = base[i, r] + slopes[i] . terms(t, d),    t = ln(T / T0),    d = ln D

for T training tokens and D layers. This is the proportional-odds model of ordered choices. A few measured drafts
therefore give the profile of another one, and with it every chain and tree. In the law ``by-rank``, every rank has
its own slopes.

Source: McCullagh, "Regression models for ordinal data", J. R. Stat. Soc. B 42 (1980), section 2.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scylla_sim.acceptance.profiles import check_rank_profile
from scylla_sim.acceptance.side_branches import branch_tokens_of_trees, from_log_odds, to_log_odds
from scylla_sim.acceptance.trees import DraftTree
from scylla_sim.checks import FloatArray, fail, in_range, one_of

_EXPONENTS = tuple(np.linspace(0.05, 1.0, 20).round(2).tolist())


@dataclass(frozen=True)
class ShiftForm:
    """A law of the shift.

    Attributes
    ----------
    formula
        Formula in t and d; u is exp(-p t), a power of the training tokens.
    terms
        Function of t, d and u that returns the terms.
    exponents
        Values of p that a fit tries; one value if the law has no u.
    by_rank
        Whether every rank has its own slopes; otherwise the ranks of a depth share them.
    """

    formula: str
    terms: Callable[[FloatArray, FloatArray, FloatArray], Sequence[FloatArray]]
    exponents: tuple[float, ...] = (0.0,)
    by_rank: bool = False


SHIFTS = {
    "sum": ShiftForm("a t + b d", lambda t, d, u: (t, d)),
    "interaction": ShiftForm("a t + b d + e t d", lambda t, d, u: (t, d, t * d)),
    "curved": ShiftForm("a t + g t^2 + b d + e t d", lambda t, d, u: (t, t**2, d, t * d)),
    "power": ShiftForm("-a u + b d", lambda t, d, u: (-u, d), _EXPONENTS),
    "power-interaction": ShiftForm("-a u + b d - e u d", lambda t, d, u: (-u, d, -u * d), _EXPONENTS),
    "by-rank": ShiftForm("-a[r] u + b[r] d - e[r] u d", lambda t, d, u: (-u, d, -u * d), _EXPONENTS, by_rank=True),
}
"""Laws of the shift by name. Add a new law here. The powers saturate with more tokens, the others do not."""


@dataclass(frozen=True)
class TrainedProfiles:
    """Measured rank profiles of drafts by training tokens and layers.

    Attributes
    ----------
    tokens, layers
        Arrays of shape (n,), above 0 and at least 1.
    profile
        Rank profiles after first choices, shape (n, depth, ranks).
    cycles
        Cycles that reached each depth, shape (n, depth).
    """

    tokens: FloatArray
    layers: FloatArray
    profile: FloatArray
    cycles: FloatArray

    def __post_init__(self) -> None:
        """Check ranges and sizes."""
        in_range("tokens", self.tokens, 0, above=True)
        in_range("layers", self.layers, 1)
        check_rank_profile(self.profile, name="profile")
        if self.profile.shape[:-1] != self.cycles.shape or self.tokens.shape != self.layers.shape:
            raise fail("cycles", self.cycles.shape, "must have one number for each depth of each profile")
        if self.profile.shape[:1] != self.tokens.shape:
            raise fail(
                "profile", self.profile.shape, f"must have one profile for each of {self.tokens.size} drafts"
            )

    def part(self, kept: NDArray[np.bool_]) -> TrainedProfiles:
        """Return the drafts of a mask."""
        return TrainedProfiles(self.tokens[kept], self.layers[kept], self.profile[kept], self.cycles[kept])


@dataclass(frozen=True)
class ProfileShift:
    """A law of the shift, fitted to profiles.

    Attributes
    ----------
    form
        Name of the law in `SHIFTS`.
    unit
        T0, the tokens at which t is 0.
    exponent
        Exponent p of the tokens, 0 if the law has none.
    base
        Log-odds at t = d = 0, shape (depth, ranks).
    slopes
        Slopes of the terms, shape (depth, ranks, terms).
    """

    form: str
    unit: float
    exponent: float
    base: FloatArray
    slopes: FloatArray

    def log_odds(self, tokens: ArrayLike, layers: ArrayLike) -> FloatArray:
        """Return the log-odds of drafts, shape (..., depth, ranks); ``tokens`` and ``layers`` broadcast."""
        terms = _terms(self.form, np.asarray(tokens, dtype=np.float64) / self.unit, layers, self.exponent)
        return np.asarray(self.base + np.einsum("...k,drk->...dr", terms, self.slopes))

    def profile(self, tokens: ArrayLike, layers: ArrayLike) -> FloatArray:
        """Return the rank profiles of drafts, shape (..., depth, ranks)."""
        return from_log_odds(self.log_odds(tokens, layers))


def _terms(form: str, ratio: ArrayLike, layers: ArrayLike, exponent: float) -> FloatArray:
    """Return the terms of a law, shape (..., terms), for tokens in units of T0."""
    t, d = np.broadcast_arrays(np.log(ratio), np.log(np.asarray(layers, dtype=np.float64)))
    return np.stack(SHIFTS[form].terms(t, d, np.exp(-exponent * t)), axis=-1)


def fit_shift(drafts: TrainedProfiles, form: str) -> ProfileShift:
    """Fit a law of the shift by least squares of log-odds, weighted by their binomial variance.

    Every depth has its own slopes. All its ranks share them, unless the law is one by rank.

    Parameters
    ----------
    drafts
        At least two more drafts than the law has terms.
    form
        Name of the law in `SHIFTS`.

    Raises
    ------
    InputError
        For an unknown law, or too few drafts.

    Examples
    --------
    >>> tokens, layers = np.array([1.0, 2, 4, 1, 2, 4]), np.array([1.0, 1, 1, 2, 2, 2])
    >>> odds = 0.5 * np.log(tokens) + 0.2 * np.log(layers)
    >>> first = 1 / (1 + np.exp(-odds))
    >>> drafts = TrainedProfiles(tokens, layers, first[:, None, None], np.full((6, 1), 1e6))
    >>> fit_shift(drafts, "sum").slopes.round(3).tolist()
    [[[0.5, 0.2]]]
    """
    law = SHIFTS[one_of("form", form, SHIFTS)]
    unit = float(drafts.tokens.min())
    odds = to_log_odds(drafts.profile, drafts.cycles)
    within = 1.0 / (1.0 + np.exp(-odds))
    weight = drafts.cycles[..., None] * within * (1.0 - within)
    found = []
    for exponent in law.exponents:
        terms = _terms(form, drafts.tokens / unit, drafts.layers, exponent)
        if len(terms) < terms.shape[-1] + 2:
            raise fail("drafts", len(terms), f"must be at least {terms.shape[-1] + 2} for {form}, {law.formula}")
        found.append((*_solved(terms, odds, weight, law.by_rank), exponent))
    _, base, slopes, exponent = min(found, key=lambda one: one[0])
    return ProfileShift(form, unit, exponent, base, slopes)


def _solved(
    terms: FloatArray, odds: FloatArray, weight: FloatArray, by_rank: bool
) -> tuple[float, FloatArray, FloatArray]:
    """Return the weighted sum of squares, base (depth, ranks) and slopes (depth, ranks, terms) of the best fit."""
    total = weight.sum(0)
    mean = (odds * weight).sum(0) / total
    middle = np.einsum("idr,ik->drk", weight, terms) / total[..., None]
    moved, high = terms[:, None, None, :] - middle, odds - mean
    square = np.einsum("idr,idrk,idrl->drkl", weight, moved, moved)
    product = np.einsum("idr,idrk,idr->drk", weight, moved, high)
    if not by_rank:
        square, product = (np.broadcast_to(one.sum(1, keepdims=True), one.shape) for one in (square, product))
    slopes = np.linalg.solve(square, product[..., None])[..., 0]
    rest = high - np.einsum("idrk,drk->idr", moved, slopes)
    return float((weight * rest**2).sum()), mean - np.einsum("drk,drk->dr", middle, slopes), slopes


def fit_branch_shift(
    trees: Sequence[DraftTree], tau: ArrayLike, profile: FloatArray, *, largest: float = 2.0, steps: int = 81
) -> float:
    """Return the fall of the log-odds in side branches with the smallest squared relative error of trees.

    Parameters
    ----------
    trees
        Measured trees.
    tau
        Their tokens per cycle by draft, shape (n, trees).
    profile
        Rank profile of each draft, shape (n, depth, ranks).
    largest, steps
        End and number of the values that are tried, from 0.
    """
    measured = np.asarray(tau, dtype=np.float64)
    tried = np.linspace(0.0, largest, steps)
    found = branch_tokens_of_trees(trees, profile, tried[:, None])
    return float(tried[np.argmin(((found / measured - 1.0) ** 2).sum(axis=(1, 2)))])


def nearest(drafts: TrainedProfiles, tokens: float, layers: float) -> int:
    """Return the index of the measured draft that is nearest in the logarithms of tokens and layers."""
    far = np.hypot(np.log(drafts.tokens / tokens), np.log(drafts.layers / layers))
    return int(np.argmin(far))
