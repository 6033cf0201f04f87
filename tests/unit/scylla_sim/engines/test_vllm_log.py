"""Counts from vLLM's log: cumulative rates, windows and shorter drafts."""

import numpy as np
import pytest

from scylla_sim.acceptance import profiles
from scylla_sim.checks import InputError
from scylla_sim.engines import vllm_log

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


@pytest.mark.parametrize("line", [LINE, OLD_LINE])
def test_rates_are_cumulative(line):
    counts = vllm_log.read_vllm_log(line)
    assert (counts.cycles, counts.accepted) == (166, (139, 111, 87))
    assert sum(counts.accepted) == 337, "the line's own total"
    tau = counts.tokens_per_cycle()
    assert tau.value == pytest.approx(3.03, abs=0.005)
    assert tau.lower < tau.value < tau.upper
    rate = counts.rates().value
    assert profiles.tokens_per_cycle(rate) == pytest.approx(tau.value)
    assert rate == pytest.approx([139 / 166, 111 / 139, 87 / 111])


def test_windows_add_up_and_idle_windows_are_skipped():
    one, three = vllm_log.read_vllm_log(LINE), vllm_log.read_vllm_log("\n".join([LINE, IDLE, "noise", LINE, LINE]))
    assert (three.cycles, three.windows) == (3 * one.cycles, 3)
    assert three.accepted == tuple(3 * count for count in one.accepted)
    narrow, wide = (c.tokens_per_cycle().up + c.tokens_per_cycle().down for c in (three, one))
    assert narrow == pytest.approx(wide / np.sqrt(3), rel=0.02)


def test_conditional_rates_are_refused():
    """Their sum contradicts the mean acceptance length."""
    with pytest.raises(InputError, match="sum to 2.417, with a mean acceptance length of 3.03; they are not cumul"):
        vllm_log.read_vllm_log(LINE.replace("0.837, 0.669, 0.524", "0.837, 0.799, 0.781"))


def test_shorter_drafts_are_detected():
    counts = vllm_log.read_vllm_log(LINE.replace("Drafted: 498", "Drafted: 490"))
    assert not counts.whole_drafts
    assert counts.cycles == 166, "accepted over the sum of the rates"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (IDLE, "drafts=0 were verified in this log"),
        (LINE.replace("Accepted: 337 tokens, ", ""), "line=1 has no accepted"),
        (LINE.replace("0.837, 0.669, 0.524", "0.669, 0.837, 0.524"), "are these rates conditional.*in line 1"),
        (
            "\n".join([LINE, LINE.replace("3.03", "2.51").replace("0.669, 0.524", "0.669")]),
            "positions=2 were 3 before line 2; split the log there",
        ),
    ],
)
def test_bad_input_is_named(text, message):
    with pytest.raises(InputError, match=message):
        vllm_log.read_vllm_log(text)
