"""TensorRT-LLM, llama.cpp, SGLang's metrics, GuideLLM and SpecForge: one window, one request, one run by hand."""

import json

import pytest

from scylla_sim.checks import InputError
from scylla_sim.engines.guidellm import read_guidellm
from scylla_sim.engines.llama_log import read_llama_log
from scylla_sim.engines.sglang_metrics import read_sglang_metrics
from scylla_sim.engines.specforge import read_specforge
from scylla_sim.engines.text_file import TextFile
from scylla_sim.engines.trtllm_metrics import read_trtllm_metrics
from scylla_sim.engines.trtllm_stats import read_trtllm_stats
from scylla_sim.engines.windows import Windows


def iteration(number, drafted, accepted, requests, **more):
    stats = {"numDraftTokens": drafted, "numAcceptedTokens": accepted, "numRequestsWithDraftTokens": requests}
    stats["acceptanceLength"] = 1 + accepted / requests if requests else 0.0
    return {"iter": number, "iterLatencyMS": 20.0, "specDecodingStats": stats, **more}


ROWS = [iteration(1, 0, 0, 0), iteration(2, 24, 12, 8), iteration(3, 12, 9, 4)]


@pytest.mark.parametrize(
    "text",
    [json.dumps(ROWS), "\n".join(map(json.dumps, ROWS)), "\n".join(map(str, ROWS)), json.dumps(ROWS, indent=1)],
)
def test_iterations_of_trtllm_in_all_notations(text):
    (found,) = read_trtllm_stats(TextFile.of(text))
    assert (found.found.cycles, found.found.accepted, found.found.drafted) == (12, 21, 36)
    assert found.found.tau().value == pytest.approx(1 + 21 / 12)
    assert found.found.counted_len == 3
    assert (found.served.itl_s, found.served.concurrency) == (0.02, 6)


def test_ranks_of_trtllm_repeat_rank_0():
    copies = [iteration(2, 24, 12, 8, attentionDpRank=rank) for rank in range(4)]
    assert read_trtllm_stats(TextFile.of(json.dumps(copies)))[0].found.cycles == 8
    with pytest.raises(InputError, match="all ranks repeat the same statistics"):
        read_trtllm_stats(TextFile.of(json.dumps([iteration(2, 24, 12, 8, rank=rank) for rank in range(2)])))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (json.dumps(ROWS[:1]), "numDraftTokens=0 were drafted"),
        (json.dumps([iteration(2, 24, 30, 8)]), "must lie in"),
        (
            json.dumps([iteration(2, 24, "x", 8) if False else {"specDecodingStats": {"numDraftTokens": "x"}}]),
            "count",
        ),
        (json.dumps(ROWS[1])[:60], "is not one object; is it cut"),
    ],
)
def test_damaged_iterations_are_named(text, message):
    with pytest.raises(InputError, match=message):
        read_trtllm_stats(TextFile.of(text))


def test_a_page_of_trtllm_needs_the_draft_length():
    text = 'trtllm_spec_decode_num_{}_total{{model_name="m"}} {}\n'
    page = text.format("draft_tokens", 300.0) + text.format("accepted_tokens", 180.0)
    found = read_trtllm_metrics(TextFile.of(page))[0].found
    assert found.windows(3).tau().value == pytest.approx(2.8)
    with pytest.raises(InputError, match="TensorRT-LLM's /metrics page does not count cycles"):
        found.windows(None)


# llama-server, as published in issues. The statistics line counts 1309 drafts; the request took 4013 - 1 - 2703.
LLAMA = """slot print_timing: id  3 | task 0 | prompt eval time =    1400.69 ms /   759 tokens (1.85 ms per token)
slot print_timing: id  3 | task 0 |        eval time =  184494.10 ms /  4013 tokens (   45.97 ms per token)
slot print_timing: id  3 | task 0 |       total time =  185894.79 ms /  4772 tokens
slot print_timing: id  3 | task 0 | draft acceptance = 0.68831 ( 2703 accepted /  3927 generated)
statistics        draft-mtp: #calls(b,g,a) =    1   1309   1309, #gen drafts =   1309, #acc drafts =  1120
"""


def test_steps_of_llama_cpp_follow_from_its_tokens():
    (found,) = read_llama_log(TextFile.of(LLAMA))
    assert (found.found.cycles, found.found.drafted, found.found.counted_len) == (1309, 3927, 3)
    assert found.method == "draft-mtp"
    assert found.served.tpot_s == pytest.approx(0.04597, abs=1e-5)
    two = LLAMA + LLAMA.replace("4013", "1001").replace("2703 accepted /  3927", "500 accepted /  1000")
    assert read_llama_log(TextFile.of(two))[0].found.cycles == 1309 + 500


# As published with pull request 24536: the statistics line counts 87 drafts, 70 of which accepted position 1.
POSITIONS = """slot print_timing: id  1 | task 0 |        eval time =    2296.72 ms /   256 tokens
slot print_timing: id  1 | task 0 | draft acceptance = 0.64479 (  167 accepted /   259 generated), """
POSITIONS += "mean acceptance length =  2.92, acceptance rate per position = (0.805, 0.632, 0.483)\n"


def test_llama_cpp_prints_rates_by_position():
    (found,) = read_llama_log(TextFile.of(POSITIONS))
    assert (found.found.accepted, found.found.cycles, found.found.total_drafted) == ((70, 55, 42), 88, 259)
    (both,) = read_llama_log(TextFile.of(POSITIONS * 2))
    assert (both.found.accepted, both.found.cycles, both.found.windows) == ((140, 110, 84), 176, 2)
    shorter = POSITIONS.replace("167 accepted", "60 accepted").replace("(0.805, 0.632, 0.483)", "(0.702, 0.351)")
    names = [item.series for item in read_llama_log(TextFile.of(POSITIONS + shorter.replace("259", "114")))]
    assert names == ["draft_len=2", "draft_len=3"]


def test_drafts_of_llama_cpp_that_verified_are_at_most_its_steps():
    few = POSITIONS.replace("256 tokens", "83 tokens").replace("167 accepted /   259", "1 accepted /    81")
    few = few.replace("(0.805, 0.632, 0.483)", "(0.012)")
    (found,) = read_llama_log(TextFile.of(few))
    assert (found.found.cycles, found.found.accepted) == (81, (1,)), "the rate alone says 83"


def test_rates_of_llama_cpp_that_contradict_its_tokens_are_left_out():
    wrong = POSITIONS.replace("0.632", "0.932")
    (found,) = read_llama_log(TextFile.of(wrong))
    assert isinstance(found.found, Windows)
    assert float(found.found.tau().value) == pytest.approx(1 + 167 / 88)


def test_other_forms_of_llama_cpp():
    short = "task 0 | draft acceptance = 0.69718 (  297 accepted /   426 generated), mean len =  2.39"
    assert read_llama_log(TextFile.of(short))[0].found.cycles == 214, "213 drafts, from a rounded mean"
    old = "draft acceptance rate = 0.57576 (  171 accepted /   297 generated)"
    with pytest.raises(InputError, match="their steps are unknown; give --draft-len"):
        read_llama_log(TextFile.of(old))[0].found.windows(None)
    answer = {
        "content": "x",
        "timings": {"predicted_n": 16, "predicted_ms": 4.0, "draft_n": 12, "draft_n_accepted": 9},
    }
    assert read_llama_log(TextFile.of(json.dumps(answer)))[0].found.cycles == 6
    pieces = [f"data: {json.dumps(answer)}", f"data: {json.dumps(answer | {'stop': True})}"]
    assert read_llama_log(TextFile.of("\n".join(pieces)))[0].found.cycles == 6, "one answer in pieces"
    with pytest.raises(InputError, match="has no accepted and generated tokens; is it cut"):
        read_llama_log(TextFile.of(short[: short.index("generated")]))


def test_counters_of_sglang_are_better_than_its_gauges():
    labels = '{model_name="m",tp_rank="0"}'
    gauges = f"sglang:spec_accept_length{labels} 2.5\nsglang:spec_num_steps{labels} 3.0\n"
    (found,) = read_sglang_metrics(TextFile.of(gauges))
    assert (float(found.found.tau().value), found.found.draft_len) == (2.5, 3)
    assert "last decode steps only" in found.notes[0]
    names = ("spec_verify_calls", "generation_tokens", "num_requests")

    def counters(*values):
        lines = [f'sglang:{name}_total{{model_name="m"}} {value}' for name, value in zip(names, values)]
        return gauges + "\n".join(lines) + "\n"

    (found,) = read_sglang_metrics(TextFile.of(counters(100, 260, 10)))
    assert found.found.tau().value == pytest.approx(2.5)
    (found,) = read_sglang_metrics(TextFile.of(counters(200, 480, 20)), TextFile.of(counters(100, 260, 10)))
    assert (found.found.cycles, float(found.found.tau().value)) == (100, pytest.approx(2.1))
    with pytest.raises(InputError, match="accept_length=0 is on this page"):
        read_sglang_metrics(TextFile.of(gauges.replace("2.5", "0.0")))


def guidellm_report(tokens_per_piece):
    """Return a report as versions 0.5 to 0.8 write it, with the times of a published run of 4 requests."""

    def distribution(mean, count=4):
        parts = {"mean": mean, "median": mean, "count": count}
        return {"successful": parts, "errored": {**parts, "mean": 0.0}, "total": parts}

    metrics = {
        "request_totals": {"successful": 4, "errored": 0, "incomplete": 0, "total": 4},
        "request_concurrency": distribution(3.99984),
        "prompt_token_count": distribution(99.0),
        "output_token_count": distribution(1024.0),
        "time_to_first_token_ms": distribution(171.7655),
        "time_per_output_token_ms": distribution(24.3229, 4096),
        "inter_token_latency_ms": distribution(24.17878, 4092),
        "output_tokens_per_second": distribution(165.595, 4096),
        "iter_tokens_per_iteration": distribution(tokens_per_piece, 4087),
    }
    config = {"run_index": 0, "strategy": {"type_": "concurrent", "streams": 4}, "backend": {"model": "a/model"}}
    benchmark = {"type_": "generative_benchmark", "config": config, "metrics": metrics}
    return {
        "metadata": {"version": 1, "guidellm_version": "0.5.0"},
        "args": {"rate": [4.0]},
        "benchmarks": [benchmark],
    }


def test_guidellm_counts_tokens_of_streamed_pieces():
    report = guidellm_report(2.4)
    (found,) = read_guidellm(TextFile.of(json.dumps(report)))
    assert (float(found.found.tau().value), found.model, found.served.requests) == (2.4, "a/model", 4)
    assert found.series == "", "settings have a key metrics too"
    report["benchmarks"] *= 2
    series = [item.series for item in read_guidellm(TextFile.of(json.dumps(report)))]
    assert series == ["benchmark 1", "benchmark 2"]


def test_the_inter_token_latency_of_guidellm_is_the_time_per_token_behind_the_first():
    (found,) = read_guidellm(TextFile.of(json.dumps(guidellm_report(2.4))))
    first, rest = found.served.ttft_s, 1023 * found.served.tpot_s
    assert (first + rest) / 1024 == pytest.approx(0.0243229, rel=1e-5), "its time per output token has the first"
    assert found.served.itl_s is None, "the time between two pieces is not in the report"


def test_guidellm_without_a_draft_is_a_plain_run():
    with pytest.raises(InputError, match="one token a piece: no draft was used.* goes to predict --compare"):
        read_guidellm(TextFile.of(json.dumps(guidellm_report(1.0012))))
    none = guidellm_report(0.0)
    with pytest.raises(InputError, match="holds no streamed answers; run GuideLLM with streaming"):
        read_guidellm(TextFile.of(json.dumps(none)))


def test_specforge_runs_and_bundles():
    bundle = {
        "Qwen3-30B-A3B": {
            "gsm8k": {
                "benchmark_name": "gsm8k",
                "results": [
                    {
                        "batch_size": 8,
                        "steps": 3,
                        "topk": 1,
                        "num_draft_tokens": 4,
                        "metrics": [
                            {"Name": "Wihtout EAGLE3", "output_throughput": 1071.29, "accept_length": 1.0},
                            {"Name": "lmsys/head", "output_throughput": 1488.36, "accept_length": 2.64},
                        ],
                    }
                ],
            }
        }
    }
    (found,) = read_specforge(TextFile.of(json.dumps(bundle)))
    assert (float(found.found.tau().value), found.found.draft_len) == (2.64, 3)
    assert found.series == "Qwen3-30B-A3B gsm8k lmsys/head batch_size=8 steps=3 topk=1 num_draft_tokens=4"
    assert (found.served.output_tokens_per_s, found.served.max_concurrency) == (1488.36, 8)
    run = {"backend": "sglang", "dataset": "gsm8k", "samples": 3, "output_tokens": 303, "latency_seconds": 2.0}
    run |= {"throughput_tokens_per_second": 151.5, "average_acceptance_length": 3.0, "spec_verify_count": 100}
    (found,) = read_specforge(TextFile.of(json.dumps(run)))
    assert (found.found.cycles, float(found.found.tau().value)) == (100, pytest.approx(3.0))
    with pytest.raises(InputError, match="holds no run with a draft"):
        read_specforge(TextFile.of(json.dumps(bundle).replace("2.64", "1.0")))
