"""Recognition of the kind of a file, exports as JSON, and what is said of a file without acceptance."""

import json

import pytest

from scylla_sim.checks import InputError
from scylla_sim.engines import logs
from scylla_sim.engines.text_file import BLOCK, TextFile

LINE = "SpecDecoding metrics: Mean acceptance length: 2.10, Accepted: 11 tokens, Drafted: 20 tokens, "
LINE += "Per-position acceptance rate: 0.700, 0.400, Avg Draft acceptance rate: 55.0%"
PAGE = "vllm:spec_decode_num_drafts_total 10.0\n"
PAGE += 'vllm:spec_decode_num_accepted_tokens_per_pos_total{position="0"} 7.0'
DECODE = "Decode batch, #running-req: 1, #token: 900, accept len: 2.00, gen throughput (token/s): 310.00"
SAMPLES = {
    "vLLM log": LINE,
    "vLLM metrics": PAGE,
    "SGLang log": DECODE,
    "counts": "\ufeffposition,accepted,drafted\n1,7,10\n2,4,10\n",
    "benchmark result": '{"spec_decode_accepted_tokens": 11, "spec_decode_num_drafts": 10}',
    "benchmark text": "Acceptance length:                       3.20",
    "SGLang metrics": "sglang:spec_accept_length 2.5",
    "TensorRT-LLM statistics": '{"specDecodingStats": {"numAcceptedTokens": 1}}',
    "TensorRT-LLM metrics": "trtllm_spec_decode_num_accepted_tokens_total 18",
    "llama.cpp log": "draft acceptance rate = 0.57576 (  171 accepted /   297 generated)",
    "SpecForge benchmark": '{"m": [{"steps": 3, "metrics": [{"accept_length": 2.5}]}]}',
    "GuideLLM report": '{"metadata": {"guidellm_version": "0.5"}, "benchmarks": []}',
}


@pytest.mark.parametrize("kind", SAMPLES)
def test_the_content_decides_the_kind(kind):
    assert list(logs.kinds_of(TextFile.of(SAMPLES[kind]))) == [kind]


def test_every_kind_has_a_sample():
    assert set(SAMPLES) == {*logs.KINDS, "counts", "GuideLLM report"}


LOKI = {"data": {"resultType": "streams", "result": [{"stream": {}, "values": [["1", LINE], ["2", LINE]]}]}}
CLOUDWATCH = {"events": [{"timestamp": 1, "message": LINE}, {"timestamp": 2, "message": LINE}]}
DOCKER = [{"log": f"{LINE}\n", "stream": "stdout", "time": str(i)} for i in range(2)]


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(LOKI),
        json.dumps(CLOUDWATCH, indent=1),
        "\n".join(map(json.dumps, DOCKER)),
        json.dumps(DOCKER),
        "\n".join(f"2026-01-01T00:00:00Z stdout F {LINE}" for _ in range(2)),
        "Date,Host,Message\n" + "".join(f'2026-01-01,"h","{LINE}"\n' for _ in range(2)),
        f"\x1b[0;36m(EngineCore_DP0 pid=7)\x1b[0;0m {LINE}\r\n" * 2,
        f"{LINE}\n{LINE}".encode("utf-16"),
        b"\xff\xfe\xfa".join([b"", LINE.encode(), LINE.encode()])[3:],
    ],
)
def test_exports_prefixes_and_encodings_keep_every_record(text):
    (found,) = logs.read(TextFile.of(text))
    assert (found.found.cycles, found.found.windows) == (20, 2)


def test_records_at_the_ends_of_blocks_are_read_once():
    filler = "x" * 997 + "\n"
    text = "".join(LINE + "\n" + filler * 40 for _ in range(3 * BLOCK // 40_000))
    assert len(text) > 2 * BLOCK
    assert logs.read(TextFile.of(text))[0].found.windows == text.count(LINE)
    assert logs.read(TextFile.of(text.replace("\n", "\\n")))[0].found.windows == text.count(LINE), "one long line"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nothing here", "file='text' holds no acceptance; looked for vLLM's or SGLang's log, /metrics page"),
        ("", "holds no acceptance"),
        ("INFO Speculative metrics: Draft acceptance rate: 0.6, System efficiency: 0.5", "is of vLLM's V0 engine"),
        (LINE + "\n" + DECODE, r"holds several kinds \(vLLM log, SGLang log\); give one at a time"),
        (
            '{"acceptance_rate": [0.7], "kind": "conditional"}',
            "is a file of rates already; give it to --acceptance",
        ),
        (b"\x1f\x8b\x08" + b"\0" * 40, r"is compressed \(gzip\)"),
    ],
)
def test_bad_input_is_named(text, message):
    with pytest.raises(InputError, match=message):
        logs.read(TextFile.of(text))


def test_an_earlier_page_goes_with_metrics_only():
    with pytest.raises(InputError, match="goes with a metrics page; text is of the kind vLLM log"):
        logs.read(TextFile.of(LINE), TextFile.of(LINE))
