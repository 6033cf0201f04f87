"""Counts of accepted tokens per position and their CSV file."""

import numpy as np
import pytest

from scylla_sim.acceptance import profiles
from scylla_sim.checks import InputError
from scylla_sim.engines.counts import Counts, read_counts


def test_both_ways_to_count_drafted_give_the_same_rates():
    over_all = read_counts("position,accepted,drafted\n1,80,100\n2,40,100\n3,10,100\n")
    reached = read_counts("position,accepted,drafted\n1,80,100\n2,40,80\n3,10,40\n")
    assert over_all == reached
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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("position,accepted\n1,3\n", "must be position,accepted,drafted"),
        ("position,accepted,drafted\n1,8,10\n2,4,9\n", "must be equal at all positions, or equal to"),
        ("position,accepted,drafted\n2,8,10\n", "must run from 1"),
        ("position,accepted,drafted\n1,8.5,10\n", "must be three whole numbers per line"),
        ("position,accepted,drafted\n1,12,10\n", "must fall from cycles=10"),
    ],
)
def test_bad_input_is_named(text, message):
    with pytest.raises(InputError, match=message):
        read_counts(text)
