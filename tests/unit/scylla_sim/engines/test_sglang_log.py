"""Tokens per cycle from SGLang's log."""

import pytest

from scylla_sim.checks import InputError
from scylla_sim.engines.sglang_log import read_sglang_log
from scylla_sim.engines.text_file import TextFile
from scylla_sim.stats.estimate import exact

SGLANG = (
    "[2026-01-01 TP{rank}] Decode batch, #running-req: {requests}, #token: 900, token usage: 0.01, accept len: "
    "{length}, accept rate: 0.57, cuda graph: True, gen throughput (token/s): 310.20, #queue-req: 0"
)


def line(requests, length, rank=0):
    return SGLANG.format(requests=requests, length=length, rank=rank)


def read(*lines):
    (found,) = read_sglang_log(TextFile.of("\n".join(lines)))
    return found


def test_lines_are_weighted_by_their_requests():
    tau = read(line(1, "2.00"), line(3, "3.00"), line(0, "9.00")).found.tau()
    assert tau.value == pytest.approx((1 * 2.0 + 3 * 3.0) / 4)
    assert tau.lower < tau.value < tau.upper
    assert read(line(2, "2.50")).found.tau() == exact(2.5)


def test_a_window_without_a_verification_is_left_out():
    """SGLang prints 0.00 for it (its own test asserts that text)."""
    lengths = [2.17, 1.95, 1.80, 2.05, 1.80, 1.57]
    requests = [1, 1, 2, 4, 4, 3]
    lines = [line(r, f"{x:.2f}") for r, x in zip(requests, lengths)]
    found = read(*lines, line(1, "0.00"), *lines)
    assert found.found.weight.size == 12 and found.skipped == 0
    assert found.found.tau().value == pytest.approx(1.855, abs=0.0005)


def test_records_without_a_line_break_are_all_read():
    assert read(line(1, "2.00") + line(3, "3.00")).found.tau().value == pytest.approx(2.75)


def test_tensor_parallel_ranks_repeat_rank_0():
    assert read(line(1, "2.00"), line(1, "2.00", 1), line(3, "3.00"), line(3, "3.00", 1)).found.weight.size == 2


def test_settings_that_the_server_prints_are_used():
    start = "server_args=ServerArgs(model_path='m', speculative_algorithm='EAGLE3', speculative_num_steps=3, "
    found = read(start + "speculative_eagle_topk=4, x=1)", line(2, "2.50"))
    assert (found.found.draft_len, found.method, found.model) == (3, "eagle3", "m")
    assert "drafts trees (speculative_eagle_topk=4)" in found.notes[0]
    assert read(line(2, "2.50")).found.draft_len is None
    assert (found.served.output_tokens_per_s, found.served.concurrency) == (310.2, 2)


def test_a_cut_record_is_skipped_and_counted():
    whole, cut = line(1, "2.00"), line(9, "3.55")
    found = read(whole, cut[: cut.index("3.55") + 3])
    assert (found.found.tau().value, found.skipped) == (2.0, 1)
    assert "line=2 has no accept_len" in found.notes[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (line(1, "0.50"), "accept_len=0.5 must be at least 1"),
        (line(0, "2.50"), "requests=0 were running in this log"),
        (line(1, "2.5.0"), "has no accept_len"),
        (line("4" * 400, "2.50"), "has no requests"),
        (line(1, "2.50", rank=1), "rank 0 in this log"),
    ],
)
def test_bad_input_is_named(text, message):
    with pytest.raises(InputError, match=message):
        read(text)
