"""Least squares on points with known answers."""

import numpy as np
import pytest
from scipy import stats

from scylla_sim.checks import InputError
from scylla_sim.laws import fit
from scylla_sim.laws.forms import FORMS
from scylla_sim.stats import least_squares

X = np.array([1.0, 2, 5, 10, 20, 50, 100, 200])
TRUTH = {
    "log-linear": (0.4, 5.0),
    "log1p": (0.3, 4.0),
    "linear": (0.02, 1.0),
    "power": (2.0, 0.25),
    "saturating-exponential": (1.5, 6.0, 20.0),
    "logistic": (6.0, 8.0, 0.9),
    "broken": (0.5, 5.0, 50.0),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_finds_its_own_parameters(form):
    law = fit.fit(X, FORMS[form](X, *TRUTH[form]), form)
    assert law.converged, law.message
    assert law.values == pytest.approx(TRUTH[form], rel=1e-4)
    assert law.r2 == pytest.approx(1.0)


@pytest.mark.parametrize("form", FORMS)
def test_every_form_wins_on_its_own_points(form):
    """Without noise AICc must prefer the law that made the points."""
    y = FORMS[form](X, *TRUTH[form])
    assert fit.sorted_by_aicc([fit.fit(X, y, name) for name in FORMS])[0].form == form


def test_line_agrees_with_scipy_linregress():
    rng = np.random.default_rng(3)
    y = 2 + 0.5 * X + rng.normal(0, 3, X.size)
    law, other = fit.fit(X, y, "linear"), stats.linregress(X, y)
    assert law.values == pytest.approx([other.slope, other.intercept])
    assert law.standard_errors == pytest.approx([other.stderr, other.intercept_stderr])
    assert law.r2 == pytest.approx(other.rvalue**2)
    interval = law.intervals(0.95)
    lower, upper = interval.lower, interval.upper
    assert (upper - lower)[0] == pytest.approx(2 * stats.t.ppf(0.975, 6) * other.stderr)


def test_leave_one_out_error_agrees_with_refits():
    rng = np.random.default_rng(4)
    y = 5 + 0.4 * np.log(X) + rng.normal(0, 0.1, X.size)
    errors = []
    for i in range(X.size):
        keep = np.arange(X.size) != i
        slope, intercept = np.polyfit(np.log(X[keep]), y[keep], 1)
        errors.append(y[i] - slope * np.log(X[i]) - intercept)
    assert fit.fit(X, y, "log-linear").loo_rmse == pytest.approx(np.sqrt(np.mean(np.square(errors))))


def test_nonlinear_standard_errors_agree_with_curve_fit():
    from scipy.optimize import curve_fit

    rng = np.random.default_rng(5)
    y = FORMS["saturating-exponential"](X, 1.5, 6.0, 20.0) + rng.normal(0, 0.05, X.size)
    law = fit.fit(X, y, "saturating-exponential")
    values, covariance = curve_fit(lambda x, a, c, s: c - a * np.exp(-x / s), X, y, p0=(1, 6, 10))
    assert law.values == pytest.approx(values, rel=1e-4)
    assert law.standard_errors == pytest.approx(np.sqrt(np.diag(covariance)), rel=1e-3)


def test_integer_weights_are_repeated_points():
    rng = np.random.default_rng(6)
    y = np.log(X) + rng.normal(0, 0.2, X.size)
    times = np.array([1, 3, 1, 2, 1, 1, 4, 1])
    weighted = fit.fit(X, y, "log-linear", times.astype(float))
    repeated = fit.fit(np.repeat(X, times), np.repeat(y, times), "log-linear")
    assert weighted.values == pytest.approx(repeated.values)
    assert weighted.r2 == pytest.approx(repeated.r2)


def test_aicc_by_hand():
    assert least_squares.aicc(2.0, n=8, parameters=2, magnitude=1.0) == pytest.approx(8 * np.log(0.25) + 6 + 24 / 4)
    assert least_squares.aicc(2.0, n=4, parameters=2, magnitude=1.0) is None


def test_too_few_points_are_reported():
    three = fit.fit([1, 2, 4], [1.0, 2.0, 2.9], "saturating-exponential")
    assert not three.converged
    assert three.message == "3 parameters need at least 4 points"
    assert np.isnan(three.values).all()
    four = fit.fit([1, 2, 4, 8], [1.0, 2.0, 2.9, 4.2], "log-linear")
    assert four.converged and four.aicc is None
    assert four.message == "AICc needs 5 points"


def test_an_undetermined_shape_does_not_converge():
    """Points on a straight line do not determine the scale of a saturating exponential."""
    law = fit.fit(X, 1 + 0.1 * X, "saturating-exponential")
    assert not law.converged
    assert "the points do not determine it" in law.message
    # ... and a logarithm that goes on to the last point has no break.
    assert not fit.fit(X, 1 + 0.1 * np.log(X), "broken").converged


def test_equal_x_do_not_determine_a_slope():
    law = fit.fit([5, 5, 5, 5], [1.0, 2, 3, 4], "log-linear")
    assert not law.converged
    assert "different x" in law.message


def test_prediction_interval_covers_new_points():
    """The 90 % interval covers 90 % of 2,000 new points within 3 points; the standard error is 0.7 points."""
    rng = np.random.default_rng(7)
    hits = 0
    for _ in range(2000):
        law = fit.fit(X, 5 + 0.3 * np.log(X) + rng.normal(0, 0.1, X.size), "log-linear")
        y = law.predict(30.0, level=0.9, new_point=True)
        hits += float(y.lower) <= 5 + 0.3 * np.log(30.0) + rng.normal(0, 0.1) <= float(y.upper)
    assert hits / 2000 == pytest.approx(0.9, abs=0.02)


@pytest.mark.parametrize("form", ["log-linear", "saturating-exponential"])
def test_bootstrap_is_seeded_and_spreads_like_the_standard_errors(form):
    rng = np.random.default_rng(8)
    y = FORMS[form](X, *TRUTH[form]) + rng.normal(0, 0.05, X.size)
    law = fit.fit(X, y, form)
    drawn = fit.bootstrap(X, y, law, samples=300, seed=11)
    again = fit.bootstrap(X, y, law, samples=300, seed=11)
    assert np.array_equal(drawn, again)
    assert drawn.std(axis=0) == pytest.approx(law.standard_errors, rel=0.35)


def test_extrapolation_is_flagged():
    law = fit.fit(X, np.log(X), "log-linear")
    assert law.extrapolates([0.5, 1.0, 200.0, 201.0]).tolist() == [True, False, False, True]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: fit.fit([0, 1, 2], [1, 2, 3], "log-linear"), "x=0 must be above 0; log-linear is a ln x"),
        (lambda: fit.fit([-1, 1, 2], [1, 2, 3], "log1p"), "x=-1 must be at least 0"),
        (lambda: fit.fit([1, 2, 3], [1, np.nan, 3], "linear"), "y=nan must be finite"),
        (lambda: fit.fit([1, 2, 3], [1, 2], "linear"), "must have as many values as x"),
        (
            lambda: fit.fit([1, 2, 3], [1, 2, 3], "loglinear"),
            "form='loglinear' is not known; did you mean log-linear",
        ),
        (lambda: fit.fit([1, 2, 3], [1, 2, 3], "linear", [1, 0, 1]), "weight=0 must be above 0"),
        (lambda: least_squares.solve_linear([[1, 1], [2, 2], [3, 3]], [1.0, 2, 3]), "must vary enough"),
        (
            lambda: least_squares.solve_linear([[1, 1], [2, 1]], [1.0, 2]),
            "points=2 must be more than the 2 parameters",
        ),
    ],
)
def test_bad_input_is_named(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_bootstrap_errors_agree_with_standard_errors():
    """Six points and two parameters: residuals that are not scaled would give 0.82 of the standard error."""
    x = np.array([1.0, 2, 4, 8, 16, 32])
    y = 0.4 * np.log(x) + 3.0 + 0.1 * np.array([1.0, -1, -1, 1, 1, -1])
    law = fit.fit(x, y, "log-linear")
    found = fit.bootstrap(x, y, law, samples=20_000, seed=3).std(axis=0)
    assert found == pytest.approx(law.standard_errors, rel=0.03)
