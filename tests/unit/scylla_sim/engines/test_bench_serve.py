"""Results of ``vllm bench serve`` and of SGLang's ``bench_serving``."""

import json

import pytest

from scylla_sim.checks import InputError
from scylla_sim.engines.bench_serve import read_bench_json, read_bench_text
from scylla_sim.engines.measurement import choose
from scylla_sim.engines.text_file import TextFile

# vllm bench serve of 2026 (vllm pull request 51742, issue 33497).
RESULT = {
    "date": "20260908-140924",
    "model_id": "Qwen/Qwen3-8B",
    "max_concurrency": 1,
    "request_rate": "inf",
    "duration": 266.9,
    "completed": 20,
    "total_input_tokens": 81920,
    "total_output_tokens": 20480,
    "output_throughput": 76.73,
    "mean_tpot_ms": 12.65,
    "spec_decode_acceptance_rate": 73.47,
    "spec_decode_acceptance_length": 3.204,
    "spec_decode_num_drafts": 6393,
    "spec_decode_draft_tokens": 19179,
    "spec_decode_accepted_tokens": 14090,
    "spec_decode_per_position_acceptance_rates": [0.8342, 0.7291, 0.6407],
}
TEXT = """============ Serving Benchmark Result ============
Successful requests:                     20
Failed requests:                         0
Maximum request concurrency:             1
Benchmark duration (s):                  266.90
Total input tokens:                      81920
Total generated tokens:                  20480
Output token throughput (tok/s):         76.73
-----Time per Output Token (excl. 1st token)------
Mean TPOT (ms):                          12.65
---------------Speculative Decoding---------------
Acceptance rate (%):                     73.47
Acceptance length:                       3.20
Drafts:                                  6393
Draft tokens:                            19179
Accepted tokens:                         14090
Per-position acceptance (%):
  Position 0:                            83.42
  Position 1:                            72.91
  Position 2:                            64.07
==================================================
"""
SGLANG = """============ Serving Benchmark Result ============
Backend:                                 sglang
Traffic request rate:                    inf
Max request concurrency:                 100
Successful requests:                     100
Output token throughput (tok/s):         1222.06
Concurrency:                             97.41
Accept length:                           2.86
----------------End-to-End Latency----------------
Mean E2E Latency (ms):                   40720.71
Mean TTFT (ms):                          550.00
==================================================
"""


@pytest.mark.parametrize(
    "found", [read_bench_json(TextFile.of(json.dumps(RESULT))), read_bench_text(TextFile.of(TEXT))]
)
def test_positions_count_from_0_and_rates_are_cumulative(found):
    (item,) = found
    assert (item.found.cycles, item.found.accepted) == (6393, (5333, 4661, 4096))
    assert item.found.tokens_per_cycle().value == pytest.approx(3.204, abs=0.0005)
    served = item.served
    assert (served.tpot_s, served.output_tokens_per_s, served.max_concurrency) == (pytest.approx(0.01265), 76.73, 1)
    assert (served.input_len, served.output_len, served.requests, served.duration_s) == (4096, 1024, 20, 266.9)


def test_a_result_of_sglang_has_its_accept_length():
    (item,) = read_bench_text(TextFile.of(SGLANG))
    assert (item.engine, float(item.found.tau().value)) == ("sglang", 2.86)
    assert (item.served.concurrency, item.served.max_concurrency, item.served.ttft_s) == (97.41, 100, 0.55)
    run = {"accept_length": 2.86, "output_throughput": 1222.06, "concurrency": 97.41, "mean_itl_ms": 20.0}
    run["server_info"] = {"speculative_num_steps": 3, "speculative_algorithm": "EAGLE3", "model_path": "m"}
    (item,) = read_bench_json(TextFile.of(json.dumps(run)))
    assert (item.found.draft_len, item.method, item.model, item.served.itl_s) == (3, "eagle3", "m", 0.02)


def test_results_of_one_file_add_up_without_their_times():
    text = TextFile.of("\n".join(json.dumps(RESULT | {"max_concurrency": n}) for n in (1, 8)))
    item = choose(read_bench_json(text), None, "results.jsonl")
    assert (item.found.cycles, item.found.windows, item.served) == (2 * 6393, 2, None)
    assert "times and throughput of 2 runs differ" in item.notes[0]
    assert choose(read_bench_text(TextFile.of(TEXT + TEXT)), None, "x").found.cycles == 2 * 6393
    other = TEXT.replace("  Position 2:                            64.07\n", "").replace("14090", "9994")
    with pytest.raises(InputError, match="series=None is needed: x has draft_len=3; draft_len=2"):
        choose(read_bench_text(TextFile.of(TEXT + other.replace("19179", "12786"))), None, "x")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"spec_decode_accepted_tokens": 9000}, "spec_decode_accepted_tokens=9000 must be 14090"),
        ({"spec_decode_draft_tokens": 30000}, "spec_decode_draft_tokens=30000 must lie in"),
        ({"spec_decode_num_drafts": 0}, "spec_decode_num_drafts=0 must be at least 1"),
        ({"spec_decode_num_drafts": "many"}, "spec_decode_num_drafts='many' must be a number"),
        ({"spec_decode_per_position_acceptance_rates": []}, "with a rate for each position"),
        ({"spec_decode_per_position_acceptance_rates": [0.6407, 0.7291, 0.8342]}, "must fall from cycles"),
        ({"spec_decode_per_position_acceptance_rates": [83.4, 72.9, 64.1]}, r"must lie in \[0, 1\]"),
        ({"spec_decode_per_position_acceptance_rates": None}, "per_position_acceptance_rates=None"),
    ],
)
def test_contradicting_json_is_named(change, message):
    with pytest.raises(InputError, match=message):
        read_bench_json(TextFile.of(json.dumps(RESULT | change)))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (TEXT[: TEXT.index("  Position 2")], "spec_decode_accepted_tokens=14090 must be 9994"),
        (
            TEXT.replace("  Position 1:                            72.91\n", ""),
            r"positions=\[0, 2\] must run from 0",
        ),
        (
            TEXT.replace("Mean TPOT", "Drafts:                                  5\nMean TPOT"),
            "appears twice in one",
        ),
        (
            SGLANG.replace("Accept length:                           2.86", ""),
            "is a benchmark without acceptance",
        ),
    ],
)
def test_text_that_is_cut_is_named(text, message):
    with pytest.raises(InputError, match=message):
        read_bench_text(TextFile.of(text))
