"""Counts from vLLM's log: versions, cumulative rates, damaged records and drafts of varying length."""

import numpy as np
import pytest

from scylla_sim.acceptance import profiles
from scylla_sim.checks import InputError
from scylla_sim.engines import vllm_log
from scylla_sim.engines.text_file import TextFile

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
# A later version adds fields.
NEW_LINE = LINE.replace(
    "Drafted: 498 tokens,", "Drafted: 498 tokens, Rejected: 161 tokens, Proposer latency: 0.1 s,"
)


def line(length, accepted, drafted, rates):
    return (
        f"INFO 09-08 14:09:24 [metrics.py:120] SpecDecoding metrics: Mean acceptance length: {length}, Accepted: "
        f"{accepted} tokens, Drafted: {drafted} tokens, Per-position acceptance rate: {rates}, Avg Draft "
        "acceptance rate: 50.0%"
    )


# Three windows of vLLM 0.11 (noonghunna/club-3090 issue 105; vllm issue 17327 has several workers).
WINDOWS = [
    line("2.52", 399, 786, "0.740, 0.473, 0.309"),
    line("2.45", 384, 795, "0.728, 0.445, 0.275"),
    line("2.63", 409, 753, "0.757, 0.522, 0.351"),
]


def read(text):
    (found,) = vllm_log.read_vllm_log(TextFile.of(text))
    return found


@pytest.mark.parametrize("text", [LINE, OLD_LINE, NEW_LINE])
def test_rates_are_cumulative(text):
    counts = read(text).found
    assert (counts.cycles, counts.accepted) == (166, (139, 111, 87))
    assert sum(counts.accepted) == 337, "the line's own total"
    tau = counts.tokens_per_cycle()
    assert tau.value == pytest.approx(3.03, abs=0.005)
    assert tau.lower < tau.value < tau.upper
    rate = counts.rates().value
    assert profiles.tokens_per_cycle(rate) == pytest.approx(tau.value)
    assert rate == pytest.approx([139 / 166, 111 / 139, 87 / 111])


def test_windows_add_up_and_idle_windows_are_skipped():
    one, three = read(LINE).found, read("\n".join([LINE, IDLE, "noise", LINE, LINE])).found
    assert (three.cycles, three.windows) == (3 * one.cycles, 3)
    assert three.accepted == tuple(3 * count for count in one.accepted)
    narrow, wide = (c.tokens_per_cycle().up + c.tokens_per_cycle().down for c in (three, one))
    assert narrow == pytest.approx(wide / np.sqrt(3), rel=0.02)


def test_a_line_that_is_cut_is_skipped_and_counted():
    found = read("\n".join([*WINDOWS[:2], WINDOWS[2][: WINDOWS[2].index("osition acceptance rate")]]))
    assert (found.found.cycles, found.found.windows, found.skipped) == (527, 2, 1)
    assert found.notes[0].startswith(
        "1 of 3 records are cut or damaged and skipped; the first: line=3 has no rates"
    )


@pytest.mark.parametrize("cut", range(60, len(LINE) - len(", Avg Draft acceptance rate: 67.7%")))
def test_a_cut_anywhere_in_a_line_never_changes_the_counts(cut):
    assert read(f"{LINE}\n{LINE[:cut]}").found == read(LINE).found
    assert read(f"{LINE[:cut]}{LINE}").found == read(LINE).found, "the next record begins on the same line"


@pytest.mark.parametrize("end", ["0.000", "0.000, 0.0", "0.000, 0.000", "0.000, 0.000, Avg Dra"])
def test_a_cut_in_rates_of_zero_leaves_no_shorter_draft(end):
    """Without its last rates the record would be consistent: 30 drafted tokens in 15 drafts of two."""
    whole = line("1.70", 7, 30, "0.700, 0.000, 0.000")
    cut = whole[: whole.index("0.700, ") + len("0.700, ")] + end
    found = read(f"{whole}\n{cut}")
    assert (found.found.cycles, found.skipped) == (10, 1)


def test_all_records_on_a_line_are_read():
    found = read("".join(WINDOWS)).found
    assert (found.cycles, found.windows) == (778, 3)
    assert found.tokens_per_cycle().value == pytest.approx(2.532, abs=0.0005)


def test_drafts_of_varying_length_keep_their_mean():
    """Suffix decoding of vLLM 0.16: 24 positions, of which 2.55 were drafted on average."""
    shares = "0.339, 0.146, 0.071, 0.039, 0.030, 0.028, 0.024, 0.021, 0.021, 0.021, 0.021, 0.019"
    found = read(line("1.78", 364, 1190, shares + ", 0.000" * 12)).found
    assert (found.cycles, found.drafted, len(found.accepted), sum(found.accepted)) == (467, 1190, 24, 364)
    assert found.draft_len == 3
    assert found.tokens_per_cycle().value == pytest.approx(1.779, abs=0.0005)


@pytest.mark.parametrize(
    "text",
    [
        "INFO [metrics.py:30] Speculative metrics: Draft acceptance rate: 0.508, Number of accepted tokens: 1192, "
        "Number of draft tokens: 2334, ",
        "\n".join(
            f"INFO SpecDecoding metrics: Draft acceptance rate: 50.0%, Accepted: {a} tokens, Drafted: {d} tokens"
            for a, d in ((399, 786), (384, 795), (409, 753))
        ),
    ],
)
def test_vllm_08_needs_the_draft_length(text):
    """The two formats of 0.8 (vllm pull request 15902) have neither drafts nor positions."""
    found = read(text).found
    with pytest.raises(
        InputError, match="draft_len=None must be given: vLLM 0.8 did not print drafts or positions"
    ):
        found.windows(None)
    assert found.windows(3).tau().value == pytest.approx(1 + 3 * 1192 / 2334)


def test_lengths_are_told_apart():
    both = vllm_log.read_vllm_log(TextFile.of("\n".join([LINE, line("2.10", 11, 20, "0.700, 0.400")])))
    assert [(item.series, item.found.cycles) for item in both] == [("draft_len=3", 166), ("draft_len=2", 10)]


def test_repeated_records_are_named():
    assert "1 records repeat an earlier record and its time" in read(f"{LINE}\n{LINE}").notes[0]
    assert read("\n".join(WINDOWS)).notes == ()


def test_settings_and_load_of_the_log_are_kept():
    start = (
        "INFO Initializing a V1 LLM engine (v0.11.0) with config: model='Qwen/Qwen3-8B', "
        "speculative_config=SpeculativeConfig(method='eagle3', model='x', num_spec_tokens=3)\n"
    )
    load = "Engine 000: Avg generation throughput: {} tokens/s, Running: {} reqs, Waiting: 0 reqs\n"
    found = read(start + load.format("100.0", 2) + load.format("300.0", 4) + load.format("0.0", 0) + LINE)
    assert (found.method, found.model, found.version) == ("eagle3", "Qwen/Qwen3-8B", "0.11.0")
    assert (found.served.output_tokens_per_s, found.served.concurrency) == (200, 3)


def test_shorter_drafts_are_detected():
    counts = read(LINE.replace("Drafted: 498", "Drafted: 490")).found
    assert not counts.whole_drafts
    assert (counts.cycles, counts.drafted) == (166, 490), "accepted over the sum of the rates"
    assert counts.draft_len == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (IDLE, "drafts=0 were verified in this log"),
        (LINE.replace("Accepted: 337 tokens, ", ""), "line=1 has no accepted"),
        (
            LINE.replace("0.837, 0.669, 0.524", "0.669, 0.837, 0.524"),
            "rise with the position; are these rates cond",
        ),
        (LINE.replace("0.837, 0.669, 0.524", "0.837, 0.799, 0.781"), "sum to 2.417, with a mean acceptance length"),
        (LINE.replace("length: 3.03", "length: 2.1.0"), "line=1 has no length"),
        (LINE.replace("0.837", "0.7.0"), "line=1 has no rates"),
        (LINE.replace("498", "4" * 400), "line=1 has no drafted"),
        (LINE.replace("Accepted: 337", "Accepted: 37"), "accepts 37 of 498 tokens"),
        ("INFO Speculative metrics: Draft acceptance rate: 0.6, System efficiency: 0.5", "is of vLLM's V0 engine"),
    ],
)
def test_bad_input_is_named(text, message):
    with pytest.raises(InputError, match=message):
        read(text)
