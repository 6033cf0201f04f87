"""Counts of accepted tokens per position and their CSV file."""

import numpy as np
import pytest

from scylla_sim.acceptance import profiles
from scylla_sim.checks import InputError
from scylla_sim.engines.counts import Counts, total


def test_rates_are_conditional_with_jeffreys_intervals():
    over_all = Counts(100, (80, 40, 10))
    known = profiles.rates_from_counts([80, 40, 10], [100, 80, 40])
    for end in ("value", "lower", "upper"):
        assert getattr(over_all.rates(), end) == pytest.approx(getattr(known, end))


def test_a_position_that_no_cycle_reached_has_the_widest_interval():
    rate = Counts(cycles=10, accepted=(4, 0, 0)).rates()
    assert (rate.value[2], rate.lower[2], rate.upper[2]) == (0, 0, 1)


def test_interval_of_tau_contains_the_true_value():
    """In 400 runs of 300 cycles from a known chain, 86 to 94 % of the 90 % intervals contain tau."""
    rng, rates = np.random.default_rng(5), np.array([0.8, 0.6, 0.7])
    true = float(profiles.tokens_per_cycle(rates))
    held = 0
    for _ in range(400):
        reached = np.cumprod(rng.random((300, 3)) < rates, axis=1).sum(axis=0)
        tau = Counts(300, tuple(reached.tolist())).tokens_per_cycle()
        held += bool(tau.lower <= true <= tau.upper)
    assert 0.86 < held / 400 < 0.94


def test_a_mean_draft_counts_as_the_next_length():
    assert Counts(100, (60, 30, 10), drafted=290).draft_len == 3
    assert Counts(100, (60, 30, 10), drafted=201).draft_len == 2, "within one percent of two"
    assert Counts(100, (60, 30, 10), drafted=210).draft_len == 3


def test_counts_that_rise_are_refused():
    with pytest.raises(InputError, match="must fall from cycles=10"):
        Counts(10, (12,))


def test_the_sum_of_records_keeps_their_drafted_tokens():
    parts = [Counts(10, (7, 4)), Counts(20, (9, 2), drafted=30)]
    assert (total(parts).total_drafted, total(parts).cycles, total(parts).accepted) == (50, 30, (16, 6))
    assert total([parts[0], parts[0]]).drafted is None
