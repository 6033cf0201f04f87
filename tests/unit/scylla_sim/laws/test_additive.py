"""Sums of terms, one per variable."""

import numpy as np
import pytest

from scylla_sim.checks import InputError
from scylla_sim.laws.additive import fit_additive

LAYERS = [1, 1, 2, 2, 5, 5]
TOKENS = [0, 10, 0, 10, 0, 10]


def test_coefficients_are_recovered():
    y = 0.4 * np.log(LAYERS) + 0.1 * np.log1p(TOKENS) + 5
    law = fit_additive([LAYERS, TOKENS], y, ["log-linear", "log1p"])
    assert law.formula == "a1 ln x1 + a2 ln(x2 + 1) + c"
    assert dict(zip(law.names, law.values)) == {
        "a1": pytest.approx(0.4),
        "a2": pytest.approx(0.1),
        "c": pytest.approx(5.0),
    }


@pytest.mark.parametrize(
    ("columns", "terms", "message"),
    [
        ([LAYERS], ["linear", "linear"], r"terms='linear\+linear' must be one term per column"),
        ([LAYERS], ["power"], "term='power' is not known"),
        ([TOKENS], ["log-linear"], "x=0 must be above 0"),
    ],
)
def test_bad_input_is_named(columns, terms, message):
    with pytest.raises(InputError, match=message):
        fit_additive(columns, np.arange(6.0), terms)
