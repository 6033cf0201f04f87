"""``scylla-sim predict``: rows, formats, exit codes, and one line for every mistake."""

import csv
import io
import json
import subprocess
import sys

import pytest
from command_line import EAGLE3, PREDICT, refused, rows, run

ROW_KEYS = """hardware model tp precision engine batch_size context_len draft draft_len top_k verify_tokens
tokens_per_cycle draft_s verify_s overhead_s cycle_s plain_step_s plain_overhead_s tpot_s tokens_per_s
plain_tokens_per_s speedup speedup_lower speedup_upper bound fits_memory evidence""".split()


def test_rows_have_the_documented_keys(capsys):
    found = rows(capsys, *EAGLE3, "--batch", "1,8", "--context", "1K,8Ki")
    assert [(row["batch_size"], row["context_len"]) for row in found] == [
        (1, 1000),
        (1, 8192),
        (8, 1000),
        (8, 8192),
    ]
    assert list(found[0])[: len(ROW_KEYS)] == ROW_KEYS
    for row in found:
        assert row["cycle_s"] == pytest.approx(row["draft_s"] + row["verify_s"] + row["overhead_s"])
        assert row["tokens_per_s"] == pytest.approx(row["batch_size"] * row["tokens_per_cycle"] / row["cycle_s"])
        plain = row["batch_size"] / (row["plain_step_s"] + row["plain_overhead_s"])
        assert row["plain_tokens_per_s"] == pytest.approx(plain)
        assert row["speedup"] == pytest.approx(row["tokens_per_s"] / row["plain_tokens_per_s"])
        assert row["speedup_lower"] < row["speedup"] < row["speedup_upper"]
        assert row["tokens_per_cycle"] == pytest.approx(1 + 0.76 + 0.76 * 0.74 + 0.76 * 0.74 * 0.77)


def test_three_formats_have_the_same_numbers(capsys):
    (row,) = rows(capsys, *EAGLE3)
    _, text, _ = run(capsys, *EAGLE3, "--format", "csv")
    (line,) = csv.DictReader(io.StringIO(text))
    assert float(line["speedup"]) == row["speedup"]
    _, table, _ = run(capsys, *EAGLE3)
    assert f"{row['speedup']:.2f} [{row['speedup_lower']:.2f}-{row['speedup_upper']:.2f}]" in table
    assert "Evidence: silicon" in table


def test_predictions_are_bit_stable(capsys):
    assert rows(capsys, *EAGLE3, "--batch", "1,7,64") == rows(capsys, *EAGLE3, "--batch", "1,7,64")


def test_out_writes_a_file_and_nothing_to_stdout(capsys, tmp_path):
    code, out, err = run(capsys, *EAGLE3, "--format", "json", "--out", tmp_path / "a" / "p.json")
    assert (code, out) == (0, "")
    assert "wrote" in err
    assert json.loads((tmp_path / "a" / "p.json").read_text())["rows"]


def test_speedup_without_a_draft_is_one(capsys):
    (row,) = rows(capsys, *PREDICT, "--draft", "none")
    assert (row["speedup"], row["tokens_per_cycle"], row["draft_s"]) == (1.0, 1.0, 0.0)


def test_configuration_that_does_not_fit_is_predicted(capsys):
    (row,) = rows(capsys, "predict", "--hardware", "rtx-3090", "--model", "qwen2.5-72b")
    assert row["fits_memory"] is False
    assert row["tokens_per_s"] > 0


def test_breakdown_adds_up_to_the_cycle(capsys):
    (whole,) = rows(capsys, *EAGLE3, "--engine", "sglang", "--batch", "8")
    parts = rows(capsys, *EAGLE3, "--engine", "sglang", "--batch", "8", "--breakdown")
    assert sum(part["seconds"] for part in parts) == pytest.approx(whole["cycle_s"])
    assert sum(part["share"] for part in parts) == pytest.approx(1)
    assert {part["phase"] for part in parts} == {"draft", "verify", "overhead"}
    paid = {part["op"]: part["count"] for part in parts if part["phase"] == "overhead"}
    assert paid == {"host": 1, "token": 8 * 4, "draft_host": 1, "draft_pass_host": 3}


def test_eager_small_model_waits_for_launches(capsys):
    small = ["predict", "--hardware", "h100-sxm", "--model", "qwen2.5-0.5b", "--engine", "vllm"]
    (graph,), (eager,) = rows(capsys, *small), rows(capsys, *small, "--eager")
    assert eager["plain_step_s"] > 2 * graph["plain_step_s"]
    assert eager["bound"] == "overhead"
    parts = {part["op"]: part for part in rows(capsys, *small, "--eager", "--breakdown")}
    assert parts["waiting_for_launches"]["seconds"] > 0.5 * eager["cycle_s"]
    assert "waiting_for_launches" not in {part["op"] for part in rows(capsys, *small, "--breakdown")}
    assert "eager='ideal' has no launch cost" in refused(capsys, *small, "--engine", "ideal", "--eager")


def test_fp8_block_experts_have_their_own_kernels(capsys):
    """On Hopper vLLM's kernels for experts scaled by tensor are far slower, and a note says which is meant."""
    model = ["predict", "--hardware", "h200-sxm", "--model", "qwen3-30b-a3b", "--batch", "8"]
    (blocks,) = rows(capsys, *model, "--precision", "fp8_block")
    (tensor,) = rows(capsys, *model, "--precision", "fp8")
    assert blocks["precision"] == "fp8_block"
    assert blocks["plain_step_s"] < 0.7 * tensor["plain_step_s"]
    run(capsys, *model, "--precision", "fp8")
    assert "fp8_block" in run(capsys, *model, "--precision", "fp8")[2]
    assert "kv_precision" in refused(capsys, *model, "--kv-precision", "fp8_block")


def test_laws_give_tokens_per_cycle_with_an_interval(capsys):
    (row,) = rows(capsys, *PREDICT, "--draft", "scylla-5l", "--draft-train-tokens", "10B")
    assert row["tokens_per_cycle_lower"] < row["tokens_per_cycle"] < row["tokens_per_cycle_upper"]
    deeper = rows(capsys, *PREDICT, "--draft", "eagle", "--draft-layers", 5, "--draft-train-tokens", "10B")
    shallow = rows(capsys, *PREDICT, "--draft", "eagle", "--draft-layers", 1, "--draft-train-tokens", "10B")
    assert deeper[0]["tokens_per_cycle"] > shallow[0]["tokens_per_cycle"]


def test_draft_len_accepts_a_list(capsys):
    found = rows(capsys, *PREDICT, "--draft", "eagle3", "--acceptance", "0.8", "--draft-len", "1,3,5")
    assert [row["draft_len"] for row in found] == [1, 3, 5]
    assert [row["verify_tokens"] for row in found] == [2, 4, 6]


def test_verify_tokens_accepts_one_value_per_batch(capsys):
    draft = [*PREDICT, "--draft", "eagle2", "--reference-tokens-per-cycle", "4.3"]
    found = rows(capsys, *draft, "--batch", "1,64", "--verify-tokens", "61,15")
    assert [row["verify_tokens"] for row in found] == [61, 15]
    assert found[0]["tokens_per_cycle"] == pytest.approx(4.3, abs=1e-3)
    assert found[1]["tokens_per_cycle"] < found[0]["tokens_per_cycle"]


@pytest.mark.parametrize(
    ("extra", "line"),
    [
        (["--batch", "-1"], "batch=-1 must be at least 1"),
        (["--batch", "1.5"], "batch=1.5 must be a whole number"),
        (["--batch", "many"], "batch='many' is not understood"),
        (["--context", "0"], "context=0 must be at least 1"),
        (["--tp", "3"], "tp=3 must divide num_heads=32"),
        (["--tp", "16"], "tp=16 must be at most 8"),
        (["--precision", "fp7"], "precision='fp7' is not known"),
        (["--engine", "vlm"], "engine='vlm' is not known; did you mean vllm?"),
        (["--pp", "2"], "pp=2 must be 1; pipeline parallelism is not modelled"),
        (["--draft", "eagle4"], "draft='eagle4' is not known"),
        (["--draft", "llama-68m"], "draft='llama-68m' has no published acceptance; give acceptance"),
        (["--draft", "eagle3", "--draft-len", "1-7"], "50B); list them, as 1,2,3"),
        (
            ["--draft", "eagle3", "--acceptance", "1.2"],
            "acceptance=1.2 must lie in [0, 1]; a mean acceptance length",
        ),
        (["--draft", "eagle3", "--acceptance", "nan"], "acceptance=nan must be finite"),
        (["--draft", "eagle3", "--tokens-per-cycle", "9"], "tokens_per_cycle=9 must lie in [1, 4]"),
        (["--draft", "eagle3", "--draft-len", "-1", "--acceptance", "0.5"], "draft_len=-1 must be at least 0"),
        (["--calibration", "no.json"], "file='no.json' cannot be read"),
        (["--batch", "1e30"], "batch=1e+30 must be at most 9.0072e+15"),
        (["--draft", "scylla-3l", "--draft-layers", "2"], "draft_layers=2 contradicts scylla-3l"),
        (["--draft", "eagle3", "--acceptance", "0.7", "--top-k", "10000"], "top_k=10000 must lie in [1, 256]"),
        (["--tp", "two"], "tp='two' is not understood"),
        (["--router-skew", "much"], "router_skew='much' must be a number; see scylla-sim predict --help"),
        (["--format", "xml"], "format='xml' is not known; known: table, json, csv"),
        (["--nonsense"], "unrecognized arguments: --nonsense"),
    ],
)
def test_bad_input_is_one_line_and_exit_two(capsys, extra, line):
    assert line in refused(capsys, *PREDICT, *extra)


def test_out_follows_a_link_and_keeps_the_mode(capsys, tmp_path):
    real, link = tmp_path / "real.json", tmp_path / "link.json"
    real.write_text("old")
    real.chmod(0o600)
    link.symlink_to(real)
    assert run(capsys, *EAGLE3, "--format", "json", "--out", link)[0] == 0
    assert link.is_symlink()
    assert json.loads(real.read_text())["rows"]
    assert real.stat().st_mode & 0o777 == 0o600


def test_acceptance_accepts_a_file_of_any_name(capsys, tmp_path):
    file = tmp_path / "measured rates"
    file.write_text(json.dumps({"acceptance_rate": [0.8, 0.5], "kind": "conditional"}))
    (row,) = rows(capsys, *PREDICT, "--draft", "eagle3", "--draft-len", "2", "--acceptance", file)
    assert row["tokens_per_cycle"] == pytest.approx(1 + 0.8 + 0.4)
    line = refused(capsys, *PREDICT, "--draft", "eagle3", "--acceptance", tmp_path / "none.json")
    assert "acceptance=" in line
    assert "cannot be read" in line


def test_predict_imports_no_heavy_package():
    code = (
        "import sys; from scylla_sim import cli; "
        "code = cli.main(['predict','--hardware','h100-sxm','--model','llama-3.1-8b','--draft','scylla-2l']); "
        "heavy = [n for n in ('torch','pandas','scipy','matplotlib','aiconfigurator_core') if n in sys.modules]; "
        "sys.exit(code or (f'imported {heavy}' if heavy else 0))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_every_draft_of_a_list_has_an_acceptance_of_its_own(capsys, tmp_path):
    rates = tmp_path / "mine.json"
    rates.write_text('{"acceptance_rate": [0.8, 0.7], "kind": "conditional"}')
    given = ("--draft", "none,eagle3,medusa", "--draft-len", "2", "--acceptance", f"eagle3={rates},medusa=0.5")
    taus = {row["draft"]: row["tokens_per_cycle"] for row in rows(capsys, *PREDICT, *given)}
    assert taus["eagle3"] == pytest.approx(1 + 0.8 + 0.8 * 0.7)
    assert taus["none"] == 1 < taus["medusa"] < 1.8
    assert rates.name in run(capsys, *PREDICT, *given, "--format", "json")[1]  # among the inputs
    line = refused(capsys, *PREDICT, "--draft", "eagle3,medusa", "--acceptance", "eagle=0.5")
    assert "known: eagle3, medusa" in line


def test_without_acceptance_the_published_values_of_the_method_are_used(capsys):
    arguments = (*PREDICT, "--draft", "eagle3", "--engine", "vllm")
    (row,) = rows(capsys, *arguments)
    assert row["acceptance_evidence"] == "published"
    assert 1.9 < row["tokens_per_cycle_lower"] < row["tokens_per_cycle"] < row["tokens_per_cycle_upper"] < 3.6
    assert row["speedup_lower"] < 0.85 * row["speedup"]
    code, out, err = run(capsys, *arguments)
    assert code == 0
    assert "Acceptance: published" in out
    assert err.count("\n") == 1
    assert err.startswith(
        "note: acceptance is published, not measured on this model: median of 119 values of eagle3"
    )
    assert "specbundle" in err


def test_task_selects_published_values(capsys):
    def tau(*extra):
        return rows(capsys, *PREDICT, "--draft", "eagle3", *extra)[0]["tokens_per_cycle"]

    assert tau("--task", "chat") < tau() < tau("--task", "math")
    assert "task='poems' is not known" in refused(capsys, *PREDICT, "--draft", "eagle3", "--task", "poems")
    assert "task='chat' selects published values" in refused(capsys, *EAGLE3, "--task", "chat")
    assert "task is not used without a draft" in run(capsys, *PREDICT, "--task", "chat")[2]


def test_given_acceptance_and_laws_are_named_in_the_rows(capsys):
    assert rows(capsys, *EAGLE3)[0]["acceptance_evidence"] == "given"
    assert rows(capsys, *PREDICT)[0]["acceptance_evidence"] == "none"
    assert rows(capsys, *PREDICT, "--draft", "scylla-2l")[0]["acceptance_evidence"] == "laws"


def test_a_loaded_draft_that_drafts_nothing_is_slower_and_takes_memory(capsys):
    options = (*PREDICT, "--draft", "eagle3", "--engine", "vllm", "--batch", "8")
    (idle,) = rows(capsys, *options, "--draft-len", "0")
    assert (idle["draft_len"], idle["verify_tokens"], idle["tokens_per_cycle"], idle["draft_s"]) == (0, 1, 1.0, 0.0)
    assert idle["speedup"] == pytest.approx(1 / 1.066)
    assert idle["speedup_upper"] < 1.0
    assert idle["max_sequences_upper"] < idle["plain_max_sequences_upper"]
    assert "top_k=2 must be 1 with draft_len=0" in refused(capsys, *options, "--draft-len", "0", "--top-k", "2")
