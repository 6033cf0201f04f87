"""Probabilities and words of a verdict, by hand."""

import warnings

import numpy as np
import pytest

from scylla_sim.prediction.verdict import probability_below, verdict
from scylla_sim.stats.estimate import Estimate, exact


def test_end_of_the_interval_on_the_side_of_one_has_a_twentieth_beyond():
    assert probability_below(1.0, Estimate.of([1.2, 0.9], [1.0, 0.5], [9.0, 1.0])) == pytest.approx([0.05, 0.95])


def test_probability_is_that_of_the_log_normal():
    # ln 1.1 = 0.0953, ln(1.1 / 0.9) = 0.2007: 0.781 standard deviations, Phi(-0.781) = 0.2174
    assert float(probability_below(1.0, Estimate.of(1.1, 0.9, 5.0))) == pytest.approx(0.2174, abs=1e-4)


def test_exact_quantities_are_below_or_not():
    assert probability_below(1.0, exact([0.99, 1.0, 1.01])).tolist() == [1.0, 0.0, 0.0]


def test_probability_is_continuous_at_one():
    around = Estimate.of([1 - 1e-9, 1.0, 1 + 1e-9], 0.7, 1.1)
    assert np.ptp(probability_below(1.0, around)) < 1e-7


@pytest.mark.parametrize(
    ("p", "word"), [(0.0, "faster"), (0.299, "faster"), (0.3, "undecided"), (0.7, "undecided"), (0.701, "slower")]
)
def test_words(p, word):
    assert verdict(p) == word
    assert verdict(p, speculates=False) == "baseline"


def test_an_interval_that_begins_at_zero_needs_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert float(probability_below(1.0, Estimate.of(1.5, 0.0, 2.0))) == 0.5
