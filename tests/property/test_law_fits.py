"""Properties of fitted laws, over random points."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scylla_sim.laws import fit, theorems
from scylla_sim.laws.forms import FORMS

X = np.array([1.0, 2, 5, 10, 20, 50, 100])


@given(st.floats(-2, 2), st.floats(-10, 10), st.floats(1e-6, 1e12))
def test_the_unit_of_x_moves_only_the_intercept(slope, intercept, unit):
    y = slope * np.log(X) + intercept + 0.01 * np.sin(X)
    law, rescaled = fit.fit(X, y, "log-linear"), fit.fit(X * unit, y, "log-linear")
    assert rescaled.values[0] == pytest.approx(law.values[0], rel=1e-6, abs=1e-9)
    assert rescaled.standard_errors[0] == pytest.approx(law.standard_errors[0], rel=1e-4)
    shift = -law.values[0] * np.log(unit)
    assert rescaled.values[1] == pytest.approx(law.values[1] + shift, rel=1e-6, abs=1e-6)


@settings(max_examples=30, deadline=None)
@given(st.sampled_from([name for name in FORMS if name != "log1p"]), st.floats(1e-3, 1e3))
def test_predictions_do_not_depend_on_the_unit_of_x(form, unit):
    """This holds for all laws except ln(x + 1), which depends on the unit."""
    y = 5 + 0.3 * np.log(X) + 0.02 * np.cos(X)
    law, rescaled = fit.fit(X, y, form), fit.fit(X * unit, y, form)
    assert law.converged == rescaled.converged
    if law.converged:
        assert rescaled.predict(30.0 * unit).value == pytest.approx(float(law.predict(30.0).value), rel=1e-3)


@given(st.permutations(range(X.size)))
def test_the_order_of_points_does_not_matter(order):
    y = 5 + 0.3 * np.log(X) + 0.02 * np.cos(X)
    law, shuffled = fit.fit(X, y, "log-linear"), fit.fit(X[list(order)], y[list(order)], "log-linear")
    assert shuffled.values == pytest.approx(law.values)
    assert shuffled.loo_rmse == pytest.approx(law.loo_rmse)


@given(st.floats(1, 10), st.floats(1, 10), st.floats(0, 100e9), st.floats(0, 100e9))
def test_more_layers_or_more_tokens_never_lower_tau(d1, d2, t1, t2):
    (d1, d2), (t1, t2) = sorted((d1, d2)), sorted((t1, t2))
    less = theorems.tokens_per_cycle(layers=d1, train_tokens=t1)
    more = theorems.tokens_per_cycle(layers=d2, train_tokens=t2)
    assert less.tau.value <= more.tau.value + 1e-12


@given(st.floats(1, 50), st.floats(0, 1e12), st.floats(0.55, 0.98))
def test_interval_contains_the_value_and_widens_with_its_level(layers, tokens, level):
    law = theorems.tokens_per_cycle(layers=layers, train_tokens=tokens, level=level).tau
    wider = theorems.tokens_per_cycle(layers=layers, train_tokens=tokens, level=level + 0.01).tau
    assert wider.lower <= law.lower <= law.value <= law.upper <= wider.upper


@given(st.floats(0.5, 1e4), st.floats(0.5, 1e4))
def test_best_number_of_paths_falls_with_the_batch_to_its_floor(one, other):
    low, high = sorted((one, other))
    assert theorems.optimal_paths(low) >= theorems.optimal_paths(high) - 1e-6
    assert theorems.optimal_paths(high) >= 7.0
