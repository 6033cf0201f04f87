"""Tau of a draft at another shape than that of its measurement, by the law over positions of its method."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from scylla_sim.acceptance import profiles, tree_search, trees
from scylla_sim.acceptance.draft_shape import DraftShape, chain_shape, reference
from scylla_sim.acceptance.measured import MeasuredAcceptance
from scylla_sim.acceptance.position_fit import TAU_NOISE
from scylla_sim.acceptance.positions import PositionLaw, Z
from scylla_sim.checks import FloatArray, fail, number
from scylla_sim.stats.estimate import Estimate

TREE_STEPS = 32
"""Bisections of the rate of a tree, whose tau takes a millisecond to evaluate."""


def tau_of_profile(profile: FloatArray, s: DraftShape) -> float:
    """Return tau of conditional rates: for a chain, or for a beam tree with the default rank law."""
    if s.top_k == 1:
        return float(profiles.tokens_per_cycle(profile))
    ranks = profiles.rank_profile(profile, s.top_k)
    tree = tree_search.beam_tree(ranks, top_k=s.top_k, verify_tokens=s.verify_tokens)
    return float(trees.tokens_per_cycle(tree, ranks))


def first_rate(tau: float, s: DraftShape, law: PositionLaw) -> float:
    """Return the rate at position 1 at which a shape yields ``tau``, with a law over positions."""
    if s.top_k == 1:
        return float(law.first_rate(tau, s.draft_len))

    def tau_of(rates: FloatArray) -> FloatArray:
        taus = [tau_of_profile(law.profile(float(rate), s.draft_len), s) for rate in rates.ravel()]
        return np.array(taus).reshape(rates.shape)

    return float(profiles.solve_rate(tau, tau_of, steps=TREE_STEPS))


def tau_at_rate(rate: float, shapes: Sequence[DraftShape], law: PositionLaw) -> list[float]:
    """Return tau of each shape for one rate at position 1 and a law over positions."""
    return [tau_of_profile(law.profile(rate, s.draft_len), s) for s in shapes]


def transfer(tau: float, source: DraftShape, target: DraftShape, law: PositionLaw) -> float:
    """Transfer tau from one shape to another by a law over positions.

    Examples
    --------
    >>> round(transfer(5.0, reference(), DraftShape(3, 1, 4), PositionLaw("eagle", 0.6, 0.2)), 2)
    3.09
    """
    if source == target:
        return tau
    return tau_at_rate(first_rate(tau, source, law), [target], law)[0]


def tau_from_reference(tau: float, shapes: Sequence[DraftShape], law: PositionLaw) -> list[float]:
    """Transfer tau at the `reference` tree to each shape; the rate is solved once for all of them."""
    return tau_at_rate(first_rate(tau, reference(), law), shapes, law)


def transferred(tau: Estimate, source: DraftShape, target: DraftShape, law: PositionLaw) -> Estimate:
    """Transfer tau and its ends from one shape to another, with the interval of a new measurement.

    The interval contains the spread of the law and the noise of a measured tau. An exact law has neither.

    Examples
    --------
    >>> law = PositionLaw("eagle3", 0.34, 0.26)
    >>> tau = transferred(Estimate.of(2.8, 2.8, 2.8), chain_shape(3), chain_shape(5), law)
    >>> [round(float(end), 2) for end in (tau.lower, tau.value, tau.upper)]
    [3.17, 3.3, 3.44]
    """
    if source == target:
        return tau
    value, lower, upper = (float(end) for end in (tau.value, tau.lower, tau.upper))

    def moved(given: float) -> float:
        return transfer(given, source, target, law)

    ends = (moved(lower) if lower < value else None, moved(upper) if upper > value else None)
    found = with_law(lambda one: transfer(value, source, target, one), law, ends)
    if law.spread == 0.0:
        return found
    longest, noise = min(target.draft_len, target.verify_tokens - 1) + 1.0, Z * TAU_NOISE
    centre, low, high = (float(end) for end in (found.value, found.lower, found.upper))
    down, up = float(np.hypot(centre - low, noise)), float(np.hypot(high - centre, noise))
    return Estimate.of(centre, max(centre - down, 1.0), min(centre + up, max(longest, centre)))


def with_law(
    tau_of: Callable[[PositionLaw], float], law: PositionLaw, ends: tuple[float | None, float | None]
) -> Estimate:
    """Return tau under a law, with the spread of the law and the given ends in quadrature."""
    value = tau_of(law)
    at_ends = [value] if law.spread == 0.0 else [tau_of(law.moved(-Z)), tau_of(law.moved(Z))]
    lower, upper = (value if end is None else end for end in ends)
    down = float(np.hypot(value - min(value, *at_ends), max(value - lower, 0.0)))
    up = float(np.hypot(max(value, *at_ends) - value, max(upper - value, 0.0)))
    return Estimate.of(value, value - down, value + up)


def _around(tau: float, spread: tuple[float, float] | None) -> Estimate:
    """Return tau with the interval of a relative spread of tau - 1."""
    lower, upper = (1.0, 1.0) if spread is None else spread
    return Estimate.of(tau, 1.0 + (tau - 1.0) * lower, 1.0 + (tau - 1.0) * upper)


def tau_of_measured(measured: MeasuredAcceptance, shape: DraftShape, law: PositionLaw) -> Estimate:
    """Return tau of a shape from measured acceptance, with its interval.

    The interval contains that of the measurement, and the spread of the law where the law is used.

    Parameters
    ----------
    measured
        Measured tau, or rates of the first positions. A tau without a draft length holds at ``shape``.
    shape
        Shape of the draft.
    law
        Law over positions of the draft's method.

    Raises
    ------
    InputError
        If nothing was measured, or for a tau above the tokens of its chain.

    Examples
    --------
    >>> tau = tau_of_measured(MeasuredAcceptance(2.8, 3), chain_shape(3), PositionLaw("eagle3", 0.34, 0.26))
    >>> float(tau.value), float(tau.upper)
    (2.8, 2.8)
    """
    rates, length = measured.rates, measured.tau_draft_len
    if measured.tokens_per_cycle is not None:
        longest = np.inf if length is None else length + 1.0
        given = _around(number("tokens_per_cycle", measured.tokens_per_cycle, 1, longest), measured.spread)
        return given if length is None else transferred(given, chain_shape(length), shape, law)
    if rates is None:
        raise fail("acceptance", None, "must be given", "or give tokens_per_cycle")

    def tau_of(one: PositionLaw) -> float:
        return tau_of_profile(one.continued(rates, shape.draft_len), shape)

    found = _around(tau_of(law), measured.spread)
    if rates.size >= shape.draft_len:
        return found
    return with_law(tau_of, law, (float(found.lower), float(found.upper)))
