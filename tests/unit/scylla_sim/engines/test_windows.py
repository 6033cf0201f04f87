"""Tokens per cycle of windows, by hand."""

import numpy as np
import pytest

from scylla_sim.engines.windows import Totals, Windows, of_cycles
from scylla_sim.stats.quantiles import student_quantile


def test_windows_are_weighted_and_their_squared_weights_give_the_error():
    """Weights 1 and 3: tau is 2.75; (0.25 x 0.75)^2 + (0.75 x 0.25)^2 over 1 - (1/16 + 9/16)."""
    found = Windows(np.array([2.0, 3.0]), np.array([1.0, 3.0])).tau()
    assert float(found.value) == 2.75
    error = np.sqrt(2 * (0.25 * 0.75) ** 2 / (1 - 10 / 16))
    assert float(found.up) == pytest.approx(student_quantile(0.9, 1) * error)
    assert float(found.lower) == pytest.approx(max(2.75 - student_quantile(0.9, 1) * error, 1.0))


def test_equal_windows_have_the_error_of_a_mean():
    found = Windows(np.array([2.0, 2.5, 3.0, 2.5]), np.ones(4)).tau()
    assert float(found.up) == pytest.approx(student_quantile(0.9, 3) * np.std([2.0, 2.5, 3.0, 2.5], ddof=1) / 2)


def test_totals_add_their_cycles_and_the_token_of_the_target():
    found = Totals(np.array([30.0, 60.0]), np.array([10.0, 40.0]), "why").windows(3)
    assert (found.cycles, found.drafted, found.accepted) == (30, 90, 50)
    assert found.tokens_per_cycle.tolist() == [2.0, 3.0]
    assert float(found.tau().value) == pytest.approx(1 + 50 / 30)


def test_cycles_and_accepted_tokens_give_tau():
    assert float(of_cycles([10, 30], [10, 60]).tau().value) == pytest.approx(1 + 70 / 40)
