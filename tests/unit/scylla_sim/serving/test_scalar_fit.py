"""Fits of the scalars of an engine, and the shipped ones."""

import numpy as np
import pytest

from scylla_sim.checks import InputError
from scylla_sim.serving.closed_load import closed_load
from scylla_sim.serving.closed_loop import LoopCosts, closed_loop
from scylla_sim.serving.scalar_fit import Measured, combined, fit, in_fit_half, medians_of_others
from scylla_sim.serving.serving_scalars import ServingScalars, serving_scalars
from scylla_sim.stats.estimate import Estimate, exact

DEFAULT = serving_scalars("", "")


def measured(*, host_s, slow, first_token_s, noise=0.0):
    """Twelve runs of an engine with known scalars."""
    n = np.tile([4.0, 8.0, 16.0, 32.0], 3)
    prompt = np.repeat([0.02, 0.1, 0.4], 4)
    one = np.ones(12)
    costs = LoopCosts(n, n, 0.01 * one, 0.01 * one, prompt, prompt, one, prompt, one, 200 * one)
    load = closed_load(n, 1000, 201, start_share=0.1)
    found = closed_loop(costs, load, host_s=host_s, slow=slow, first_token_s=first_token_s)
    wrong = 1.0 + noise * np.random.default_rng(1).standard_normal(12)
    return Measured(costs, load, found.tpot_s * wrong, found.ttft_s * wrong)


def value(scalars):
    return [round(float(one.value), 4) for one in (scalars.host_s, scalars.slow, scalars.first_token_s)]


def test_known_scalars_are_recovered():
    assert value(fit(measured(host_s=1e-3, slow=0.2, first_token_s=0.04), default=DEFAULT)) == [0.001, 0.2, 0.04]


def test_the_interval_holds_the_truth_under_noise():
    found = fit(measured(host_s=1e-3, slow=0.2, first_token_s=0.04, noise=0.03), default=DEFAULT)
    for one, truth in zip((found.host_s, found.slow, found.first_token_s), (1e-3, 0.2, 0.04)):
        assert one.lower <= truth <= one.upper


def test_without_first_tokens_their_default_is_kept():
    runs = measured(host_s=1e-3, slow=0.2, first_token_s=0.04)
    found = fit(Measured(runs.costs, runs.load, runs.tpot_s, np.full(12, np.nan)), default=DEFAULT)
    assert found.first_token_s == DEFAULT.first_token_s
    assert value(found)[:2] == [0.001, 0.2]


def test_three_runs_are_too_few():
    runs = measured(host_s=0, slow=0, first_token_s=0)
    rows = np.arange(3)
    costs = LoopCosts(*(getattr(runs.costs, name)[rows] for name in LoopCosts.__dataclass_fields__))
    with pytest.raises(InputError, match="rows=3 must be at least 4"):
        fit(Measured(costs, runs.load.at(rows), runs.tpot_s[rows], runs.ttft_s[rows]), default=DEFAULT)


def test_other_groups_give_medians_but_not_the_first_token():
    one, two = (ServingScalars(exact(h), exact(s), exact(0.1), "") for h, s in ((1e-3, 0.0), (3e-3, 0.4)))
    found = medians_of_others([one, two], DEFAULT, source="two")
    assert value(found) == [0.002, 0.2, 0.03]
    assert (float(found.host_s.lower), float(found.host_s.upper)) == (1e-3, 3e-3)
    assert medians_of_others([], DEFAULT, source="none") is DEFAULT
    assert value(combined([one, two], "two"))[2] == 0.1


def test_half_of_a_group_does_not_depend_on_the_file():
    tp, tokens = np.repeat([1, 2, 4, 8], 16), np.tile([128, 256, 512, 1000, 1024, 2000, 2048, 4096], 8)
    half = in_fit_half(tp, tokens, 512)
    assert half.tolist() == in_fit_half(tp[::-1], tokens[::-1], 512)[::-1].tolist()
    assert 0.3 < half.mean() < 0.7


def test_a_platform_without_runs_has_a_wide_default_and_ideal_has_none():
    known, unknown, ideal = (
        serving_scalars(*names)
        for names in (("vllm-2026", "h100-sxm"), ("vllm-2026", "l40s"), ("ideal", "h100-sxm"))
    )
    assert (known.fitted, unknown.fitted, ideal.fitted) == (True, False, False)
    width = [float(one.first_token_s.upper - one.first_token_s.lower) for one in (known, unknown, ideal)]
    assert 0 == width[2] < width[0] < width[1]


def test_a_scalar_outside_its_interval_is_refused():
    with pytest.raises(InputError, match="host_s="):
        ServingScalars(Estimate.of(3.0, 0.0, 1.0), exact(0.0), exact(0.0), "")
