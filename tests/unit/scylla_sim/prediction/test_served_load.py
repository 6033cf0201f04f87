"""Prefill steps and the share of prefills in a served load."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import scylla_sim
from scylla_sim.calibration.device_calibration import shipped
from scylla_sim.checks import InputError
from scylla_sim.prediction.prefill import MAX_STEP_TOKENS, draft_prompt_step, prefill_step, prompt_step
from scylla_sim.prediction.served_load import PREFILL_RANGE, ServedLoad
from scylla_sim.prediction.steps import Deployment, target_step
from scylla_sim.specs import catalog
from scylla_sim.specs.engine import Engine

MODEL = catalog.model("llama-3.1-8b")
IDEAL = Deployment(shipped("h100-sxm"), catalog.engine("ideal"))
CHAIN = {"hardware": "h100-sxm", "draft": "eagle3", "draft_len": 3, "tokens_per_cycle": 2.4, "engine": "vllm"}
LENGTHS = {"input_len": 1000, "output_len": 200}


def parts(step):
    return {part.name: part for part in step.parts}


def test_gemms_of_a_prefill_are_those_of_a_step_with_as_many_rows():
    prefill, step = (
        parts(found)
        for found in (
            prefill_step(MODEL, IDEAL, tokens=512, sequences=2),
            target_step(MODEL, IDEAL, batch=1024, context=512),
        )
    )
    for name in ("qkv_proj", "down_proj", "norms"):
        assert float(prefill[name].seconds) == pytest.approx(float(step[name].seconds))
    assert float(prefill["lm_head"].seconds) < 0.5 * float(step["lm_head"].seconds)


def test_a_prefill_takes_at_least_its_flops_and_little_more():
    # 2 FLOPs a weight and token, without embedding and head: 6.98e9 weights
    for tokens in (2048, 8192):
        least = 2.0 * 6.98e9 * tokens / 989e12
        assert 1.0 < float(prefill_step(MODEL, IDEAL, tokens=tokens).seconds) / least < 2.0


def test_several_prompts_attend_to_themselves_only():
    apart, one = (
        parts(prefill_step(MODEL, IDEAL, tokens=tokens, sequences=4096 // tokens))["attention"]
        for tokens in (512, 4096)
    )
    assert float(one.compute_s) == pytest.approx(8.0 * float(apart.compute_s), rel=0.01)


def test_a_cached_prefix_costs_less_than_its_prefill_and_is_theory():
    whole = prefill_step(MODEL, IDEAL, tokens=4096)
    rest = prefill_step(MODEL, IDEAL, tokens=1024, cached=3072)
    fresh = prefill_step(MODEL, IDEAL, tokens=1024)
    assert float(fresh.seconds) < float(rest.seconds) < float(whole.seconds)
    for step, level in ((fresh, "silicon"), (rest, "theory")):
        assert parts(step)["attention"].evidence == level
    width = [
        float(one.time.upper / one.time.value) for one in (parts(rest)["attention"], parts(fresh)["attention"])
    ]
    assert width[0] > 1.4 * width[1]


def test_long_prompts_are_split_and_a_step_refuses_them():
    with pytest.raises(InputError, match=f"must be at most {MAX_STEP_TOKENS} in one step"):
        prefill_step(MODEL, IDEAL, tokens=MAX_STEP_TOKENS + 1)
    halves = [prefill_step(MODEL, IDEAL, tokens=8192, cached=cached).seconds for cached in (0, 8192)]
    assert float(prompt_step(MODEL, IDEAL, tokens=16384).seconds) == pytest.approx(float(sum(halves)))


def test_an_engine_may_need_a_least_time_per_layer():
    slow = Engine("x", prefill_layer_s=1e-3, intervals={"prefill_layer_s": (5e-4, 2e-3)})
    short = prefill_step(MODEL, Deployment(shipped("h100-sxm"), slow), tokens=64)
    assert [float(end) for end in (short.seconds, short.time.upper)] == pytest.approx([0.032, 0.064])
    long = [prefill_step(MODEL, Deployment(shipped("h100-sxm"), one), tokens=4096) for one in (slow, Engine("y"))]
    assert float(long[0].seconds) == float(long[1].seconds)


def test_mla_expands_keys_and_values_in_a_prefill():
    ops = parts(
        prefill_step(catalog.model("deepseek-v3"), Deployment(shipped("h200-sxm"), Engine("x"), tp=8), tokens=1024)
    )
    assert "kv_b_proj" in ops and "query_absorb" not in ops
    assert ops["attention"].evidence == "theory"


@pytest.mark.parametrize(
    ("draft", "low", "high"), [("eagle3", 0.03, 0.06), ("eagle", 0.03, 0.06), ("llama-3.2-1b", 0.13, 0.22)]
)
def test_a_draft_reads_a_prompt_in_proportion_to_its_weights(draft, low, high):
    """One of 32 layers, its features and one row of logits; 1.0 of 7.0 billion weights in layers."""
    for tokens in (2048, 20_000):
        own = draft_prompt_step(catalog.draft(draft), MODEL, IDEAL, tokens=tokens).seconds
        assert low < float(own / prompt_step(MODEL, IDEAL, tokens=tokens).seconds) < high


def test_each_output_token_takes_a_share_of_all_prefills():
    (decoding,), (loaded,) = (
        scylla_sim.predict("llama-3.1-8b", batch=64, context=1100, **CHAIN, **more).rows() for more in ({}, LENGTHS)
    )
    where = Deployment(shipped("h100-sxm"), catalog.engine("vllm"))
    x = 64 * float(prompt_step(MODEL, where, tokens=1000).seconds) / 200
    y = 64 * float(draft_prompt_step(catalog.draft("eagle3"), MODEL, where, tokens=1000).seconds) / 200
    assert loaded["prefill_per_token_s"] == pytest.approx(x)
    assert loaded["tpot_s"] == pytest.approx(decoding["tpot_s"] + x + y)
    assert 64 / loaded["plain_tokens_per_s"] == pytest.approx(64 / decoding["plain_tokens_per_s"] + x)
    assert loaded["cycle_s"] == pytest.approx(decoding["cycle_s"])
    assert loaded["prefill_share"] == pytest.approx((x + y) / loaded["tpot_s"])
    assert decoding["prefill_share"] == decoding["plain_prefill_share"] == 0.0
    assert 1.0 < loaded["speedup"] < decoding["speedup"] or decoding["speedup"] < 1.0


def test_an_error_of_the_load_is_shared_with_the_baseline():
    rows = [
        scylla_sim.predict("llama-3.1-8b", batch=64, context=1100, **CHAIN, **more).rows()[0]
        for more in ({}, LENGTHS)
    ]
    width = [{name: row[f"{name}_upper"] / row[name] for name in ("speedup", "tokens_per_s")} for row in rows]
    assert width[1]["tokens_per_s"] > width[0]["tokens_per_s"]
    # at the ends of the range, the whole speed-up moves as computed by hand; intervals are linear in the error
    row = rows[1]
    plain = 64 / row["plain_tokens_per_s"]
    ends = [
        (plain + (end - 1.0) * row["prefill_per_token_s"])
        / (row["tpot_s"] + (end - 1.0) * row["prefill_per_token_s"])
        for end in PREFILL_RANGE
    ]
    assert row["speedup_lower"] < min(ends) and max(ends) < 1.02 * row["speedup_upper"]


def test_a_shared_prefix_saves_prefill():
    times = [
        scylla_sim.predict("llama-3.1-8b", batch=8, **CHAIN, **LENGTHS, prefix_hit=hit).rows()[0]["prefill_share"]
        for hit in (0.0, 0.6, 1.0)
    ]
    assert times[0] > times[1] > times[2] > 0.0
    assert ServedLoad(1000, 200, 1.0).new_tokens == 1


def test_the_context_grows_while_decoding():
    result = scylla_sim.predict("llama-3.1-8b", **CHAIN, **LENGTHS)
    assert result.rows()[0]["context_len"] == 1100
    assert "context 1100: the input and half of the output" in result.notes
    assert "Decoding only" not in result.to_text()
    assert "Decoding only" in scylla_sim.predict("llama-3.1-8b", **CHAIN).to_text()


@pytest.mark.parametrize(
    "given, message",
    [
        ({"input_len": 10}, "input_len=10 needs output_len"),
        ({"output_len": 10}, "output_len=10 needs input_len"),
        ({"prefix_hit": 0.5}, "prefix_hit=0.5 needs input_len and output_len"),
        ({**LENGTHS, "prefix_hit": 1.5}, r"prefix_hit=1.5 must lie in \[0, 1\]"),
        ({"input_len": 131000, "output_len": 1000}, "context=132000 exceeds"),
        ({"input_len": 0, "output_len": 10}, "input_len=0 must"),
    ],
)
def test_incomplete_or_impossible_loads_are_refused(given, message):
    with pytest.raises(InputError, match=message):
        scylla_sim.predict("llama-3.1-8b", **CHAIN, **given)


def test_longer_answers_lower_the_share_of_prefills():
    shares = [
        scylla_sim.predict("llama-3.1-8b", batch=8, context=1024, **CHAIN, input_len=500, output_len=n).rows()[0]
        for n in (50, 500, 5000)
    ]
    assert np.all(np.diff([row["prefill_share"] for row in shares]) < 0)


def test_an_error_of_acceptance_does_not_move_the_prefills():
    config = scylla_sim.predict("llama-3.1-8b", **CHAIN).predictions[0].config
    wide = replace(config, tau_lower=1.2, tau_upper=2.4)
    more = {"hardware": "h100-sxm", "draft": wide, "engine": "ideal", "batch": 64, "context": 1100, **LENGTHS}
    row = scylla_sim.predict("llama-3.1-8b", **more).rows()[0]
    # the rate at the lower end by hand; its deviation alone already widens the interval that far, but not to a half
    at_lower = row["tpot_s"] / (row["cycle_s"] / 1.2 + row["prefill_per_token_s"])
    ratio = row["tokens_per_s"] / row["tokens_per_s_lower"]
    below = 1.0 - at_lower
    without_load = 1.0 - 1.2 / 2.4
    assert below < 0.9 * without_load
    others = [0.7 * row["prefill_share"], 0.05]
    assert 1.0 + below <= ratio < 1.0 + float(np.hypot(np.hypot(below, others[0]), 3.0 * others[1]))
