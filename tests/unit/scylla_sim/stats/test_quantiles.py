"""The numpy-only quantiles against scipy's."""

import numpy as np
import pytest
from scipy import special, stats

from scylla_sim.stats.quantiles import beta_quantile, incomplete_beta, median, student_quantile, weighted_quantile


def test_incomplete_beta_agrees_with_scipy():
    x, a, b = np.meshgrid([0.0, 1e-6, 0.1, 0.5, 0.9, 1.0], [0.5, 2.0, 80.0, 4000.0], [0.5, 3.0, 900.0])
    assert incomplete_beta(x, a, b) == pytest.approx(special.betainc(a, b, x), rel=1e-9, abs=1e-13)


def test_beta_quantile_agrees_with_scipy():
    q, a, b = np.meshgrid([0.05, 0.5, 0.95], [0.5, 20.5, 3000.5], [0.5, 10.5])
    assert beta_quantile(q, a, b) == pytest.approx(stats.beta.ppf(q, a, b), rel=1e-8)


def test_beta_quantile_of_millions_of_counts_agrees_with_scipy():
    a, b = np.array([999.0, 1000.0, 40_000.5, 4_064_882.5]), np.array([3e5, 1000.0, 90_000.5, 1_424_804.5])
    sd = np.sqrt(a * b / (a + b + 1.0)) / (a + b)
    for q in (1e-6, 0.05, 0.5, 0.999):
        assert (beta_quantile(q, a, b) - stats.beta.ppf(q, a, b)) / sd == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("dof", [1, 2, 5, 30, 1000])
@pytest.mark.parametrize("level", [0.5, 0.9, 0.99])
def test_student_quantile_agrees_with_scipy(level, dof):
    assert student_quantile(level, dof) == pytest.approx(stats.t.ppf((1 + level) / 2, dof), rel=1e-9)


def test_weights_act_as_copies_of_a_value():
    copies = np.repeat([1.0, 2.0, 5.0, 9.0], [100, 300, 50, 50])
    found = weighted_quantile([5.0, 1.0, 9.0, 2.0], [0.1, 0.5, 0.95], weights=[50.0, 100.0, 50.0, 300.0])
    assert found[[0, 1, 2]] == pytest.approx(np.quantile(copies, [0.1, 0.5, 0.95]))


@pytest.mark.parametrize("count", [1, 2, 5, 8])
def test_median_has_the_bits_of_numpy(count):
    values = np.random.default_rng(1).lognormal(size=(4, count))
    np.testing.assert_array_equal(median(values), np.median(values, axis=-1))
