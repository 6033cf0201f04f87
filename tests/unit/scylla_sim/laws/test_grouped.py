"""A common slope with offsets."""

import numpy as np
import pytest
from checkout import ROOT

from scylla_sim.checks import InputError
from scylla_sim.laws import fit, grouped
from scylla_sim.records import read_columns

PUBLISHED = ROOT / "paper" / "published"

X = np.tile([1.0, 2, 4, 8, 16], 3)
TASK = np.repeat(["chat", "code", "math"], 5).tolist()
OFFSET = np.repeat([0.0, 1.5, -0.5], 5)
HEAT = np.tile(["0", "1", "0", "1", "1"], 3).tolist()


def test_slope_and_offsets_are_found():
    y = 0.4 * np.log(X) + 3.0 + OFFSET
    law = grouped.fit_grouped(X, y, "log-linear", {"task": TASK})
    assert law.names == ("a", "c", "task=code", "task=math")
    assert law.values == pytest.approx([0.4, 3.0, 1.5, -0.5])
    assert law.r2_within == pytest.approx(1)


def test_two_factors_add():
    y = 0.4 * np.log(X) + 3.0 + OFFSET - 0.3 * (np.array(HEAT) == "1")
    law = grouped.fit_grouped(X, y, "log-linear", {"task": TASK, "temperature": HEAT})
    assert law.names[-1] == "temperature=1"
    assert law.values == pytest.approx([0.4, 3.0, 1.5, -0.5, -0.3])


def test_a_factor_of_one_level_changes_nothing():
    rng = np.random.default_rng(1)
    y = 0.4 * np.log(X) + rng.normal(0, 0.1, X.size)
    one = grouped.fit_grouped(X, y, "log-linear", {"task": ["all"] * X.size})
    plain = fit.fit(X, y, "log-linear")
    assert one.values == pytest.approx(plain.values)
    assert one.standard_errors == pytest.approx(plain.standard_errors)
    assert (one.aicc, one.loo_rmse) == (pytest.approx(plain.aicc), pytest.approx(plain.loo_rmse))


def test_a_shape_is_common_too():
    y = 2 - 1.2 * np.exp(-X / 5) + OFFSET
    law = grouped.fit_grouped(X, y, "saturating-exponential", {"task": TASK})
    assert law.converged
    assert dict(zip(law.names, law.values)) == pytest.approx(
        {"a": 1.2, "c": 2.0, "task=code": 1.5, "task=math": -0.5, "s": 5.0}, rel=1e-3
    )


def test_separate_slopes_have_a_lower_aicc():
    rng = np.random.default_rng(2)
    same = 0.4 * np.log(X) + OFFSET + rng.normal(0, 0.02, X.size)
    own = np.repeat([0.1, 0.4, 0.9], 5) * np.log(X) + OFFSET + rng.normal(0, 0.02, X.size)
    for y, differ in ((same, False), (own, True)):
        law = grouped.fit_grouped(X, y, "log-linear", {"task": TASK})
        assert (law.separate_aicc < law.aicc) is differ


def published(name, x, y):
    columns = read_columns(PUBLISHED / f"{name}.csv")
    pooled = [np.array(columns[column], dtype=float) for column in (x, y)]
    scores = {}
    for form in grouped.OFFSET_FORMS:
        law = grouped.fit_grouped(*pooled, form, {"series": columns["series"]})
        if law.converged:
            scores[form] = law.aicc
    return scores


def test_published_layers_saturate_faster_than_a_logarithm():
    """Nine tasks of DSpark and one of DFlash, 1-5 layers: the logarithm has an AICc that is 10 higher."""
    scores = published("capacity_layers", "decoder_layers", "tokens_per_cycle")
    assert min(scores, key=scores.get) == "saturating-exponential"
    assert scores["log-linear"] - scores["saturating-exponential"] > 10


def test_published_token_series_fit_both_logarithms_equally_well():
    """EAGLE and EAGLE-3 with 1 to 8 times the data: ln x and ln(x + 1) differ by less than 2 in AICc."""
    scores = published("capacity_data", "data_scale", "acceptance_rate")
    assert abs(scores["log-linear"] - scores["log1p"]) < 2
    assert scores["linear"] - scores["log-linear"] > 4


@pytest.mark.parametrize(
    ("form", "levels", "message"),
    [
        ("power", {"task": TASK}, "form='power' is not known"),
        ("log-linear", {}, "must name at least one"),
        ("log-linear", {"task": TASK[:3]}, "must have one level per point"),
        ("log-linear", {"task": TASK, "again": TASK}, "must vary enough"),
        ("log-linear", {"task": [str(i) for i in range(15)]}, "must be more than the 16 parameters"),
    ],
)
def test_bad_input_is_named(form, levels, message):
    with pytest.raises(InputError, match=message):
        grouped.fit_grouped(X, np.log(X), form, levels)


def test_r2_within_levels_leaves_out_what_the_offsets_explain():
    """No slope within a task: offsets of 1.5 explain nearly everything, and x nothing."""
    wobble = 0.01 * np.tile([1.0, -1, 0, -1, 1], 3)
    law = grouped.fit_grouped(X, OFFSET + wobble, "log-linear", {"task": TASK})
    assert law.r2 > 0.99
    assert law.r2_within < 0.1


def test_a_searched_shape_costs_a_degree_of_freedom():
    y = 2 - 1.2 * np.exp(-X / 5) + OFFSET + 0.01 * np.sin(np.arange(X.size))
    law = grouped.fit_grouped(X, y, "saturating-exponential", {"task": TASK})
    assert law.dof == X.size - 5  # a, c, two offsets and s
