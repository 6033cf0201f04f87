"""The fit of a decay to one series, and its predictions."""

import numpy as np
import pytest

from scylla_sim.acceptance import position_fit
from scylla_sim.acceptance.position_fit import Decay, fit_decay
from scylla_sim.acceptance.positions import position_profile


def tau(rate, length, exponent):
    return 1.0 + float(np.cumprod(position_profile(rate, length, exponent=exponent)).sum())


def test_a_prediction_has_the_noise_of_a_measurement():
    """A series that is known exactly leaves only the noise: 1.645 standard deviations."""
    found = Decay(0.7, 0.5, np.zeros((2, 2)), 0.02).predict(3)
    assert float(found.up) == pytest.approx(1.645 * 0.02)
    assert float(found.down) == pytest.approx(1.645 * 0.02)


def test_one_length_leaves_the_exponent_at_its_prior_and_many_move_it():
    assert fit_decay(3, tau(0.8, 3, 0.2), exponent=0.66).exponent == pytest.approx(0.66, abs=1e-3)
    lengths = [1, 2, 3, 5, 7]
    found = fit_decay(lengths, [tau(0.8, n, 0.2) for n in lengths], exponent=0.66, noise=1e-4)
    assert found.exponent == pytest.approx(0.2, abs=0.02)


def test_a_series_is_predicted_with_the_exponents_of_the_others():
    lengths = [1, 3, 5]
    exponents = {"a": 0.2, "b": 0.4, "c": 0.9}
    series = {name: (lengths, [tau(0.8, n, power) for n in lengths]) for name, power in exponents.items()}
    rows = position_fit.held_out(series)
    assert {row["series"]: round(row["others_exponent"], 3) for row in rows} == {"a": 0.65, "b": 0.55, "c": 0.3}
