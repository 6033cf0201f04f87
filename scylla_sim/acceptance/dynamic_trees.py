"""Tokens per cycle of dynamic draft trees, which follow the confidence of the draft in each context.

A static tree has the same nodes in every context. EAGLE-2 grows each tree by the draft's own confidence. In the
model of this module, every context belongs to a class of difficulty that the draft recognizes. Contexts are
independent. The top-1 rate has a Beta distribution over the classes. ``confidence`` is the share of the uncertainty
about acceptance that the draft recognizes. At 0 the dynamic tree equals the static tree; at 1 the draft knows
whether a token is accepted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from scylla_sim.acceptance.profiles import RANK_EXPONENT, rank_profile
from scylla_sim.checks import FloatArray, fail, in_range, whole
from scylla_sim.stats.quantiles import beta_quantile, incomplete_beta

CONFIDENCE = 0.3
"""Default confidence, fitted to published tau of the same EAGLE heads (A100, temperature 0).

===========  ==================  ===================  ====================  ===========
Target       Fixed, 25 nodes     Best fixed, 60       Dynamic, 60 nodes     Predicted
===========  ==================  ===================  ====================  ===========
Vicuna-7B    3.58                4.11 (calculated)    4.34                  fitted
Vicuna-13B   3.64                                     4.43                  4.43
===========  ==================  ===================  ====================  ===========

The value belongs to the default exponent over positions. With one rate for all depths, 0.1 fits both targets
equally well. Source: leaderboard of hemingkx/Spec-Bench.
"""

NUM_CLASSES = 16
"""Number of equally likely classes of contexts."""

MIN_CONFIDENCE = 1e-4
"""Smallest confidence that differs from 0; below it, the quantiles of the Beta distribution lose digits."""

_CALIBRATION_RANKS = 10

MAX_SAMPLES = 100_000
"""Most contexts of a simulated dynamic tree; they all lie in memory at once."""


@dataclass(frozen=True)
class Mixture:
    """Equally likely classes of contexts at each depth.

    Attributes
    ----------
    rank_probability
        Rank profile of each class, shape (classes, depth, ranks).
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
        """Rank profile averaged over contexts, shape (depth, ranks); a static tree of the same draft has it."""
        return np.asarray(self.rank_probability.mean(axis=0))


def _class_rates(mean: float, confidence: float) -> FloatArray:
    """Return the mean top-1 rate in each of `NUM_CLASSES` equally likely slices of a Beta distribution."""
    if confidence < MIN_CONFIDENCE or mean <= 0 or mean >= 1:
        return np.full(NUM_CLASSES, mean)
    size = 1.0 / confidence - 1.0
    a, b = max(mean * size, 1e-6), max((1 - mean) * size, 1e-6)
    edges = beta_quantile(np.arange(NUM_CLASSES + 1) / NUM_CLASSES, a, b)
    edges[0], edges[-1] = 0.0, 1.0
    # E[X; X in slice] of Beta(a, b) is the mean times the slice's mass under Beta(a + 1, b).
    return np.clip(mean * np.diff(incomplete_beta(edges, a + 1, b)) * NUM_CLASSES, 0.0, 1.0)


def _within_exponent(rates: FloatArray, mean: float) -> float:
    """Return the rank exponent within classes at which the average over classes follows the default rank law.

    The average over classes has a flatter law than the classes, so their exponent is larger. Above 1 the
    probabilities no longer fall with the rank.
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


def mixture_of(acceptance_rate: ArrayLike, top_k: int, *, confidence: float = CONFIDENCE) -> Mixture:
    """Return the mixture whose average context has given conditional rates and the default rank law.

    Parameters
    ----------
    acceptance_rate
        Conditional rates over positions, shape (depth,).
    top_k
        Number of ranks.
    confidence
        Variance of a class's rate divided by its largest possible value, mean (1 - mean); in [0, 1).

    Raises
    ------
    InputError
        For rates that are not one profile, or for numbers out of range.

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
    """Return tau of EAGLE-2's dynamic tree and its standard error, over random contexts.

    At each depth, the ``top_k`` candidates with the highest path confidence get ``top_k`` children each. The target
    verifies the ``verify_tokens - 1`` best of all candidates. Every sampled tree contributes its exact tau, so only
    the sampling of contexts adds noise.

    Parameters
    ----------
    mixture
        Classes of contexts.
    top_k
        Candidates kept per depth, and children of each.
    verify_tokens
        Tokens that the target verifies, root included.
    samples
        Number of trees, at least 2.
    seed
        Seed of the random generator.

    Returns
    -------
    tau, standard_error : float
        Mean over the trees, and its standard error.

    Raises
    ------
    InputError
        For more ranks or tokens than the mixture and the beam provide.

    Notes
    -----
    Source: Li et al. (EAGLE-2), arXiv 2406.16858, expansion and reranking.

    Examples
    --------
    >>> certain = mixture_of([0.75, 0.65, 0.6, 0.55, 0.5], 4, confidence=0.0)
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
    taus = 1.0 - np.partition(-every, limit - 1, axis=1)[:, :limit].sum(axis=1)
    return float(taus.mean()), float(taus.std(ddof=1) / np.sqrt(count))
