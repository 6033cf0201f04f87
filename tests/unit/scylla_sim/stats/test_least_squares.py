"""Linear least squares by hand."""

import numpy as np
import pytest

from scylla_sim.stats.least_squares import aicc, r_squared, solve_linear

ONES = np.ones((2, 1))


def test_the_variance_counts_the_degrees_of_freedom():
    """Values 0 and 2: the mean is 1, the residuals are 1, and one degree of freedom is left."""
    found = solve_linear(ONES, [0.0, 2.0])
    assert found.values == pytest.approx([1.0])
    assert (found.dof, found.rss) == (1, pytest.approx(2.0))
    assert float(found.covariance[0, 0]) == pytest.approx(2.0 / 1.0 / 2.0)


def test_leaving_a_point_out_doubles_the_residual_of_two():
    assert solve_linear(ONES, [0.0, 2.0]).loo_rmse == pytest.approx(2.0)


def test_weights_are_inverse_variances():
    """Weights 3 and 1 of the values 0 and 4: the mean is 1; R2 of any fit is about this mean."""
    found = solve_linear(ONES, [0.0, 4.0], weights=[3.0, 1.0])
    assert found.values[0] == pytest.approx(1.0)
    assert found.rss == pytest.approx(1.5 * 1.0 + 0.5 * 9.0)
    assert r_squared(np.array([0.0, 4.0]), 3.0, np.array([1.5, 0.5])) == pytest.approx(1.0 - 3.0 / 6.0)


def test_the_criterion_counts_the_variance_and_corrects_for_few_points():
    """k is 2 + 1: 10 ln(5 / 10) + 2 x 3 + 2 x 3 x 4 / 6."""
    assert aicc(5.0, n=10, parameters=2, magnitude=1.0) == pytest.approx(10 * np.log(0.5) + 6 + 4)
