"""Transfer of tau between shapes, by hand."""

import numpy as np
import pytest

from scylla_sim.acceptance import tau_transfer
from scylla_sim.acceptance.draft_shape import chain_shape
from scylla_sim.acceptance.position_fit import TAU_NOISE
from scylla_sim.acceptance.positions import PositionLaw, Z
from scylla_sim.stats.estimate import Estimate

TAU = Estimate.of(2.8, 2.8, 2.8)


def test_a_transferred_tau_has_the_spread_of_the_law_and_the_noise_of_a_measurement():
    law = PositionLaw("x", 0.4, 0.2)
    value, low, high = (float(one.tokens_per_cycle(2.8, 3, 5)) for one in (law, law.moved(-Z), law.moved(Z)))
    found = tau_transfer.transferred(TAU, chain_shape(3), chain_shape(5), law)
    assert float(found.value) == pytest.approx(value)
    assert float(found.down) == pytest.approx(np.hypot(value - low, Z * TAU_NOISE))
    assert float(found.up) == pytest.approx(np.hypot(high - value, Z * TAU_NOISE))


def test_an_exact_law_moves_only_the_ends_of_the_measurement():
    law, given = PositionLaw("x", 0.4, 0.0), Estimate.of(2.8, 2.6, 2.9)
    found = tau_transfer.transferred(given, chain_shape(3), chain_shape(5), law)
    ends = [float(law.tokens_per_cycle(end, 3, 5)) for end in (2.6, 2.8, 2.9)]
    assert [float(found.lower), float(found.value), float(found.upper)] == pytest.approx(ends)


def test_a_relative_spread_is_that_of_the_accepted_tokens():
    found = tau_transfer._around(3.0, (0.9, 1.2))
    assert [float(end) for end in (found.lower, found.value, found.upper)] == pytest.approx([2.8, 3.0, 3.4])
