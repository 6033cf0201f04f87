"""Predictions of served runs: settings of a run, fits of a series and means of other sources."""

from dataclasses import replace

import numpy as np
import pytest

from scylla_sim.prediction import served_runs
from scylla_sim.prediction.served_runs import ServedRun
from scylla_sim.specs import catalog

RUN = ServedRun(
    engine="vllm",
    hardware="h100-sxm",
    model="llama-3.1-8b",
    precision="",
    kv_precision="",
    draft="eagle3",
    tp=1,
    draft_len=3,
    top_k=1,
    verify_tokens=4,
    batch=8,
    context=512,
    input_len=0,
    output_len=0,
)


def test_a_run_is_the_prediction_of_its_scenario():
    (row,) = served_runs.scenario(RUN, 2.5).predict().rows()
    found = served_runs.predict_run(RUN, 2.5)
    assert [found[name] for name in ("speedup", "speedup_lower", "tokens_per_s", "cycle_s")] == [
        pytest.approx(row[name]) for name in ("speedup", "speedup_lower", "tokens_per_s", "cycle_s")
    ]
    assert found["plain_step_s"] == pytest.approx(row["plain_step_s"] + row["plain_overhead_s"])
    assert found["target"] == "dense"


def test_a_run_that_drafted_nothing_pays_for_its_loaded_draft():
    idle, none = (
        served_runs.predict_run(replace(RUN, **change), 1.0) for change in ({"draft_len": 0}, {"draft": "none"})
    )
    share = catalog.engine(RUN.engine).idle_draft
    assert idle["speedup"] == pytest.approx(1.0 / (1.0 + share)) and none["speedup"] == 1.0
    assert (idle["verdict"], none["verdict"]) == ("slower", "baseline")


def test_a_batch_without_refill_gains_less_and_plain_decoding_does_not_wait():
    fixed = replace(RUN, output_len=64)
    refilled, ragged = (
        served_runs.predict_run(replace(fixed, batch_kind=kind), 2.0) for kind in ("", served_runs.RAGGED)
    )
    assert ragged["speedup"] < 0.95 * refilled["speedup"]
    assert ragged["plain_tokens_per_s"] == refilled["plain_tokens_per_s"]
    assert ragged["p_slower"] > refilled["p_slower"]


def test_experts_are_named():
    assert served_runs.predict_run(replace(RUN, model="qwen3-30b-a3b"), 2.0)["target"] == "moe"


def test_the_interval_of_a_cycle_holds_no_error_of_its_tokens():
    one, two = (served_runs.predict_run(RUN, tau) for tau in (1.0, 2.5))
    assert one["cycle_s_upper"] == two["cycle_s_upper"]


def test_a_fitted_value_is_exact_for_a_rate_with_a_constant_part():
    """With a prefill, the speed-up is not proportional to the tokens per cycle; the steps still converge."""
    speedups = lambda tau: [(1.0 + 0.1) / (1.5 / tau + 0.1)]  # noqa: E731
    tau = served_runs.fitted_tokens_per_cycle(speedups, speedups(2.4), draft_len=5)
    assert tau == pytest.approx(2.4, rel=2e-3)


@pytest.mark.parametrize(("measured", "expected"), [(9.0, 4.0), (0.1, 1.0)])
def test_a_fitted_value_lies_between_one_and_the_longest_draft(measured, expected):
    assert served_runs.fitted_tokens_per_cycle(lambda tau: [0.5 * tau], [measured], draft_len=3) == expected


def test_the_mean_of_other_sources_weighs_sources_equally():
    values = np.array([1.0, 3.0, 5.0, 9.0, np.nan])
    found = served_runs.mean_of_other_sources(values, ["a", "a", "b", "c", "c"])
    assert found.tolist() == [7.0, 7.0, 5.5, 3.5, 3.5]


def test_one_source_has_no_other():
    assert np.isnan(served_runs.mean_of_other_sources(np.array([2.0]), ["a"])).all()


def test_sequences_that_run_stand_for_the_batch():
    ramped = served_runs.predict_run(replace(RUN, batch=32, running=24), 2.5)
    assert ramped == served_runs.predict_run(replace(RUN, batch=24), 2.5)
    assert served_runs.predict_run(replace(RUN, batch=24, running=24), 2.5) == ramped
