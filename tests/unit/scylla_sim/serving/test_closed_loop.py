"""Closed loops: hand-computed limits, the wave at the start, queues, and measured runs that no fit used."""

import numpy as np
import pytest

from scylla_sim.calibration import device_calibration
from scylla_sim.checks import InputError
from scylla_sim.prediction.overheads import overhead_seconds, step_overhead_counts
from scylla_sim.prediction.prefill import prompt_step
from scylla_sim.prediction.scenario import Scenario
from scylla_sim.prediction.steps import Deployment, target_step
from scylla_sim.serving.closed_load import closed_load
from scylla_sim.serving.closed_loop import LoopCosts, closed_loop, loop_costs
from scylla_sim.serving.iteration import iteration_model
from scylla_sim.specs import catalog

LLAMA8 = catalog.model("llama-3.1-8b")
IDEAL = Deployment(device_calibration.shipped("h100-sxm"), catalog.engine("ideal"))


def parts(n, *, seats=None, decode=0.01, prompt=0.1, cycles=100.0, together=1.0):
    """Parts of loops with round seconds."""
    n = np.atleast_1d(np.asarray(n, dtype=float))
    same = {"decode_s": decode, "half_decode_s": decode, "prompt_s": prompt, "wave_prompt_s": prompt}
    same |= {"together": together, "alone_s": prompt, "chunks": 1.0, "cycles": cycles}
    running = n if seats is None else np.minimum(n, seats)
    return LoopCosts(
        seats=running, running=running, **{name: np.full(n.shape, value) for name, value in same.items()}
    )


def iterations(**changes):
    limits = {"max_context": 2048, "max_num_seqs": 64, "contexts": 3} | changes
    return iteration_model(LLAMA8, None, IDEAL, **limits)


def test_one_request_meets_an_idle_engine():
    found = closed_loop(parts(1), closed_load(1, 1000, 101))
    assert found.ttft_s[0] == pytest.approx(0.1)
    assert found.tpot_s[0] == pytest.approx(0.01)
    assert found.requests_per_s[0] == pytest.approx(1 / 1.1)


def test_one_request_takes_its_prefill_and_one_step_a_token():
    costs = loop_costs(iterations(), closed_load(1, 1024, 256))
    found = closed_loop(costs, closed_load(1, 1024, 256))
    assert found.ttft_s == pytest.approx(prompt_step(LLAMA8, IDEAL, tokens=1024).seconds, rel=2e-3)
    assert found.tpot_s == pytest.approx(target_step(LLAMA8, IDEAL, batch=1, context=1024 + 128).seconds, rel=1e-3)


def test_every_other_request_is_prefilled_once_in_a_long_answer():
    # 10 requests, 10,000 iterations of 10 ms: 9 prompts of 0.1 s fall into 100 s of decoding
    found = closed_loop(parts(10, cycles=1e4), closed_load(10, 1000, 10_001))
    assert found.tpot_s[0] == pytest.approx((100 + 9 * 0.1) / 1e4, rel=1e-3)


def test_half_of_the_prompts_of_a_first_round_interrupt_a_request():
    # all start at once: on average half of the 9 other prompts of 0.1 s come after a request's own
    found = closed_loop(parts(10, cycles=1e4), closed_load(10, 1000, 10_001, start_share=1.0))
    assert found.tpot_s[0] == pytest.approx((100 + 9 * 0.1 / 2) / 1e4, rel=1e-3)


def test_all_start_together_in_the_first_round():
    # prompts one after the other, 0.1 s and one iteration each: the mean of 4 waits 0.11 * 2.5
    load = closed_load(4, 1000, 101, start_share=1.0)
    assert closed_loop(parts(4), load).ttft_s[0] == pytest.approx(0.11 * 2.5)
    two = parts(4, together=2.0)
    assert closed_loop(two, load).ttft_s[0] == pytest.approx(0.1 * 3 + 0.01 * 1.5)


def test_requests_beyond_the_seats_queue():
    free, queued = (closed_loop(parts(n, seats=8), closed_load(n, 1000, 101)) for n in (8, 12))
    service = float(free.e2e_s[0])
    assert queued.ttft_s[0] == pytest.approx(free.ttft_s[0] + 4 * service / 8)
    assert queued.requests_per_s[0] == pytest.approx(free.requests_per_s[0])


def test_a_full_kv_pool_and_max_num_seqs_limit_the_seats():
    one = iterations()
    held = one.kv_tokens.value / 1500
    assert loop_costs(one, closed_load([32, 64], 1000, 1000, max_num_seqs=48)).seats.tolist() == [32, 48]
    small = iteration_model(
        LLAMA8, None, IDEAL, max_context=120_000, mean_context=100_000, max_num_seqs=64, contexts=3
    )
    assert held > 64
    assert loop_costs(small, closed_load(64, 99_000, 2000)).seats == np.floor(small.kv_tokens.value / 100_000)


def test_prompts_beside_decoding_cost_less_than_alone_and_prefill_first_the_whole():
    one = iterations()
    mixed, first = (loop_costs(one, closed_load(32, 1024, 256, prefill_first=flag)) for flag in (False, True))
    assert mixed.prompt_s < mixed.alone_s
    assert first.prompt_s == pytest.approx(first.alone_s)


def test_polling_and_holding_delay_the_first_token_only():
    plain, polled, held = (
        closed_loop(parts(8), closed_load(8, 1000, 101, **more))
        for more in ({}, {"poll_iterations": 10}, {"hold_iterations": 20})
    )
    assert polled.ttft_s > plain.ttft_s + 0.02
    assert held.ttft_s > plain.ttft_s + 0.05
    assert polled.tpot_s == pytest.approx(plain.tpot_s, rel=0.1)


def test_llama_70b_under_vllm_agrees_with_measurements():
    # aiconfigurator-core (Apache-2.0), systems/silicon_sample.csv: H200, vLLM, Llama-3.1-70B, fp8, tp 4, 8192 in
    # and 1024 out; arrivals of InferenceX: lengths from 0.8, ten rounds; only 30 ms are added to the first token
    scenario = Scenario(
        "llama-3.1-70b", hardware="h200-sxm", tp=4, precision="fp8", kv_precision="fp8", engine="vllm-2026"
    )
    deployment, _ = scenario.deployments()
    one = iteration_model(scenario.target_model(), None, deployment, max_context=9216, max_num_seqs=64, contexts=3)
    load = closed_load([4, 8, 16, 32, 64], 0.9 * 8192, 0.9 * 1024, start_share=0.1)
    found = closed_loop(loop_costs(one, load), load, first_token_s=0.03)
    measured_s = np.array([11.3, 13.2, 17.4, 28.6, 46.1]) / 1e3
    assert found.tpot_s[:3] == pytest.approx(measured_s[:3], rel=0.12)
    # without the engine's scalars, steps full of prompts are too fast, as docs/gpu-findings.md found on an H200
    assert found.tpot_s[3:] == pytest.approx(measured_s[3:], rel=0.18)
    assert (found.tpot_s[3:] < measured_s[3:]).all()
    assert found.ttft_s == pytest.approx(np.array([469, 613, 775, 1117, 1818]) / 1e3, rel=0.16)


def test_host_time_of_the_engine_is_in_every_iteration():
    engine = catalog.engine("vllm-2025")
    busy = Deployment(device_calibration.shipped("h100-sxm"), engine)
    load = closed_load(1, 1024, 256)
    slow, fast = (
        closed_loop(loop_costs(iteration_model(LLAMA8, None, one, max_context=1280, max_num_seqs=4), load), load)
        for one in (busy, IDEAL)
    )
    host = overhead_seconds(engine, step_overhead_counts(1))
    assert slow.tpot_s - fast.tpot_s == pytest.approx(host, rel=0.02)


@pytest.mark.parametrize(
    ("name", "value"),
    [("concurrency", 0), ("input_len", 0), ("output_len", 1), ("start_share", 1.5), ("hold_iterations", -1)],
)
def test_impossible_loads_are_refused(name, value):
    with pytest.raises(InputError, match=f"{name}="):
        closed_load(**{"concurrency": 4, "input_len": 100, "output_len": 100, name: value})


def test_seconds_between_client_and_scheduler_come_once_a_request():
    load = closed_load(1, 1000, 101)
    near, far = (closed_loop(parts(1), load, first_token_s=seconds) for seconds in (0.0, 0.05))
    assert far.ttft_s - near.ttft_s == pytest.approx(0.05)
    assert far.tpot_s == pytest.approx(near.tpot_s)
    assert far.e2e_s - near.e2e_s == pytest.approx(0.05)
