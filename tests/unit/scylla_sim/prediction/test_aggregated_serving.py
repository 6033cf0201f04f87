"""Time per output token of aggregated serving, against hand counts and measured runs that no fit used."""

import numpy as np
import pytest

from scylla_sim.calibration import device_calibration
from scylla_sim.checks import InputError
from scylla_sim.prediction import aggregated_serving
from scylla_sim.prediction.aggregated_serving import NOT_FITTED, ServingOverheads, ServingRuns
from scylla_sim.prediction.steps import Deployment, target_step
from scylla_sim.specs import catalog

H100 = Deployment(device_calibration.shipped("h100-sxm"), catalog.engine("ideal"), "fp8", "bfloat16", 4)
LLAMA70 = catalog.model("llama-3.1-70b")


def runs(batch, input_len, output_len):
    return ServingRuns(*(np.asarray(value, dtype=float) for value in (batch, input_len, output_len)))


def test_single_request_takes_one_decode_step_per_token():
    found = aggregated_serving.token_time(LLAMA70, H100, runs([1.0], [1024], [256]))
    step = target_step(LLAMA70, H100, batch=1, context=1024 + 128)
    assert found.tpot_s() == pytest.approx(step.seconds)
    assert found.prefill_s == 0


def test_other_requests_are_prefilled_once_per_answer():
    found = aggregated_serving.token_time(LLAMA70, H100, runs([5.0], [1024], [256]))
    prefill = target_step(LLAMA70, H100, batch=1, context=512, tokens=1024)
    assert found.prefill_s == pytest.approx(4 * prefill.seconds / 256)


def test_llama_70b_under_vllm_agrees_with_measurements():
    # aiconfigurator-core (Apache-2.0), systems/silicon_sample.csv: H100, vLLM, Llama-3.1-70B, fp8, tp 4, 1024 in
    # and 1024 out, tpot in ms
    batch, measured = np.array([4.0, 16, 64]), np.array([11.776, 13.192, 19.515]) * 1e-3
    found = aggregated_serving.token_time(LLAMA70, H100, runs(batch, np.full(3, 1024.0), np.full(3, 1024.0)))
    assert np.abs(found.tpot_s() / measured - 1).max() < 0.12
    assert (found.roofline_s < 0.65 * measured).all()
    assert (found.bound_s < measured).all()


def test_estimate_lies_in_its_interval_and_above_the_roofline():
    found = aggregated_serving.token_time(LLAMA70, H100, runs([2.0, 64], [8192, 1024], [128, 2048]))
    assert (found.total.lower < found.tpot_s()).all()
    assert (found.tpot_s() < found.total.upper).all()
    assert (found.bound_s <= found.roofline_s).all()


def test_more_requests_longer_inputs_and_shorter_outputs_raise_tpot():
    tpot = {
        axis: aggregated_serving.token_time(LLAMA70, H100, runs(*grid)).tpot_s()
        for axis, grid in {
            "batch": ([1, 2, 8, 64], [1024] * 4, [256] * 4),
            "input": ([8] * 4, [128, 1024, 4096, 8192], [256] * 4),
            "output": ([8] * 4, [8192] * 4, [1024, 512, 256, 128]),
        }.items()
    }
    for axis, seconds in tpot.items():
        assert (np.diff(seconds) > 0).all(), axis


def test_fit_recovers_the_scalars_in_spite_of_outliers():
    rng = np.random.default_rng(0)
    step, waiting = rng.uniform(5e-3, 2e-2, 60), rng.uniform(1e-3, 2e-2, 60)
    measured = step + 0.47 * waiting + 1.2e-3
    measured[:6] *= 1.4  # a tenth of the runs disturbed
    found = aggregated_serving.fit(step, waiting, measured)
    assert found.share == pytest.approx(0.47, abs=1e-6)
    assert found.host_s == pytest.approx(1.2e-3, rel=1e-4)


def test_fitted_scalars_stay_in_range():
    step, waiting = np.full(5, 1e-2), np.linspace(1e-3, 5e-3, 5)
    assert aggregated_serving.fit(step, waiting, step + 3 * waiting).share == 1.0
    assert aggregated_serving.fit(step, waiting, 0.5 * step).host_s == 0.0


def test_fit_needs_four_runs():
    with pytest.raises(InputError, match="rows=3 must be at least 4"):
        aggregated_serving.fit(np.ones(3), np.ones(3), np.ones(3))


def test_half_of_a_group_does_not_depend_on_the_file():
    tp, tokens = np.repeat([1, 2, 4, 8], 16), np.tile([128, 256, 512, 1000, 1024, 2000, 2048, 4096], 8)
    half = aggregated_serving.in_fit_half(tp, tokens, 512)
    again = aggregated_serving.in_fit_half(tp[::-1], tokens[::-1], 512)[::-1]
    assert half.tolist() == again.tolist()
    assert 0.3 < half.mean() < 0.7


@pytest.mark.parametrize("field, value", [("share", 1.5), ("share", -0.1), ("host_s", -1e-3)])
def test_scalars_out_of_range_are_refused(field, value):
    with pytest.raises(InputError, match=field):
        ServingOverheads(**{field: value})


def test_default_overheads_are_not_fitted():
    assert (NOT_FITTED.share, NOT_FITTED.host_s) == (1.0, 0.0)
