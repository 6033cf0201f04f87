"""Dynamic draft trees: what a draft gains by knowing, context by context, how sure it is.

A static tree spends its nodes as the average context deserves. EAGLE-2 grows each tree by the draft's own
confidence. The model here: every context, drawn independently, belongs to a class of difficulty that the draft
recognises; its top-1 rate is Beta distributed over the classes. One number, ``confidence``, says how much of the
uncertainty about acceptance the draft can see: 0 is none (the dynamic tree is then the static one), 1 is all.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from scylla_sim.acceptance.positions import POSITION_EXPONENT, position_profile
from scylla_sim.acceptance.profiles import RANK_EXPONENT, rank_profile
from scylla_sim.checks import FloatArray, fail, in_range, whole
from scylla_sim.stats.quantiles import beta_quantile, incomplete_beta

CONFIDENCE = 0.3
"""Fitted to one step: the same EAGLE heads for Vicuna-7B give 3.58 with EAGLE's fixed 25-node tree and 4.34 with
EAGLE-2's dynamic 60-node tree (hemingkx/Spec-Bench leaderboard, A100, T = 0). The best fixed 60-node tree would
give 4.11, so the dynamics are worth 6 %. Vicuna-13B, not used, is met: 3.64 -> 4.43 published, 4.43 predicted. The
value goes with the default exponent over positions; with one rate for all depths 0.1 fits both targets as well."""

NUM_CLASSES = 16
MIN_CONFIDENCE = 1e-4
"""Below it a class's rate lies within 0.5 points of the mean; taken as 0, for the quantiles would lose digits."""
_CALIBRATION_RANKS = 10
MAX_SAMPLES = 100_000
"""Contexts of a simulated dynamic tree; all of them are held in memory at once."""


@dataclass(frozen=True)
class Mixture:
    """Equally likely classes of contexts at each depth.

    Attributes
    ----------
    rank_probability
        Shape (classes, depth, ranks): rank profile of a context by its class.
    """

    rank_probability: FloatArray

    def __post_init__(self) -> None:
        """Check the fields."""
        p = in_range("rank_probability", self.rank_probability, 0, 1)
        if p.ndim != 3:
            raise fail("rank_probability", p.shape, "must have the shape (classes, depth, ranks)")
        if (np.diff(p, axis=-1) > 1e-9).any():
            raise fail("rank_probability", p.shape, "must fall with the rank within every class")
        object.__setattr__(self, "rank_probability", p)

    @property
    def mean_profile(self) -> FloatArray:
        """Rank profile averaged over contexts, shape (depth, ranks): all that a static tree can use."""
        return np.asarray(self.rank_probability.mean(axis=0))


def _class_rates(mean: float, confidence: float) -> FloatArray:
    """Mean top-1 rate within each of `NUM_CLASSES` equally likely slices of a Beta distribution."""
    if confidence < MIN_CONFIDENCE or mean <= 0 or mean >= 1:
        return np.full(NUM_CLASSES, mean)
    size = 1.0 / confidence - 1.0
    a, b = max(mean * size, 1e-6), max((1 - mean) * size, 1e-6)
    edges = beta_quantile(np.arange(NUM_CLASSES + 1) / NUM_CLASSES, a, b)
    edges[0], edges[-1] = 0.0, 1.0
    # E[X; X in slice] of Beta(a, b) is the mean times the slice's mass under Beta(a + 1, b).
    return np.clip(mean * np.diff(incomplete_beta(edges, a + 1, b)) * NUM_CLASSES, 0.0, 1.0)


def _within_exponent(rates: FloatArray, mean: float) -> float:
    """Rank exponent within classes at which the average over classes follows the published law over ranks.

    Averaging flattens the law over ranks, so classes need a steeper one; 1 is the steepest that still falls.
    """
    if mean <= 0 or mean >= 1:
        return RANK_EXPONENT
    wanted = rank_profile(mean, _CALIBRATION_RANKS).sum()
    low, high = RANK_EXPONENT, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        below = rank_profile(rates, _CALIBRATION_RANKS, exponent=middle).sum(axis=-1).mean() < wanted
        low, high = (middle, high) if below else (low, middle)
    return high


def beta_mixture(
    first_rate: float,
    draft_len: int,
    top_k: int,
    *,
    confidence: float = CONFIDENCE,
    exponent: float = POSITION_EXPONENT,
) -> Mixture:
    """Mixture whose average context has the default laws over positions and ranks.

    Parameters
    ----------
    first_rate
        Mean top-1 rate at depth 1, in [0, 1]; deeper ones follow
        `scylla_sim.acceptance.positions.position_profile`.
    confidence
        Variance of the class's rate over its highest possible, mean (1 - mean); in [0, 1).

    Examples
    --------
    >>> mixture = beta_mixture(0.75, 3, 4, confidence=0.3)
    >>> mixture.mean_profile[:, 0].round(3).tolist()
    [0.75, 0.655, 0.592]
    """
    return mixture_of(position_profile(first_rate, draft_len, exponent=exponent), top_k, confidence=confidence)


def mixture_of(acceptance_rate: ArrayLike, top_k: int, *, confidence: float = CONFIDENCE) -> Mixture:
    """Mixture whose average context has given conditional rates over positions, shape (depth,), and the rank law.

    Examples
    --------
    >>> mixture_of([0.8, 0.6], 3).mean_profile[:, 0].round(3).tolist()
    [0.8, 0.6]
    """
    share = float(in_range("confidence", confidence, 0, 0.999))
    width = int(whole("top_k", top_k, 1))
    rates_by_depth = in_range("acceptance_rate", acceptance_rate, 0, 1)
    if rates_by_depth.ndim != 1 or not rates_by_depth.size:
        raise fail("acceptance_rate", rates_by_depth.shape, "must be one profile over positions")
    levels = []
    for mean in rates_by_depth.tolist():
        rates = _class_rates(mean, share)
        levels.append(rank_profile(rates, width, exponent=_within_exponent(rates, mean)))
    return Mixture(np.stack(levels, axis=1))


def dynamic_tokens_per_cycle(
    mixture: Mixture, *, top_k: int, verify_tokens: int, samples: int = 2000, seed: int = 0
) -> tuple[float, float]:
    """tau of EAGLE-2's dynamic tree, and its standard error, over random contexts.

    Each depth expands the ``top_k`` candidates of highest path confidence by ``top_k`` choices each; the
    ``verify_tokens - 1`` best of all are verified. Acceptance is integrated exactly in every sampled tree, so only
    the draw of contexts adds noise.

    Parameters
    ----------
    verify_tokens
        Root included.
    samples
        Trees averaged, at least 2.

    Notes
    -----
    Source: Li et al. (EAGLE-2), arXiv 2406.16858, expansion and reranking.

    Examples
    --------
    >>> certain = beta_mixture(0.75, 5, 4, confidence=0.0)
    >>> tau, error = dynamic_tokens_per_cycle(certain, top_k=4, verify_tokens=16, samples=10)
    >>> round(tau, 2), round(error, 6)
    (3.23, 0.0)
    """
    p = mixture.rank_probability
    classes, depth, ranks = p.shape
    k, count = int(whole("top_k", top_k, 1)), int(whole("samples", samples, 2, MAX_SAMPLES))
    if k > ranks:
        raise fail("top_k", k, f"exceeds the {ranks} ranks of the mixture")
    candidates = k + (depth - 1) * k * k
    limit = int(whole("verify_tokens", verify_tokens, 2)) - 1
    if limit > candidates:
        raise fail("verify_tokens", limit + 1, f"exceeds the {candidates + 1} tokens that this beam yields")
    rng = np.random.default_rng(int(whole("seed", seed, 0)))
    beam = np.ones((count, 1))
    values = []
    for level in range(depth):
        drawn = rng.integers(0, classes, size=beam.shape)
        grown = (beam[..., None] * p[drawn, level, :k]).reshape(count, -1)
        values.append(grown)
        beam = -np.partition(-grown, k - 1, axis=1)[:, :k]
    every = np.concatenate(values, axis=1)
    worth = 1.0 - np.partition(-every, limit - 1, axis=1)[:, :limit].sum(axis=1)
    return float(worth.mean()), float(worth.std(ddof=1) / np.sqrt(count))
