"""Logs of engines: cumulative rates are told from conditional ones, and what cannot be read is refused."""

import numpy as np
import pytest

from scylla_sim.acceptance import profiles
from scylla_sim.checks import InputError
from scylla_sim.engines import logs, prometheus
from scylla_sim.engines.counts import Counts
from scylla_sim.stats.estimate import exact

# As vLLM 0.11 wrote it. Source: a public server log (EAGLE-3, three tokens), windows of 10 s.
LINE = (
    "(APIServer pid=1) INFO 05-21 21:11:56 [metrics.py:101] SpecDecoding metrics: Mean acceptance length: 3.03, "
    "Accepted throughput: 3.87 tokens/s, Drafted throughput: 5.72 tokens/s, Accepted: 337 tokens, Drafted: 498 "
    "tokens, Per-position acceptance rate: 0.837, 0.669, 0.524, Avg Draft acceptance rate: 67.7%"
)
IDLE = (
    "INFO [metrics.py:101] SpecDecoding metrics: Mean acceptance length: nan, Accepted: 0 tokens, Drafted: 0 "
    "tokens, Per-position acceptance rate: nan, nan, nan, Avg Draft acceptance rate: nan%"
)
# The order of vLLM 0.9.
OLD_LINE = (
    "INFO SpecDecoding metrics: Draft acceptance rate: 67.7%, Mean acceptance length: 3.03, Accepted: 337 tokens, "
    "Drafted: 498 tokens, Per-position acceptance rate: 0.837, 0.669, 0.524"
)
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
SGLANG = (
    "[2026-01-01 TP0] Decode batch, #running-req: {requests}, #token: 900, token usage: 0.01, accept len: "
    "{length}, accept rate: 0.57, cuda graph: True, gen throughput (token/s): 310.2, #queue-req: 0"
)


@pytest.mark.parametrize("line", [LINE, OLD_LINE])
def test_vllms_rates_are_cumulative(line):
    counts = logs.read(line, "log")
    assert (counts.cycles, counts.accepted) == (166, (139, 111, 87))
    assert sum(counts.accepted) == 337, "the line's own total"
    tau = counts.tokens_per_cycle()
    assert tau.value == pytest.approx(3.03, abs=0.005)
    assert tau.lower < tau.value < tau.upper
    rate = counts.rates().value
    assert profiles.tokens_per_cycle(rate) == pytest.approx(tau.value)
    assert rate == pytest.approx([139 / 166, 111 / 139, 87 / 111])


def test_windows_add_up_and_idle_ones_count_nothing():
    one, three = logs.read(LINE, "log"), logs.read("\n".join([LINE, IDLE, "noise", LINE, LINE]), "log")
    assert (three.cycles, three.windows) == (3 * one.cycles, 3)
    assert three.accepted == tuple(3 * count for count in one.accepted)
    narrow, wide = (c.tokens_per_cycle().up + c.tokens_per_cycle().down for c in (three, one))
    assert narrow == pytest.approx(wide / np.sqrt(3), rel=0.02)


def test_conditional_rates_in_such_a_line_are_found_out():
    """Their sum is more than the mean acceptance length allows."""
    with pytest.raises(InputError, match="sum to 2.417, with a mean acceptance length of 3.03; they are not cumul"):
        logs.read(LINE.replace("0.837, 0.669, 0.524", "0.837, 0.799, 0.781"), "log")


def test_shorter_drafts_are_noticed():
    counts = logs.read(LINE.replace("Drafted: 498", "Drafted: 490"), "log")
    assert not counts.whole_drafts
    assert counts.cycles == 166, "accepted over the sum of the rates"


def test_metrics_of_several_engines_add_up_and_an_earlier_page_is_subtracted():
    counts = logs.read(PAGE, "page")
    assert (counts.cycles, counts.accepted) == (166, (139, 111, 87))
    later = PAGE.replace("} 100.0", "} 200.0").replace("9.0e+01", "170").replace("} 87.0", "} 100.0")
    difference = prometheus.read_vllm_metrics(later, PAGE.replace("} 111.0", "} 61.0"))
    assert (difference.cycles, difference.accepted) == (100, (80, 50, 13))


def test_both_ways_of_counting_give_the_same():
    over_all = logs.read("position,accepted,drafted\n1,80,100\n2,40,100\n3,10,100\n", "csv")
    reached = logs.read("position,accepted,drafted\n1,80,100\n2,40,80\n3,10,40\n", "csv")
    assert over_all == reached
    known = profiles.rates_from_counts([80, 40, 10], [100, 80, 40])
    for end in ("value", "lower", "upper"):
        assert getattr(over_all.rates(), end) == pytest.approx(getattr(known, end))


def test_a_position_that_was_never_reached_is_not_known():
    rate = Counts(cycles=10, accepted=(4, 0, 0)).rates()
    assert (rate.value[2], rate.lower[2], rate.upper[2]) == (0, 0, 1)


def test_sglang_lines_weigh_by_their_requests():
    log = "\n".join(SGLANG.format(requests=r, length=x) for r, x in ((1, 2.0), (3, 3.0), (0, 9.0)))
    tau = logs.read(log, "log").tokens_per_cycle()
    assert tau.value == pytest.approx((1 * 2.0 + 3 * 3.0) / 4)
    assert tau.lower < tau.value < tau.upper
    assert logs.read(SGLANG.format(requests=2, length=2.5), "log").tokens_per_cycle() == exact(2.5)


def test_the_interval_of_tau_covers():
    """Cycles drawn from a known chain: 90 % intervals of 400 runs of 300 cycles hold tau in 86 to 94 % of them."""
    rng, rates = np.random.default_rng(5), np.array([0.8, 0.6, 0.7])
    true = float(profiles.tokens_per_cycle(rates))
    held = 0
    for _ in range(400):
        reached = np.cumprod(rng.random((300, 3)) < rates, axis=1).sum(axis=0)
        tau = Counts(300, tuple(reached.tolist())).tokens_per_cycle()
        held += bool(tau.lower <= true <= tau.upper)
    assert 0.86 < held / 400 < 0.94


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nothing here", "file='f' holds no acceptance; give vLLM's"),
        ("INFO Speculative metrics: Draft acceptance rate: 0.6", "is of vLLM's V0 engine"),
        (LINE + "\n" + SGLANG.format(requests=1, length=2.0), r"holds several kinds \(vLLM log, SGLang log\)"),
        (IDLE, "drafts=0 were verified in this log"),
        (LINE.replace("Accepted: 337 tokens, ", ""), "line=1 has no accepted"),
        (LINE.replace("0.837, 0.669, 0.524", "0.669, 0.837, 0.524"), "are these rates conditional.*in line 1"),
        (
            "\n".join([LINE, LINE.replace("3.03", "2.51").replace("0.669, 0.524", "0.669")]),
            "positions=2 were 3 before line 2; split the log there",
        ),
        (PAGE.replace('position="1"', 'position="4"'), r"positions=\[0, 2, 4\] must run from 0"),
        (PAGE.replace("} 111.0", "} 211.0"), "must fall from cycles=166; are they conditional"),
        (SGLANG.format(requests=1, length=0.5), "accept_len=0.5 must be at least 1"),
        (SGLANG.format(requests=0, length=2.5), "requests=0 were running in this log"),
        ("position,accepted\n1,3\n", "must be position,accepted,drafted"),
        ("position,accepted,drafted\n1,8,10\n2,4,9\n", "must be equal at all positions, or equal to"),
        ("position,accepted,drafted\n2,8,10\n", "must run from 1"),
        ("position,accepted,drafted\n1,8.5,10\n", "must be three whole numbers per line"),
        ("position,accepted,drafted\n1,12,10\n", "must fall from cycles=10"),
    ],
)
def test_bad_input_is_named(text, message):
    with pytest.raises(InputError, match=message):
        logs.read(text, "f")


def test_pages_in_the_wrong_order_are_refused():
    with pytest.raises(InputError, match="drafts=-100.0 must be at least 1; is the earlier page the later one"):
        prometheus.read_vllm_metrics(PAGE, PAGE.replace("} 100.0", "} 200.0"))
