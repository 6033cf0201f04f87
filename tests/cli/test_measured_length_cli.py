"""Acceptance that was measured at one draft length, and predicted at others."""

import json

import pytest

from scylla_sim.cli import main

WHERE = ["--hardware", "h100-sxm", "--draft", "eagle3", "--format", "json"]
PREDICT = ["predict", *WHERE, "--model", "llama-3.1-8b", "--batch", "1,16"]
VLLM = (
    "INFO 05-08 16:25:09 [metrics.py:101] SpecDecoding metrics: Mean acceptance length: 2.87, Accepted throughput: "
    "48.90 tokens/s, Drafted throughput: 157.20 tokens/s, Accepted: 489 tokens, Drafted: 1572 tokens, Per-position "
    "acceptance rate: 0.740, 0.473, 0.309, 0.187, 0.099, 0.057, Avg Draft acceptance rate: 31.1%\n"
)
"""One line of a log of MTP with 6 tokens (noonghunna/club-3090 issue 105)."""


def rows(capsys, *argv):
    assert main([str(word) for word in argv]) == 0
    captured = capsys.readouterr()
    return json.loads(captured.out)["rows"], captured.err


@pytest.fixture
def six(tmp_path, capsys):
    (tmp_path / "vllm.log").write_text(VLLM)
    assert main(["ingest", str(tmp_path / "vllm.log"), "--out", str(tmp_path / "k6.json")]) == 0
    capsys.readouterr()
    return tmp_path / "k6.json"


def test_six_measured_positions_are_predicted_with_six_tokens(six, capsys):
    found, words = rows(capsys, *PREDICT, "--acceptance", six)
    assert {row["draft_len"] for row in found} == {6}
    assert found[0]["tokens_per_cycle"] == pytest.approx(1 + 489 / 262, abs=0.01)
    assert "measured with" not in words


def test_six_measured_positions_at_another_length_are_named(six, capsys):
    shorter, words = rows(capsys, *PREDICT, "--acceptance", six, "--draft-len", "3")
    assert shorter[0]["tokens_per_cycle"] == pytest.approx(1 + 0.740 + 0.473 + 0.309, abs=0.005)
    assert "acceptance was measured with draft_len 6 and is predicted with 3" in words
    longer, words = rows(capsys, *PREDICT, "--acceptance", six, "--draft-len", "8")
    assert longer[0]["tokens_per_cycle"] > 1 + 489 / 262
    assert "acceptance is given for 6 positions; later positions follow the position law of eagle3" in words


def test_several_lengths_need_the_length_of_a_measured_tau(capsys):
    assert main([*PREDICT, "--tokens-per-cycle", "2.8", "--draft-len", "3,5"]) == 2
    assert "tokens_per_cycle=2.8 holds at one draft length; give --measured-draft-len" in capsys.readouterr().err


def test_longer_drafts_are_not_overestimated_from_one_tau(capsys):
    """Qwen3-8B, EAGLE-3, coding (speculators issue 563): 3.22 at 5 and 3.33 at 7; one rate gives 3.41 and 3.76."""
    argv = ["predict", *WHERE, "--model", "qwen3-8b", "--tokens-per-cycle", "2.8", "--measured-draft-len", "3"]
    found, words = rows(capsys, *argv, "--draft-len", "3,5,7", "--batch", "1")
    taus = [row["tokens_per_cycle"] for row in found]
    assert taus[0] == pytest.approx(2.8)
    assert abs(taus[1] / 3.22 - 1) < 0.03 and abs(taus[2] / 3.33 - 1) < 0.06
    assert found[1]["tokens_per_cycle_lower"] < 3.22 < found[1]["tokens_per_cycle_upper"]
    assert found[2]["tokens_per_cycle_lower"] < 3.33 < found[2]["tokens_per_cycle_upper"]
    assert words.count("was measured with draft_len 3") == 1
