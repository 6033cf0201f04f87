"""Iterations: the cycle of `predict` without prompts, the prefill of `prompt_step` alone, and sums of both."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest

from scylla_sim.checks import InputError
from scylla_sim.prediction.prefill import prefill_step, prompt_step
from scylla_sim.prediction.scenario import Scenario
from scylla_sim.prediction.throughput import predict_each
from scylla_sim.serving.iteration import IterationModel, iteration_model

CASES = {
    "dense": Scenario("llama-3.1-8b", hardware="h100-sxm"),
    "eagle3": Scenario("llama-3.1-8b", hardware="h100-sxm", draft="eagle3", acceptance=0.7, engine="sglang"),
    "tp4": Scenario("llama-3.1-70b", hardware="h100-sxm", tp=4, precision="fp8"),
    "moe": Scenario("qwen3-30b-a3b", hardware="h200-sxm"),
    "mla": Scenario("deepseek-v3", hardware="h200-sxm", tp=8, draft="mtp", acceptance=0.8),
    "cpu": Scenario("llama-3.2-1b", hardware="h100-sxm", eager=True),
}


@cache
def model_of(name: str, budget: int = 2048, seats: int = 6) -> IterationModel:
    scenario = CASES[name]
    (config,), _ = scenario.speculative_configs()
    return iteration_model(
        scenario.target_model(),
        config,
        *scenario.deployments(),
        max_context=4096,
        max_num_seqs=seats,
        max_num_batched_tokens=budget,
        contexts=17,
    )


@pytest.mark.parametrize("name", CASES)
def test_an_iteration_without_prompts_is_the_predicted_cycle(name: str) -> None:
    scenario, found = CASES[name], model_of(name)
    (config,), _ = scenario.speculative_configs()
    target, draft = scenario.deployments()
    batch, context = np.array([[1.0], [5.0]]), np.array([[256.0, 2048.0]])
    (told,) = predict_each(
        scenario.target_model(), [config], target, batch=batch, context=context, draft_deployment=draft
    )
    np.testing.assert_array_equal(found.decode_s(batch, context), told.cycle_s)
    np.testing.assert_array_equal(found.seconds(batch, context), told.cycle_s)
    rate = told.tokens_per_s_estimate
    slow = found.at_end("upper").decode_s(batch, context)
    np.testing.assert_allclose(slow / told.cycle_s, rate.value / rate.lower, rtol=1e-12)


@pytest.mark.parametrize("name", ["dense", "tp4", "moe", "cpu"])
@pytest.mark.parametrize(("tokens", "offset"), [(1, 0), (300, 0), (1000, 0), (3000, 0), (800, 256)])
def test_a_prompt_alone_takes_its_prefill_and_the_host(name: str, tokens: int, offset: int) -> None:
    scenario, found = CASES[name], model_of(name)
    told = prompt_step(scenario.target_model(), scenario.deployments()[0], tokens=tokens, cached=offset, chunk=2048)
    chunks = -(-tokens // 2048)
    assert found.prefill_s(tokens, offset) == pytest.approx(
        float(told.seconds) + chunks * found.host_s - _heads(found, chunks), rel=1e-3
    )


def _heads(found: IterationModel, chunks: int) -> float:
    """Seconds of the head in chunks that sample no token, which `prompt_step` counts for every chunk."""
    return (chunks - 1) * float(found.prompts.head_s[1])


def test_a_draft_reads_the_prompt_too() -> None:
    scenario, found = CASES["eagle3"], model_of("eagle3")
    told = float(prompt_step(scenario.target_model(), scenario.deployments()[0], tokens=2048).seconds)
    # one decoder layer and the fused features beside 32 layers
    assert 1.02 < (found.prefill_s(2048) - found.host_s) / told < 1.06


def test_decodes_and_a_prompt_share_one_pass_over_the_weights() -> None:
    found = model_of("dense")
    together = float(found.seconds(4, 1024, tokens=16, attention_s=found.attention_s(16)))
    apart = float(found.decode_s(4, 1024)) + found.prefill_s(16)
    assert together < 0.7 * apart  # 16 GB of weights are read once: nearly half
    assert together > float(found.decode_s(4, 1024))


def test_prompts_take_gemm_rows_of_decodes_and_prompts_together() -> None:
    """R[v b + p] - R[v b], the head of one more row, and the attention of the chunk, each from its own step."""
    scenario, found = CASES["dense"], model_of("dense")
    model, (target, _) = scenario.target_model(), scenario.deployments()
    heads = ("final_norm", "lm_head", "sampling", "attention")
    rows = [
        sum(float(part.seconds) for part in prefill_step(model, target, tokens=n).parts if part.name not in heads)
        for n in (5, 5 + 100)
    ]
    chunk = prefill_step(model, target, tokens=100, cached=512)
    attention = sum(float(part.seconds) for part in chunk.parts if part.name == "attention")
    assert float(found.attention_s(100, 512)) == pytest.approx(attention, rel=2e-3)
    head = found.prompts.head_s[6] - found.prompts.head_s[5]
    whole = float(found.seconds(5, 1024, tokens=100, attention_s=attention))
    assert whole == pytest.approx(float(found.decode_s(5, 1024)) + rows[1] - rows[0] + head + attention, rel=1e-9)


def test_an_eager_step_waits_for_its_launches() -> None:
    found = model_of("cpu")
    assert (found.decoding.waiting_s[1:] > 0).all()
    assert float(found.seconds(2, 256, tokens=1, attention_s=found.attention_s(1))) == pytest.approx(
        float(found.decode_s(2, 256)), rel=1e-3
    )


def test_tokens_beyond_the_calibrations_take_time_in_proportion() -> None:
    found = model_of("dense", budget=20_000)
    rows = found.prompts.rows_s
    assert rows[16_384] == pytest.approx(2 * rows[8192])
    two = found.attention_s(8192) + found.attention_s(4096, 8192)
    assert float(found.attention_s(12_288)) == pytest.approx(float(two), rel=2e-2)


def test_a_schedule_takes_the_configuration_of_each_batch() -> None:
    scenario = Scenario("llama-3.1-8b", hardware="h100-sxm", draft="eagle3", draft_len=[0, 3], acceptance=0.7)
    configs, _ = scenario.speculative_configs()
    where = scenario.deployments()
    kwargs = {"max_context": 1024, "max_num_seqs": 4, "max_num_batched_tokens": 512, "contexts": 5}
    model = scenario.target_model()
    both = iteration_model(model, {1: configs[1], 3: configs[0]}, *where, **kwargs)
    long, none = (iteration_model(model, config, *where, **kwargs) for config in (configs[1], configs[0]))
    for batch, one in ((1, long), (2, long), (3, none), (4, none)):
        assert float(both.decode_s(batch, 512)) == float(one.decode_s(batch, 512))
    assert both.decoding.verify_tokens.tolist() == [1, 4, 4, 1, 1]
    assert both.kv_tokens.value == long.kv_tokens.value


def test_the_draft_takes_its_share_of_the_pool() -> None:
    plain, drafting = (
        Scenario("llama-3.1-8b", hardware="h100-sxm", draft=draft, acceptance=0.7) for draft in ("none", "eagle3")
    )
    pools = []
    for scenario in (plain, drafting):
        (config,), _ = scenario.speculative_configs()
        found = iteration_model(
            scenario.target_model(), config, *scenario.deployments(), max_context=1000, max_num_seqs=2, contexts=3
        )
        pools.append(found.kv_tokens)
    assert pools[1].upper < pools[0].upper * 32 / 33  # one more layer, and the weights of the head
    assert pools[0].lower <= pools[0].value <= pools[0].upper


def test_scalars_add_host_time_and_slow_prompts() -> None:
    found = model_of("dense")
    moved = found.with_scalars(host_s=1e-3, slow=0.2)
    assert float(moved.decode_s(3, 512)) == pytest.approx(float(found.decode_s(3, 512)) + 1e-3)
    assert moved.prefill_s(1000) == pytest.approx(1.2 * found.prefill_s(1000) + 1e-3 - 0.2 * found.host_s, rel=1e-6)


def test_a_schedule_without_a_first_batch_is_refused() -> None:
    with pytest.raises(InputError, match="schedule=2 must start at batch 1"):
        scenario = CASES["dense"]
        (config,), _ = scenario.speculative_configs()
        iteration_model(scenario.target_model(), {2: config}, *scenario.deployments(), max_context=512)


@pytest.mark.parametrize("name", ["dense", "eagle3", "mla"])
def test_decoding_is_nearly_linear_between_the_contexts(name: str) -> None:
    """Largest error of 17 contexts up to 4,096 tokens; median errors are below 0.001 %."""
    scenario, found = CASES[name], model_of(name)
    (config,), _ = scenario.speculative_configs()
    target, draft = scenario.deployments()
    batch, context = np.array([[1.0], [3.0], [6.0]]), np.arange(100.0, 4096.0, 333.0)[None, :]
    (told,) = predict_each(
        scenario.target_model(), [config], target, batch=batch, context=context, draft_deployment=draft
    )
    error = np.abs(found.decode_s(batch, context) / told.cycle_s - 1.0)
    assert error.max() < 0.01
    assert np.median(error) < 1e-4


def test_a_fast_engine_has_quick_decodes_and_the_large_pool() -> None:
    found = model_of("dense")
    fast, slow = found.at_end("lower"), found.at_end("upper")
    assert fast.decode_s(4, 1000) < found.decode_s(4, 1000) < slow.decode_s(4, 1000)
    assert fast.prefill_s(500) < found.prefill_s(500) < slow.prefill_s(500)
    pool = found.kv_tokens
    assert (fast.kv_tokens.value, slow.kv_tokens.value) == (pool.upper, pool.lower)
    assert float(pool.lower) < float(pool.value) < float(pool.upper)
    assert float(pool.value) == pytest.approx(float(pool.lower + pool.upper) / 2)


def test_the_fast_end_of_a_decode_is_that_of_the_rate() -> None:
    scenario, found = CASES["dense"], model_of("dense")
    (config,), _ = scenario.speculative_configs()
    (told,) = predict_each(scenario.target_model(), [config], scenario.deployments()[0], batch=4, context=2048)
    rate = told.tokens_per_s_estimate
    quick = found.at_end("lower").decode_s(4, 2048)
    np.testing.assert_allclose(quick / told.cycle_s, rate.value / rate.upper, rtol=1e-9)


def test_limits_that_are_not_given_are_those_of_the_engine() -> None:
    scenario = Scenario("llama-3.1-8b", hardware="l40s", engine="vllm")
    where, _ = scenario.deployments()
    found = iteration_model(scenario.target_model(), None, where, max_context=512, contexts=2)
    assert (found.max_num_seqs, found.max_num_batched_tokens) == (256, 2048)
