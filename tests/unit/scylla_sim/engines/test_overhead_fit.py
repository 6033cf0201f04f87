"""Overheads of an engine, fitted to made-up observations."""

import numpy as np
import pytest

from scylla_sim.checks import InputError
from scylla_sim.engines.overhead_fit import (
    MIN_FIT_ROWS,
    Observation,
    errors_left_out,
    fit_engine,
    fitted_to_runs,
)
from scylla_sim.specs.engine import Engine

BATCHES = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)


def test_overheads_are_recovered():
    observed = [
        Observation(
            1e-3, {"host_s": 1.0, "token_s": b, "launch_s": 10.0 * (i % 2)}, 3e-3 + 2e-5 * b + 1e-4 * (i % 2)
        )
        for i, b in enumerate(BATCHES)
    ]
    engine = fit_engine("mine", observed)
    assert (engine.host_s, engine.token_s) == (pytest.approx(2e-3), pytest.approx(2e-5))
    assert engine.launch_s == pytest.approx(1e-5)
    assert engine.eager


def test_overheads_are_never_negative():
    observed = [Observation(2e-3, {"host_s": 1.0}, 1e-3) for _ in BATCHES]
    assert fit_engine("mine", observed).host_s == 0.0


def test_a_fit_needs_enough_times():
    with pytest.raises(InputError, match=f"must be at least {MIN_FIT_ROWS}"):
        fit_engine("mine", [Observation(1e-3, {"host_s": 1.0}, 2e-3)] * (MIN_FIT_ROWS - 1))
    assert np.isfinite(fit_engine("mine", [Observation(1e-3, {"host_s": 1.0}, 2e-3)] * MIN_FIT_ROWS).host_s)


PRESET = Engine(
    "vllm-2025",
    host_s=1e-3,
    token_s=1e-5,
    tree_host_s=5e-4,
    intervals={"host_s": (0.0, 2e-3), "token_s": (0.0, 2e-5), "tree_host_s": (0.0, 1e-3)},
    theory=frozenset({"host_s", "tree_host_s"}),
)


def cycles(host_s, token_s, *, sd_s=1e-6, batches=BATCHES):
    return [Observation(1e-3, {"host_s": 1.0, "token_s": b}, 1e-3 + host_s + b * token_s, sd_s) for b in batches]


def test_exact_runs_override_a_preset_and_leave_what_they_do_not_contain():
    engine = fitted_to_runs(PRESET, cycles(3e-3, 4e-5), source="my runs")
    assert engine.host_s == pytest.approx(3e-3, rel=1e-3)
    assert engine.token_s == pytest.approx(4e-5, rel=1e-3)
    assert (engine.tree_host_s, engine.intervals["tree_host_s"]) == (5e-4, (0.0, 1e-3))
    assert (engine.name, engine.fitted_runs, engine.theory) == ("vllm-2025-fitted", 6, {"tree_host_s"})
    assert engine.sources["host_s"] == "my runs"


def test_uncertain_runs_leave_the_preset_where_it_was():
    engine = fitted_to_runs(PRESET, cycles(3e-3, 4e-5, sd_s=1.0), source="")
    assert engine.host_s == pytest.approx(1e-3, rel=1e-3)
    assert engine.intervals["host_s"] == pytest.approx((0.0, 2e-3), rel=1e-3, abs=1e-6)


def test_one_run_narrows_the_interval_and_stays_between_preset_and_run():
    engine = fitted_to_runs(PRESET, cycles(1.5e-3, 1e-5, sd_s=3e-4, batches=BATCHES[:1]), source="")
    lower, upper = engine.intervals["host_s"]
    assert 1e-3 < engine.host_s < 1.5e-3
    assert 0.0 < lower < engine.host_s < upper < 2e-3


def test_runs_that_contradict_each_other_widen_the_interval():
    agree = fitted_to_runs(PRESET, cycles(1.5e-3, 1e-5, sd_s=1e-5), source="")
    scattered = [
        Observation(one.device_s, one.overhead_counts, one.measured_s + (-1) ** i * 2e-4, one.sd_s)
        for i, one in enumerate(cycles(1.5e-3, 1e-5, sd_s=1e-5))
    ]
    wide = fitted_to_runs(PRESET, scattered, source="")
    assert np.ptp(wide.intervals["host_s"]) > 5 * np.ptp(agree.intervals["host_s"])


def test_a_run_that_is_left_out_is_predicted_with_the_others():
    runs = cycles(3e-3, 4e-5)
    assert max(map(abs, errors_left_out(PRESET, runs))) < 1e-2
    assert errors_left_out(PRESET, runs[:1]) == [runs[0].predicted_s(PRESET) / runs[0].measured_s - 1.0]


def test_runs_without_an_uncertain_overhead_are_refused():
    with pytest.raises(InputError, match="must be runs that contain an overhead with an interval"):
        fitted_to_runs(Engine("exact", host_s=1e-3), cycles(1e-3, 0.0), source="")


def test_overheads_minimize_relative_errors():
    """Three times of 1 s and three of 100 s, each one host overhead h: (h - 1)^2 + (h / 100 - 1)^2 is least."""
    observed = [Observation(0.0, {"host_s": 1.0}, seconds) for seconds in (1.0, 100.0) * 3]
    assert fit_engine("mine", observed).host_s == pytest.approx((1 + 1 / 100) / (1 + 1 / 100**2))
