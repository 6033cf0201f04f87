"""``scylla-sim ingest`` as a user types it, and ``predict`` with its file."""

import csv
import io
import json

import pytest

from scylla_sim.cli import main

COUNTS = "position,accepted,drafted\n1,760,1000\n2,562,760\n3,433,562\n"
LINE = (
    "SpecDecoding metrics: Mean acceptance length: 3.03, Accepted: 337 tokens, Drafted: 498 tokens, "
    "Per-position acceptance rate: 0.837, 0.669, 0.524, Avg Draft acceptance rate: 67.7%\n"
)
DECODE = "Decode batch. #running-req: 4, #token: 900, accept len: 2.50, gen throughput (token/s): 310.00\n"


@pytest.fixture
def file(tmp_path):
    def write(text, name="input.txt"):
        path = tmp_path / name
        path.write_text(text)
        return str(path)

    return write


def test_a_log_becomes_a_file_that_predict_reads(file, tmp_path, capsys):
    out = tmp_path / "acceptance.json"
    assert main(["ingest", file(LINE), "--evidence", "live", "--out", str(out)]) == 0
    found = json.loads(out.read_text())
    assert (found["schema"], found["kind"], found["evidence"]) == ("scylla-sim/acceptance/1", "conditional", "live")
    assert len(found["acceptance_rate"]) == len(found["rows"]) == 3
    assert found["provenance"]["inputs"].keys() == {"input.txt"}
    capsys.readouterr()
    args = ["--hardware", "h100-sxm", "--model", "llama-3.1-8b", "--draft", "eagle3", "--format", "json"]
    assert main(["predict", *args, "--acceptance", str(out)]) == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert row["tokens_per_cycle"] == pytest.approx(found["tokens_per_cycle"])


def test_the_distribution_of_a_cycle_and_of_a_generation(file, capsys):
    assert main(["ingest", file(COUNTS), "--generation", "512"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["tokens_per_cycle"] == pytest.approx(1 + 0.76 + 0.562 + 0.433)
    assert (found["tokens_per_cycle_p50"], found["tokens_per_cycle_p99"]) == (3, 4)
    assert found["generation_cycles_p50"] < found["generation_cycles_p99"]
    assert found["generation_tokens_per_cycle"] < found["tokens_per_cycle"]


def test_table_and_csv(file, capsys):
    assert main(["ingest", file(COUNTS), "--format", "table", "--generation", "100"]) == 0
    shown = capsys.readouterr().out
    assert "rates are conditional" in shown and "100 tokens take" in shown and "bonus token included" in shown
    assert main(["ingest", file(COUNTS), "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [row["reached"] for row in rows] == ["1000", "760", "562"]


def test_an_sglang_log_needs_its_draft_length_and_keeps_its_tau(file, capsys):
    path = file(DECODE)
    assert main(["ingest", path, "--draft-len", "3"]) == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    assert "position law of eagle3" in captured.err and "names no method" in captured.err
    a, b, c = found["acceptance_rate"]
    assert found["tokens_per_cycle"] == pytest.approx(1 + a + a * b + a * b * c, abs=1e-4) == pytest.approx(2.5)
    assert a > b > c
    assert "lower" not in found["rows"][0], "one number gives no interval of a rate"
    assert main(["ingest", file(DECODE.replace("2.50", "1.00")), "--draft-len", "2"]) == 0
    assert json.loads(capsys.readouterr().out)["acceptance_rate"] == [0, 0]


@pytest.mark.parametrize(
    ("text", "extra", "message"),
    [
        (None, [], "cannot be read"),
        (DECODE, [], "draft_len=None is needed, because the file does not have it; give --draft-len"),
        (DECODE, ["--draft-len", "1"], "tokens_per_cycle=2.5 must be at most draft_len + 1 = 2"),
        (LINE, ["--draft-len", "5"], "draft_len=5 must be 3, the positions in"),
        (LINE, ["--level", "2"], "level=2 must lie in [0.5, 0.999]"),
        (LINE, ["--generation", "0"], "generation=0 must lie in [1, 100000]"),
        (LINE, ["--before", "missing.txt"], "file='missing.txt' cannot be read"),
        ("\x00\x01 hello", [], "holds no acceptance"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(text, extra, message, file, tmp_path, capsys):
    path = str(tmp_path / "none.txt") if text is None else file(text)
    assert main(["ingest", path, *extra]) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert shown.err.count("\n") == 1
    assert shown.out == ""


PREDICT = ["predict", "--hardware", "h100-sxm", "--model", "llama-3.1-8b", "--format", "json"]


def test_predict_schedule_and_acceptance_read_a_log(file, capsys):
    log = file(LINE, "vllm.log")
    assert main([*PREDICT, "--draft", "eagle3", "--acceptance", log]) == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert row["draft_len"] == 3
    assert row["tokens_per_cycle"] == pytest.approx(1 + 337 / 166)
    assert main(["acceptance", "--acceptance", log, "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"][0]["tokens_per_cycle"] == pytest.approx(1 + 337 / 166)
    argv = [
        "--hardware",
        "h100-sxm",
        "--model",
        "llama-3.1-8b",
        "--draft",
        "eagle3",
        "--batch",
        "1",
        "--max-batch",
        "1",
    ]
    assert main(["schedule", *argv, "--acceptance", log, "--format", "json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"][0]["best"] != "plain"


def test_a_log_without_its_draft_length_takes_it_from_the_options(file, capsys):
    log = file(DECODE, "sglang.log")
    assert main([*PREDICT, "--draft", "eagle3", "--acceptance", log]) == 2
    assert "draft_len=None is needed" in capsys.readouterr().err
    assert main([*PREDICT, "--draft", "mtp", "--acceptance", log, "--measured-draft-len", "3"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["rows"][0]["tokens_per_cycle"] == pytest.approx(2.5)
    assert "position law of mtp" in captured.err


def test_drafts_of_varying_length_are_predicted_at_their_mean(file, tmp_path, capsys):
    shares = "0.339, 0.146, 0.071, 0.039, 0.030, 0.028, 0.024, 0.021, 0.021, 0.021, 0.021, 0.019" + ", 0.000" * 12
    text = "SpecDecoding metrics: Mean acceptance length: 1.78, Accepted: 364 tokens, Drafted: 1190 tokens, "
    log = file(f"{text}Per-position acceptance rate: {shares}, Avg Draft acceptance rate: 30.6%")
    out = str(tmp_path / "suffix.json")
    assert main(["ingest", log, "--out", out]) == 0
    for more in ([], ["--draft-len", "24"]):
        assert main([*PREDICT, "--draft", "ngram", "--acceptance", out, *more]) == 0
        captured = capsys.readouterr()
        (row,) = json.loads(captured.out)["rows"]
        assert (row["draft_len"], row["tokens_per_cycle"]) == (3, pytest.approx(1.779, abs=0.0005))
        assert "drafts of at most 24 tokens were measured; predicted with their mean, rounded up" in captured.err


def test_standard_input_and_pipes(file, capsys, monkeypatch):
    for content in (COUNTS, COUNTS.replace(",", ";")):
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content.encode())))
        assert main(["ingest", "-"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert (found["cycles"], found["source"], found["provenance"]["inputs"]) == (1000, "counts", {})


def test_series_of_a_page_are_answered_one_by_one(file, capsys):
    lines = []
    for model, drafts, accepted in (("llama", 100, (70, 40)), ("qwen", 300, (120, 30, 6))):
        lines.append(f'vllm:spec_decode_num_drafts_total{{model_name="{model}"}} {drafts}')
        name = "vllm:spec_decode_num_accepted_tokens_per_pos_total"
        lines += [f'{name}{{model_name="{model}",position="{i}"}} {n}' for i, n in enumerate(accepted)]
    page = file("\n".join(lines))
    assert main(["ingest", page]) == 2
    assert (
        "model_name=llama,draft_len=2; model_name=qwen,draft_len=3; choose with --series" in capsys.readouterr().err
    )
    assert main(["ingest", page, "--series", "qwen"]) == 0
    assert json.loads(capsys.readouterr().out)["tokens_per_cycle"] == pytest.approx(1 + 156 / 300)
