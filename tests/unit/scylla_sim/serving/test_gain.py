"""Gain of speculation in a time."""

import numpy as np
import pytest

from scylla_sim.serving import gain


def test_a_gain_above_one_is_a_shorter_time_with_the_draft():
    ratios = gain._ratios([{"x": 2.0}, {"x": 3.0}], [{"x": 1.0}, {"x": 2.0}], "x")
    assert ratios.tolist() == [2.0, 1.5]
    found = gain._gain("TPOT", [np.array([2.0, 2.0]), np.array([2.2]), np.array([1.8])])
    assert (float(found.value.value), found.verdict) == (pytest.approx(2.0), "faster")
    assert [float(found.value.lower), float(found.value.upper)] == pytest.approx([1.8, 2.2])


def test_a_gain_whose_interval_contains_one_is_undecided():
    found = gain._gain("TPOT", [np.array([1.05, 1.05]), np.array([1.2]), np.array([0.9])])
    assert found.verdict == "undecided"
