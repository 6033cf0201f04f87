"""Loss from following predicted choices."""

import numpy as np
import pytest

from gpu_validate.comparison.choices import choice_quality


def test_the_regret_is_against_the_best_measured_choice():
    situations = [("a",)] * 3 + [("b",)] * 2
    predicted, measured = np.array([1.0, 3.0, 2.0, 1.0, 2.0]), np.array([4.0, 3.0, 1.0, 1.0, 5.0])
    found = choice_quality(situations, predicted, measured, floor=0.3)
    assert (found["situations"], found["same_choice"], found["within_floor"]) == (2, 0.5, 1.0)
    assert (found["max_regret"], found["median_regret"]) == pytest.approx((0.25, 0.125))
