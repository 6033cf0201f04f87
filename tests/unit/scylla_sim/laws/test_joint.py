"""Joint laws: parameters recovered, the recorded drafts, and what Fig. 1 does not determine."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from scylla_sim.checks import InputError
from scylla_sim.laws import theorems
from scylla_sim.laws.joint import JOINT_FORMS, JointPoints, fit_joint, tau_of_rate
from scylla_sim.laws.joint_scores import corner_of, leave_corner_out, leave_tokens_out

RECORD = Path(__file__).parents[4] / "gpu_validate/recorded/cpu/smallscale.json"
TOKENS, LAYERS = (a.ravel() for a in np.meshgrid(2.0 ** np.arange(15, 21), np.array([1.0, 2, 3, 4, 6, 8])))
TRUTH = {
    "sum": (1.6, 0.5, 0.2),
    "interaction": (1.9, 0.35, 0.12),
    "sum-and-interaction": (1.7, 0.3, 0.1, 0.1),
    "saturating-interaction": (1.8, 4.0, 0.1, 0.05),
    "powers": (5.0, 3.0, 0.3, 0.5, 0.6),
    "rate-sum": (-0.5, 0.3, 0.2),
    "rate-interaction": (-0.2, 0.3, 0.1),
    "rate-powers": (0.13, 0.57, 0.57, 0.15, 0.7),
}


def drafts(form: str) -> JointPoints:
    """Points that obey a law exactly."""
    law, t, d = JOINT_FORMS[form], np.log(TOKENS / TOKENS.min()), np.log(LAYERS)
    value = law.value(TRUTH[form], t, d)
    return JointPoints(TOKENS, LAYERS, tau_of_rate(value, 6) if law.of_rate else value, 6)


@pytest.fixture(scope="module")
def recorded() -> JointPoints:
    """Mean over three seeds of the recorded drafts of scale small."""
    wanted = {"op": "acceptance", "arm": "main", "drafting": "chain", "domain": "all", "temperature": 0}
    found: dict[tuple[float, float], list[float]] = {}
    for row in json.loads(RECORD.read_text())["values"]:
        if all(row.get(name) == value for name, value in wanted.items()):
            found.setdefault((row["train_tokens"], row["decoder_layers"]), []).append(row["tokens_per_cycle"])
    tokens, layers = np.array(sorted(found), dtype=np.float64).T
    return JointPoints(tokens, layers, np.array([np.mean(found[key]) for key in sorted(found)]), 6)


@pytest.mark.parametrize("form", JOINT_FORMS)
def test_a_law_finds_its_own_parameters_and_extrapolates_itself(form: str) -> None:
    points = drafts(form)
    law = fit_joint(points, form)
    assert law.tau(TOKENS, LAYERS) == pytest.approx(points.tau, abs=1e-3)
    assert law.values == pytest.approx(np.array(TRUTH[form]), rel=0.02, abs=0.01)
    assert leave_corner_out(points, form, tokens=2.0**18, layers=4).error < 0.01
    assert leave_tokens_out(points, form, tokens=2.0**18).error < 0.01


def test_the_recorded_drafts_do_not_follow_the_sum_of_the_two_theorems(recorded: JointPoints) -> None:
    total, product = fit_joint(recorded, "sum"), fit_joint(recorded, "interaction")
    assert total.r2 == pytest.approx(0.964, abs=5e-4) and product.r2 == pytest.approx(0.990, abs=5e-4)
    assert total.aicc is not None and product.aicc is not None
    assert total.aicc - product.aicc == pytest.approx(45, abs=1)
    assert product.values[1:] == pytest.approx([0.346, 0.117], abs=5e-4)


def test_a_better_fit_inside_extrapolates_worse(recorded: JointPoints) -> None:
    corner = {form: leave_corner_out(recorded, form, tokens=262144, layers=4) for form in ("sum", "interaction")}
    assert corner["sum"].n == 4
    assert corner["sum"].error == pytest.approx(0.035, abs=1e-3)
    assert corner["interaction"].error == pytest.approx(0.285, abs=1e-3)
    assert corner["interaction"].bias == corner["interaction"].error


def test_the_logarithm_of_the_rate_is_a_sum_of_two_powers(recorded: JointPoints) -> None:
    scores = {form: fit_joint(recorded, form).aicc or 0.0 for form in JOINT_FORMS}
    assert min(scores, key=lambda form: scores[form]) == "rate-powers"
    assert scores["interaction"] - scores["rate-powers"] > 10
    assert leave_corner_out(recorded, "rate-powers", tokens=262144, layers=4).error < 0.1


def test_left_out_errors_are_those_of_fits_without_the_point() -> None:
    points = drafts("sum")
    moved = JointPoints(points.tokens, points.layers, points.tau + np.eye(36)[7] * 0.3, 6)
    law = fit_joint(moved, "sum")
    design = np.stack([np.ones(36), np.log(TOKENS / 32768), np.log(LAYERS)], axis=1)
    hat = design @ np.linalg.pinv(design)
    by_hand = (moved.tau - hat @ moved.tau) / (1 - np.diag(hat))
    assert law.loo_rmse == pytest.approx(float(np.sqrt(np.mean(by_hand**2))), rel=1e-4)


def test_figure_1_does_not_determine_the_interaction() -> None:
    (tokens, by_tokens), (layers, by_layers) = theorems.points("tokens"), theorems.points("layers")
    every = JointPoints(
        np.concatenate([tokens, 0 * layers[1:]]) + 1,
        np.concatenate([1 + 0 * tokens, layers[1:]]),
        np.concatenate([by_tokens, by_layers[1:]]),
    )
    both = fit_joint(every, "sum-and-interaction")
    assert np.isnan(both.standard_errors).tolist() == [False, False, False, True]
    assert both.values[:3] == pytest.approx(fit_joint(every, "sum").values, abs=1e-4)
    # without the other effect at T0, a law cannot hold the panel of the layers
    assert (fit_joint(every, "interaction").r2 or 0.0) < 0.01


def test_a_law_of_the_rate_stays_below_the_longest_cycle() -> None:
    law = fit_joint(drafts("rate-interaction"), "rate-interaction")
    assert 6.9 < float(law.tau(1e15, 40)) <= 7.0


def test_corner_is_the_last_third_of_both() -> None:
    assert corner_of(drafts("sum")) == (2.0**18, 4.0)


def test_refusals_say_what_is_missing() -> None:
    points = JointPoints(TOKENS, LAYERS, drafts("sum").tau)
    with pytest.raises(InputError, match="is a law of the acceptance rate; give the drafted tokens"):
        fit_joint(points, "rate-sum")
    with pytest.raises(InputError, match="points=4 must be at least 5 for sum"):
        fit_joint(points.part(np.arange(36) < 4), "sum")
    with pytest.raises(InputError, match="leaves no point with more tokens and more layers"):
        leave_corner_out(points, "sum", tokens=1e9, layers=1)
    with pytest.raises(InputError, match="tau=8.5 must lie in"):
        JointPoints(TOKENS, LAYERS, np.full(36, 8.5), 6)
