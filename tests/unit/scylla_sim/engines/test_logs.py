"""Recognition of the kind of an engine output."""

import pytest

from scylla_sim.checks import InputError
from scylla_sim.engines import logs, prometheus, vllm_log
from scylla_sim.engines.counts import read_counts

LINE = "SpecDecoding metrics: Mean acceptance length: 2.10, Accepted: 11 tokens, Drafted: 20 tokens, "
LINE += "Per-position acceptance rate: 0.700, 0.400"
PAGE = "vllm:spec_decode_num_drafts_total 10.0\n"
PAGE += 'vllm:spec_decode_num_accepted_tokens_per_pos_total{position="0"} 7.0'
DECODE = "Decode batch, #running-req: 1, #token: 900, accept len: 2.00, gen throughput (token/s): 310"
COUNTS = "\ufeffposition,accepted,drafted\n1,7,10\n2,4,10\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (LINE, vllm_log.read_vllm_log(LINE)),
        (PAGE, prometheus.read_vllm_metrics(PAGE)),
        (COUNTS, read_counts(COUNTS)),
    ],
)
def test_the_content_decides_the_reader(text, expected):
    assert logs.read(text, "f") == expected


def test_an_sglang_log_is_recognized():
    assert logs.read(DECODE, "f").accept_len.tolist() == [2.0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nothing here", "file='f' holds no acceptance; give vLLM's"),
        ("INFO Speculative metrics: Draft acceptance rate: 0.6", "is of vLLM's V0 engine"),
        (LINE + "\n" + DECODE, r"holds several kinds \(vLLM log, SGLang log\)"),
    ],
)
def test_bad_input_is_named(text, message):
    with pytest.raises(InputError, match=message):
        logs.read(text, "f")
