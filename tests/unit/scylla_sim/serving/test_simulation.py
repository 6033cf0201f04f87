"""Simulated runs against hand computations, queueing theory and the iteration model."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from serving_models import equal_requests, flat_model

from scylla_sim.checks import InputError
from scylla_sim.prediction.scenario import Scenario
from scylla_sim.serving.batching import PREFILL_FIRST, Work
from scylla_sim.serving.iteration import IterationModel, iteration_model
from scylla_sim.serving.simulation import Run, plain_work, simulate
from scylla_sim.serving.workload import Requests, closed_loop_arrivals, draw_cycles, gamma_arrivals


def ttft(run: Run) -> np.ndarray:
    return run.first_s - run.requests.arrival_s


def run_plain(model: IterationModel, requests: Requests, **options: str) -> Run:
    return simulate(model, requests, plain_work(requests, model), **options)


def real_model(draft: str = "none", **options: object) -> tuple[IterationModel, float]:
    scenario = Scenario(
        "llama-3.1-8b", hardware="h100-sxm", draft=draft, acceptance=0.7 if draft != "none" else None
    )
    (config,), _ = scenario.speculative_configs()
    model = iteration_model(
        scenario.target_model(),
        config,
        *scenario.deployments(),
        max_context=1500,
        max_num_seqs=32,
        contexts=9,
        **options,
    )
    return model, config.tokens_per_cycle


def test_two_requests_by_hand() -> None:
    """Prompts of 100 tokens take 10 ms, decodes 10 ms; the second request arrives in the first decode.

    0-10 ms prompt 1; 10-20 decode; 20-40 decode and prompt 2; 40-50 both decode; 50-60 request 2 alone.
    """
    requests = equal_requests(np.array([0.0, 0.015]), 100, 4)
    run = run_plain(flat_model(), requests)
    assert run.first_s.tolist() == pytest.approx([0.010, 0.040])
    assert run.finish_s.tolist() == pytest.approx([0.050, 0.070])
    assert run.admit_s.tolist() == pytest.approx([0.0, 0.020])
    assert run.gap_s.tolist() == pytest.approx([0.01, 0.01, 0.02, 0.01, 0.01, 0.01])
    assert run.gap_weight.tolist() == [0, 1, 1, 2, 1, 1]


def test_prompts_first_stop_the_decodes() -> None:
    """The same requests; 20-30 ms reads prompt 2 alone, and the stall counts in the gap that follows."""
    requests = equal_requests(np.array([0.0, 0.015]), 100, 4)
    run = run_plain(flat_model(), requests, policy=PREFILL_FIRST)
    assert run.first_s.tolist() == pytest.approx([0.010, 0.030])
    assert run.finish_s.tolist() == pytest.approx([0.050, 0.060])
    assert run.gap_weight.tolist() == [0, 1, 0, 2, 2, 1]
    assert run.gap_s.tolist() == pytest.approx([0.01, 0.01, 0.01, 0.02, 0.01, 0.01])


def test_the_budget_cuts_prompts_into_chunks_beside_decodes() -> None:
    """The budget of 60 tokens leaves 59 beside one decode: 100 tokens of prompt 2 take two iterations."""
    requests = equal_requests(np.array([0.0, 0.012]), 100, 30)
    run = run_plain(flat_model(budget=60), requests)
    # prompt 1: 60 and 40 tokens; prompt 2 arrives meanwhile, shares 20 tokens of the second iteration, then 59, 21
    assert run.first_s[0] == pytest.approx(0.010)
    second = run_plain(flat_model(budget=60), equal_requests(np.array([0.0, 0.0]), 100, 30))
    assert second.first_s.tolist() == pytest.approx([0.012, 0.012 + 0.01 + 59e-4 + 0.01 + 21e-4])


@pytest.mark.parametrize("draft", ["none", "eagle3"])
def test_a_request_alone_has_the_latency_of_the_iteration_model(draft: str) -> None:
    model, tau = real_model(draft)
    requests = equal_requests(np.arange(3) * 100.0, 1000, 101)
    cycles = np.array([[100, 100, 100]]) if draft == "none" else np.array([[40, 50, 62]])
    of_batch = np.zeros(model.max_num_seqs + 1, dtype=np.int64)
    run = simulate(model, requests, Work(cycles, np.array([tau]), of_batch))
    np.testing.assert_allclose(ttft(run), model.prefill_s(1000), rtol=1e-12)
    for who, count in enumerate(cycles[0].tolist()):
        contexts = 1000 + 100 / count * np.arange(count)
        own = model.prefill_s(1000) + float(model.decode_s(1, contexts).sum())
        assert run.finish_s[who] - 100.0 * who == pytest.approx(own, rel=1e-9)


def test_equal_gaps_below_the_capacity_never_wait() -> None:
    """D/D/1: prompts of 10 ms, one an iteration, every 10.1 ms."""
    requests = equal_requests(np.arange(50) * 0.0101, 100, 1)
    run = run_plain(flat_model(budget=100), requests)
    np.testing.assert_allclose(ttft(run), 0.01, rtol=1e-9)


@pytest.mark.parametrize("load", [0.3, 0.7, 0.9])
def test_poisson_arrivals_wait_as_long_as_in_an_m_d_1_queue(load: float) -> None:
    """Mean wait S load / (2 (1 - load)), Pollaczek-Khinchine."""
    rng = np.random.default_rng(5)
    requests = equal_requests(gamma_arrivals(rng, 40_000, rate=load / 0.01), 100, 1)
    run = run_plain(flat_model(budget=100), requests)
    wait = 0.01 * load / (2.0 * (1.0 - load))
    assert float(np.mean(ttft(run))) - 0.01 == pytest.approx(wait, rel=0.08)


def test_a_rate_above_the_capacity_grows_the_queue_without_end() -> None:
    requests = equal_requests(gamma_arrivals(np.random.default_rng(0), 4000, rate=110.0), 100, 1)
    wait = ttft(run_plain(flat_model(budget=100), requests))
    assert wait[-500:].mean() > 2.0 * wait[1000:1500].mean()
    assert wait[-1] == pytest.approx(4000 * (0.01 - 1 / 110.0), rel=0.2)


def test_a_higher_rate_is_slower_and_faster_steps_are_not() -> None:
    model, _ = real_model()
    gaps = gamma_arrivals(np.random.default_rng(2), 400, rate=1.0)
    found = [run_plain(model, equal_requests(gaps / rate, 1000, 100)) for rate in (2.0, 8.0, 16.0)]
    times = [(ttft(run).mean(), (run.finish_s - run.first_s).mean()) for run in found]
    assert times[0] < times[1] < times[2]
    assert times[0][1] < times[1][1] < times[2][1]
    fast = run_plain(model.scaled(0.9, 0.9), equal_requests(gaps / 16.0, 1000, 100))
    assert ttft(fast).mean() < times[2][0]
    # errors grow through the queue: 10 % faster steps save more than 10 %
    assert (fast.finish_s - fast.first_s).mean() < 0.9 * times[2][1]


def test_a_full_pool_makes_requests_wait_and_preempts() -> None:
    requests = equal_requests(np.zeros(12), 100, 200)
    tight, wide = (run_plain(flat_model(pool=pool), requests) for pool in (700.0, 1e6))
    assert wide.preemptions == 0
    assert tight.preemptions > 0
    assert tight.max_kv_tokens <= 700.0
    assert tight.finish_s.max() > 2.0 * wide.finish_s.max()
    assert np.isfinite(tight.finish_s).all()
    # at most two requests of 300 tokens fit to their end, more only while they are short
    assert tight.running.max() <= 7


def test_a_preempted_request_is_the_first_to_start_again() -> None:
    """Two of three requests fit until they hold 145 tokens each; the third would fit once the second is out."""
    run = run_plain(flat_model(pool=290.0), equal_requests(np.zeros(3), 100, 100))
    assert run.preemptions > 0
    assert run.admit_s[2] >= run.finish_s[0]
    assert run.finish_s[1] < run.finish_s[2]


def test_a_request_beyond_the_pool_is_refused() -> None:
    with pytest.raises(InputError, match=r"kv_tokens=250 must hold the largest request, 301 tokens"):
        run_plain(flat_model(pool=250.0), equal_requests(np.zeros(2), 100, 200))


def test_a_budget_below_the_decodes_is_refused_beside_prompts_only() -> None:
    model, requests = flat_model(seats=16, budget=12), equal_requests(np.zeros(2), 10, 5)
    with pytest.raises(InputError, match=r"max_num_batched_tokens=12 must be at least 16, the tokens that 16 dec"):
        run_plain(model, requests)
    assert np.isfinite(run_plain(model, requests, policy=PREFILL_FIRST).finish_s).all()


def test_a_closed_loop_keeps_its_clients_busy() -> None:
    requests = equal_requests(closed_loop_arrivals(60, 4), 10, 20)
    run = run_plain(flat_model(), requests)
    assert run.running.max() == 4
    order = np.sort(run.finish_s)
    np.testing.assert_allclose(run.requests.arrival_s[4:], order[:56])


def test_a_schedule_weights_cycles_by_their_tokens() -> None:
    """Batch 1 gains 2 tokens a cycle, batch 2 one: a second request halves the pace of the first."""
    model = flat_model(seats=2)
    requests = equal_requests(np.array([0.0, 0.1]), 10, 41)
    work = Work(np.array([[20, 20], [40, 40]]), np.array([2.0, 1.0]), np.array([0, 0, 1]))
    run = simulate(model, requests, work)
    # alone until 0.1 s: the prompt and 10 cycles, 20 tokens; then 20 cycles of one token together
    assert run.first_s[0] == pytest.approx(0.001)
    assert run.finish_s[0] == pytest.approx(0.001 + 0.1 + 0.001 + 0.2, abs=0.011)
    # the second starts when two decode, and drew 40 cycles of one token; 20 of them are left when it is alone
    assert run.finish_s[1] == pytest.approx(run.finish_s[0] + 0.1, abs=0.021)


def test_one_weight_everywhere_is_no_schedule() -> None:
    model, tau = real_model("eagle3")
    rng = np.random.default_rng(1)
    requests = equal_requests(gamma_arrivals(rng, 100, rate=10.0), 500, 50)
    cycles = draw_cycles(rng, requests.output_tokens - 1, np.array([0.3, 0.2, 0.2, 0.3]))
    batches = np.arange(model.max_num_seqs + 1)
    one = simulate(model, requests, Work(cycles[None], np.array([tau]), 0 * batches))
    two = simulate(model, requests, Work(np.stack([cycles, cycles]), np.array([tau, tau]), batches % 2))
    np.testing.assert_array_equal(one.finish_s, two.finish_s)


def test_cached_tokens_are_not_read_again() -> None:
    requests = equal_requests(np.zeros(1), 100, 2)
    cached = replace(requests, cached_tokens=np.array([80]))
    assert run_plain(flat_model(), cached).first_s[0] == pytest.approx(0.002)


def test_decodes_leave_less_of_the_budget_for_prompts() -> None:
    """Two requests of 100 and 199 tokens with a budget of 200: beside one decode, the second needs one iteration.

    One with 200 tokens needs two, because the decode takes one token of the budget.
    """
    for prompt, chunks in ((199, 1), (200, 2)):
        requests = Requests(
            np.array([0.0, 0.005]), np.array([100, prompt]), np.zeros(2, int), np.array([50, 4]), np.zeros(2, int)
        )
        run = run_plain(flat_model(budget=200), requests)
        start = run.first_s[0]
        assert run.first_s[1] == pytest.approx(start + chunks * 0.01 + prompt * 1e-4)


def test_a_preempted_request_computes_its_tokens_again() -> None:
    """A pool of 260 tokens holds two prompts of 100 and 60 tokens more; then the second one starts again."""
    requests = equal_requests(np.array([0.0, 0.0]), 100, 50)
    tight, free = (run_plain(flat_model(pool=pool), requests) for pool in (260.0, 1e9))
    assert (tight.preemptions, free.preemptions) == (1, 0)
    prompts = [float((np.diff(run.gap_end_s, prepend=0.0) > 0.0101).sum()) for run in (tight, free)]
    assert prompts[0] == prompts[1] + 1, "one iteration more reads a prompt"
    longest = float(np.diff(tight.gap_end_s).max())
    assert longest == pytest.approx(1e-4 * (100 + 30)), "it reads its prompt and 30 tokens of its answer again"
