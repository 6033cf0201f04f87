"""Counts from vLLM's Prometheus page."""

import pytest

from scylla_sim.checks import InputError
from scylla_sim.engines import prometheus

PAGE = """# HELP vllm:spec_decode_num_drafts_total Number of spec decoding drafts.
# TYPE vllm:spec_decode_num_drafts_total counter
vllm:spec_decode_num_drafts_total{engine="0",model_name="m"} 100.0
vllm:spec_decode_num_drafts_total{engine="1",model_name="m"} 66.0
vllm:spec_decode_num_drafts_created{engine="0",model_name="m"} 1.7e+09
vllm:spec_decode_num_draft_tokens_total{engine="0",model_name="m"} 498.0
vllm:spec_decode_num_accepted_tokens_per_pos_total{engine="0",model_name="m",position="0"} 9.0e+01
vllm:spec_decode_num_accepted_tokens_per_pos_total{engine="1",model_name="m",position="0"} 49.0
vllm:spec_decode_num_accepted_tokens_per_pos_total{engine="0",model_name="m",position="1"} 111.0
vllm:spec_decode_num_accepted_tokens_per_pos_total{engine="0",model_name="m",position="2"} 87.0
"""


def test_engines_add_up_and_an_earlier_page_is_subtracted():
    counts = prometheus.read_vllm_metrics(PAGE)
    assert (counts.cycles, counts.accepted) == (166, (139, 111, 87))
    later = PAGE.replace("} 100.0", "} 200.0").replace("9.0e+01", "170").replace("} 87.0", "} 100.0")
    difference = prometheus.read_vllm_metrics(later, PAGE.replace("} 111.0", "} 61.0"))
    assert (difference.cycles, difference.accepted) == (100, (80, 50, 13))


def test_pages_in_the_wrong_order_are_refused():
    with pytest.raises(InputError, match="drafts=-100 must be at least 1; is the earlier page the later one"):
        prometheus.read_vllm_metrics(PAGE, PAGE.replace("} 100.0", "} 200.0"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (PAGE.replace('position="1"', 'position="4"'), r"positions=\[0, 2, 4\] must run from 0"),
        (PAGE.replace("} 111.0", "} 211.0"), "must fall from cycles=166; are they conditional"),
    ],
)
def test_bad_input_is_named(text, message):
    with pytest.raises(InputError, match=message):
        prometheus.read_vllm_metrics(text)
