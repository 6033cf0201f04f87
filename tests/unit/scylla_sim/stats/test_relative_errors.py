"""Statistics of relative errors, by hand."""

import numpy as np
import pytest

from scylla_sim.stats.relative_errors import summarize


def test_absolute_errors_ignore_the_sign_and_the_bias_keeps_it():
    errors = summarize(np.array([-0.1, -0.2, 0.4]))
    assert errors.median == pytest.approx(0.2)
    assert errors.mean == pytest.approx(0.7 / 3)
    assert errors.p90 == pytest.approx(0.36)
    assert errors.bias == pytest.approx(-0.1)
