"""Time per output token of aggregated serving, against hand counts and runs that nothing here was fitted to."""

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


def test_alone_on_the_device_a_token_costs_one_decode_step():
    found = aggregated_serving.token_time(LLAMA70, H100, runs([1.0], [1024], [256]))
    step = target_step(LLAMA70, H100, batch=1, context=1024 + 128)
    assert found.tpot_s() == pytest.approx(step.seconds)
    assert found.prefill_s == 0


def test_each_other_request_is_prefilled_once_while_one_is_decoded():
    found = aggregated_serving.token_time(LLAMA70, H100, runs([5.0], [1024], [256]))
    prefill = target_step(LLAMA70, H100, batch=1, context=512, tokens=1024)
    assert found.prefill_s == pytest.approx(4 * prefill.seconds / 256)


def test_seventy_billion_parameters_under_vllm_with_nothing_fitted_end_to_end():
    # aiconfigurator-core (Apache-2.0), systems/silicon_sample.csv: H100, vLLM, Llama-3.1-70B, fp8, tp 4, 1024 in
    # and 1024 out, tpot in ms
    batch, measured = np.array([4.0, 16, 64]), np.array([11.776, 13.192, 19.515]) * 1e-3
    found = aggregated_serving.token_time(LLAMA70, H100, runs(batch, np.full(3, 1024.0), np.full(3, 1024.0)))
    assert np.abs(found.tpot_s() / measured - 1).max() < 0.12
    assert (found.roofline_s < 0.65 * measured).all()
    assert (found.bound_s < measured).all()


def test_the_interval_holds_the_estimate_and_the_datasheet_is_faster():
    found = aggregated_serving.token_time(LLAMA70, H100, runs([2.0, 64], [8192, 1024], [128, 2048]))
    assert (found.total.lower < found.tpot_s()).all()
    assert (found.tpot_s() < found.total.upper).all()
    assert (found.bound_s <= found.roofline_s).all()


def test_more_requests_longer_inputs_and_shorter_outputs_never_make_a_token_faster():
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


def test_a_fit_finds_the_scalars_that_made_the_numbers_in_spite_of_outliers():
    rng = np.random.default_rng(0)
    step, waiting = rng.uniform(5e-3, 2e-2, 60), rng.uniform(1e-3, 2e-2, 60)
    measured = step + 0.47 * waiting + 1.2e-3
    measured[:6] *= 1.4  # a tenth of the runs disturbed
    found = aggregated_serving.fit(step, waiting, measured)
    assert found.share == pytest.approx(0.47, abs=1e-6)
    assert found.host_s == pytest.approx(1.2e-3, rel=1e-4)


def test_a_fit_never_leaves_the_range_of_its_meaning():
    step, waiting = np.full(5, 1e-2), np.linspace(1e-3, 5e-3, 5)
    assert aggregated_serving.fit(step, waiting, step + 3 * waiting).share == 1.0
    assert aggregated_serving.fit(step, waiting, 0.5 * step).host_s == 0.0


def test_a_fit_refuses_too_few_runs():
    with pytest.raises(InputError, match="rows=3 must be at least 4"):
        aggregated_serving.fit(np.ones(3), np.ones(3), np.ones(3))


def test_groups_fall_on_one_side_whatever_file_they_stand_in():
    tp, tokens = np.repeat([1, 2, 4, 8], 16), np.tile([128, 256, 512, 1000, 1024, 2000, 2048, 4096], 8)
    half = aggregated_serving.in_fit_half(tp, tokens, 512)
    again = aggregated_serving.in_fit_half(tp[::-1], tokens[::-1], 512)[::-1]
    assert half.tolist() == again.tolist()
    assert 0.3 < half.mean() < 0.7


@pytest.mark.parametrize("field, value", [("share", 1.5), ("share", -0.1), ("host_s", -1e-3)])
def test_scalars_outside_their_meaning_are_refused(field, value):
    with pytest.raises(InputError, match=field):
        ServingOverheads(**{field: value})


def test_nothing_is_fitted_by_default():
    assert (NOT_FITTED.share, NOT_FITTED.host_s) == (1.0, 0.0)
