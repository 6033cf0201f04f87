"""Properties of the decay over positions, over random profiles."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scylla_sim.acceptance import position_fit, positions, profiles, tau_transfer
from scylla_sim.acceptance.draft_shape import chain_shape
from scylla_sim.stats.estimate import Estimate

rates = st.floats(0.01, 0.99)
exponents = st.floats(0, 3)


@given(rates, exponents, st.integers(1, 20))
def test_rates_fall_from_the_first_and_stay_probabilities(rate, exponent, gamma):
    profile = positions.position_profile(rate, gamma, exponent=exponent)
    assert profile[0] == pytest.approx(rate)
    assert (np.diff(profile) <= 1e-12).all()
    assert ((profile >= 0) & (profile <= 1)).all()


@given(rates, rates, exponents, st.integers(1, 12))
def test_a_better_first_rate_is_better_everywhere(one, other, exponent, gamma):
    low, high = (positions.position_profile(r, gamma, exponent=exponent) for r in sorted((one, other)))
    assert (low <= high + 1e-12).all()


@settings(deadline=None)
@given(st.floats(0.05, 0.95), st.floats(0, 1.5), st.integers(1, 7))
def test_tau_to_profile_and_back_restores_tau(rate, exponent, gamma):
    tau = float(profiles.tokens_per_cycle(positions.position_profile(rate, gamma, exponent=exponent)))
    found = position_fit.fit_decay(gamma, tau, exponent=exponent)
    assert profiles.tokens_per_cycle(found.profile(gamma)) == pytest.approx(tau, abs=1e-5)
    assert found.first_rate == pytest.approx(rate, abs=1e-4)


@settings(deadline=None)
@given(st.floats(0.05, 0.95), st.integers(1, 4), st.integers(1, 8))
def test_interval_contains_the_value_and_stays_possible(rate, known, asked):
    tau = float(profiles.tokens_per_cycle(positions.position_profile(rate, known, exponent=0.66)))
    found = position_fit.fit_decay(known, tau).predict(asked)
    value, lower, upper = found.value, found.lower, found.upper
    assert 1 <= lower <= value <= upper <= asked + 1


METHODS = sorted(positions.laws())


@settings(deadline=None)
@given(st.sampled_from(METHODS), st.floats(0.02, 0.98), st.integers(1, 8), st.integers(1, 12))
def test_the_law_reproduces_the_measured_length_and_stays_possible(method, share, known, asked):
    law, tau = positions.law_of(method), 1 + share * known
    there = float(law.tokens_per_cycle(tau, known, asked))
    assert 1 <= there <= asked + 1
    assert law.tokens_per_cycle(there, asked, known) == pytest.approx(tau, abs=1e-4 * known)
    found = tau_transfer.transferred(Estimate.of(tau, tau, tau), chain_shape(known), chain_shape(asked), law)
    assert found.lower <= found.value <= found.upper
    if asked == known:
        assert float(found.lower) == float(found.upper) == tau


@given(st.sampled_from(METHODS), st.lists(rates, min_size=1, max_size=6), st.integers(1, 12))
def test_given_positions_are_kept_and_more_deviations_accept_more(method, given_rates, length):
    law = positions.law_of(method)
    profile = law.continued(given_rates, length)
    kept = min(len(given_rates), length)
    assert profile[:kept].tolist() == given_rates[:kept]
    assert ((profile >= 0) & (profile <= 1)).all()
    assert (law.moved(1.0).continued(given_rates, length) >= profile - 1e-12).all()
