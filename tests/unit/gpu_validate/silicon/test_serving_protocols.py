"""Protocols of published serving runs: the rules of the file, and what they give for known benchmarks."""

import pytest

from gpu_validate.silicon.serving_protocols import COLUMNS, protocol, rules

LLAMA = {
    **{"origin": "inferencex", "framework": "vllm", "version": "", "checkpoint": "meta-llama/Llama-3.1-70B"},
    **{"precision": "fp8", "device": "h200-sxm", "measured": "2025-10-29", "tp": 4, "batch": 32},
    **{"input_len": 1024, "output_len": 1024, "dtype": "fp8"},
}


def test_every_rule_names_its_source() -> None:
    assert all(rule["source"] and isinstance(rule["match"], dict) for rule in rules())


def test_inferencex_runs_ten_rounds_of_lengths_from_four_fifths() -> None:
    found = protocol(LLAMA)
    assert tuple(found) == ("dtype", *COLUMNS)
    assert (found["documented"], found["rounds"], found["shortest"]) == ("yes", 10, 0.8)
    assert (found["engine"], found["kv_dtype"]) == ("vllm-2026", "fp8")
    assert (found["max_num_seqs"], found["max_num_batched_tokens"]) == (32, 8192)


def test_runs_of_unknown_origin_have_no_documented_arrivals() -> None:
    found = protocol({**LLAMA, "origin": "other", "version": "0.12.0"})
    assert (found["documented"], found["rounds"], found["shortest"]) == ("no", "", 1.0)
    assert found["engine"] == "vllm-2025"


@pytest.mark.parametrize(("tp", "hold", "tokens"), [(4, 20, 14746), (8, 0, "")])
def test_tensorrt_holds_short_prompts_below_eight_gpus(tp: int, hold: int, tokens: object) -> None:
    found = protocol({**LLAMA, "framework": "trtllm", "tp": tp})
    assert (found["hold_iterations"], found["hold_tokens"]) == (hold, tokens)


def test_sglang_polls_less_often_from_16_requests_on() -> None:
    deepseek = {**LLAMA, "framework": "sglang", "checkpoint": "deepseek-ai/DeepSeek-V3", "device": "b200-sxm"}
    found = [protocol({**deepseek, "batch": batch})["poll_iterations"] for batch in (8, 16)]
    assert found == [10, 30]


def test_a_budget_may_follow_the_input_and_the_day() -> None:
    minimax = {**LLAMA, "checkpoint": "MiniMaxAI/MiniMax-M2.5", "device": "b200-sxm"}
    found = [
        protocol({**minimax, "measured": day})["max_num_batched_tokens"] for day in ("2026-03-28", "2026-04-03")
    ]
    assert found == [8192, 2048]


def test_experts_of_gpt_oss_read_8_bit_inputs_on_blackwell_where_the_benchmark_asks_for_it():
    gpt = {**LLAMA, "checkpoint": "openai/gpt-oss-120b", "dtype": "mxfp4", "precision": "fp4"}
    run = [(name, device) for name in ("vllm", "trtllm") for device in ("b200-sxm", "h200-sxm")]
    found = [protocol({**gpt, "framework": name, "device": device})["dtype"] for name, device in run]
    assert found == ["mxfp4_fp8", "mxfp4", "mxfp4_fp8", "mxfp4"]


def test_kimi_in_fp4_has_an_8_bit_cache_from_the_day_of_the_new_script():
    kimi = {**LLAMA, "checkpoint": "moonshotai/Kimi-K2.5", "device": "b200-sxm", "precision": "fp4"}
    found = [protocol({**kimi, "measured": day})["kv_dtype"] for day in ("2026-04-19", "2026-04-20")]
    assert found == ["bfloat16", "fp8"]
