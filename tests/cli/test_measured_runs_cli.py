"""Measured served runs: ``predict --compare``, ``ingest --fit-overhead`` and the engine that it writes."""

import csv
import json

import pytest
from checkout import ROOT
from command_line import refused, run

WHERE = ["--hardware", "a100-sxm", "--model", "llama-3.1-8b"]
EAGLE3 = [*WHERE, "--draft", "eagle3"]


def write(path, *, tau=2.9, length=5, **served):
    content = {
        "kind": "conditional",
        "acceptance_rate": [0.7] * length,
        "position_law": "eagle3",
        "method": "eagle3",
    }
    content |= {f"tokens_per_cycle{end}": tau for end in ("", "_lower", "_upper")} | {"served": served}
    path.write_text(json.dumps(content))
    return path


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """Return files of the published EAGLE-3 runs on an A100, by task and batch."""
    folder, found = tmp_path_factory.mktemp("runs"), {}
    for row in csv.DictReader((ROOT / "paper/published/served_runs.csv").read_text().splitlines()):
        wanted = row["source"] == "a100-factorial" and row["precision"] == row["kv_precision"] == "bf16"
        if wanted and row["draft"] == "eagle3" and row["cycle_ms"]:
            found[row["task"], int(row["batch"])] = write(
                folder / f"{row['task']}-{row['batch']}.json",
                tau=float(row["tokens_per_cycle"]),
                length=int(row["draft_len"]),
                itl_median_s=float(row["cycle_ms"]) / 1e3,
                concurrency=float(row["batch"]),
                input_len=float(row["input_len"]),
                output_len=float(row["output_len"]),
            )
    return found


def compared(capsys, path, *options):
    code, out, _ = run(capsys, "predict", *EAGLE3, "--compare", path, "--format", "json", *options)
    assert code == 0
    return json.loads(out)


def test_compare_predicts_at_the_concurrency_and_lengths_of_the_run(capsys, tmp_path):
    path = write(tmp_path / "run.json", tpot_s=0.006, concurrency=7.6, input_len=600.0, output_len=256.0)
    found = compared(capsys, path)
    argv = ["--batch", "8", "--input-len", "600", "--output-len", "256", "--acceptance", path]
    _, out, _ = run(capsys, "predict", *EAGLE3, *argv, "--format", "json")
    (row,), (item,) = json.loads(out)["rows"], found["rows"]
    assert (item["quantity"], item["measured"]) == ("tpot_s", 0.006)
    assert item["predicted"] == pytest.approx(row["tpot_s"])
    assert item["measured_over_predicted"] == pytest.approx(0.006 / row["tpot_s"])
    assert [part["part"] for part in found["parts"]] == ["engine overhead", "kernels", "acceptance", "prefills"]
    code, text, err = run(capsys, "predict", *EAGLE3, "--compare", path)
    assert code == 0 and max(map(len, text.splitlines())) <= 100
    assert " ".join(text.split()).startswith(found["verdict"])
    assert "note: concurrency 7.6 is predicted as batch 8" in err


def test_compare_reads_a_benchmark_result(capsys, tmp_path):
    result = {
        "date": "20260908-140924",
        "backend": "vllm",
        "model_id": "m",
        "num_prompts": 20,
        "max_concurrency": 1,
        "duration": 266.9,
        "completed": 20,
        "total_input_tokens": 81920,
        "total_output_tokens": 20480,
        "output_throughput": 76.73,
        "mean_tpot_ms": 12.65,
        "spec_decode_num_drafts": 6393,
        "spec_decode_draft_tokens": 19179,
        "spec_decode_accepted_tokens": 14090,
        "spec_decode_per_position_acceptance_rates": [0.8342, 0.7291, 0.6407],
    }
    path = tmp_path / "result.json"
    path.write_text(json.dumps(result))
    rows = {row["quantity"]: row for row in compared(capsys, path)["rows"]}
    assert rows["tpot_s"]["measured"] == pytest.approx(12.65e-3)
    assert rows["output_tokens_per_s"]["measured"] == pytest.approx(76.73)


def test_plain_runs_are_compared_and_fitted(capsys, tmp_path):
    paths = []
    for concurrency, tpot_ms in ((1, 9.0), (16, 10.5)):
        result = {"completed": 8, "total_input_tokens": 8192, "total_output_tokens": 2048}
        paths.append(tmp_path / f"{concurrency}.json")
        paths[-1].write_text(json.dumps({**result, "max_concurrency": concurrency, "mean_tpot_ms": tpot_ms}))
    plain = [*WHERE, "--engine", "vllm-2025"]
    code, out, err = run(capsys, "predict", *plain, "--compare", paths[0])
    assert code == 0 and "counts no drafts; taken as a run without a draft" in err and "no draft" in out
    code, out, err = run(capsys, "ingest", paths[0], "--fit-overhead", paths[1], *plain, "--format", "table")
    assert code == 0 and "cycles of 2 runs" in err and "host" in out


def test_a_fit_to_one_task_improves_another_task(capsys, published, tmp_path):
    """The preset of the wrong year, corrected by four runs of gsm8k, predicts those of humaneval better."""
    first, *others = [path for (task, _), path in published.items() if task == "gsm8k"]
    engine = tmp_path / "mine.toml"
    argv = ["ingest", first, "--fit-overhead", *others, *WHERE, "--engine", "vllm-2025"]
    code, _, err = run(capsys, *argv, "--out", engine)
    assert code == 0
    assert "on each run when it is left out" in err
    errors = {}
    for name in ("vllm-2025", engine):
        found = [
            compared(capsys, path, "--engine", name)["rows"][0]["measured_over_predicted"]
            for (task, _), path in published.items()
            if task == "humaneval"
        ]
        errors[name] = sum(abs(ratio - 1.0) for ratio in found) / len(found)
    assert errors[engine] < 0.7 * errors["vllm-2025"]
    code, out, _ = run(capsys, *argv, "--format", "table")
    assert code == 0 and max(map(len, out.splitlines())) <= 100
    assert "draft_host" in out and "error left out" in out


def test_a_fitted_engine_says_so_and_keeps_the_limits_of_its_preset(capsys, published, tmp_path):
    engine = tmp_path / "mine.toml"
    argv = ["ingest", published["gsm8k", 1], "--fit-overhead", *WHERE, "--engine", "vllm-2025", "--out", engine]
    code, _, err = run(capsys, *argv)
    assert code == 0
    assert "one run cannot tell the overheads apart" in err
    _, out, _ = run(capsys, "predict", *EAGLE3, "--engine", engine, "--acceptance", "0.6")
    assert "engine vllm-2025-fitted" in out and "engine (fitted to 1 run)" in out
    argv = ["schedule", *EAGLE3, "--engine", engine, "--acceptance", "0.6", "--max-batch", "32", "--batch", "1"]
    _, out, _ = run(capsys, *argv, "--format", "json")
    settings = {item["scope"]: item for item in json.loads(out)["settings"]}
    assert "vLLM up to 0.10" in settings["by batch"]["notes"][0]


@pytest.mark.parametrize(
    ("argv", "line"),
    [
        (["predict", *EAGLE3, "--compare", "RUN", "--batch", "4"], "batch=4 must not be given with --compare"),
        (
            ["predict", *EAGLE3, "--compare", "RUN", "--breakdown"],
            "breakdown=True must not be given with --compare",
        ),
        (["predict", *EAGLE3, "--compare", "RUN", "--draft-len", "3,5"], "needs one configuration"),
        (["predict", *EAGLE3, "--compare", "EMPTY"], "holds no measured times (TPOT, ITL or throughput)"),
        (["ingest", "RUN", "--fit-overhead", "--model", "llama-3.1-8b"], "hardware=None must be given"),
        (["ingest", "RATE", "--fit-overhead", *WHERE], "must state a time per token or between pieces"),
        (["predict", *EAGLE3, "--engine", "EMPTY.toml"], "must hold exactly one table"),
    ],
)
def test_mistakes_are_one_line(capsys, tmp_path, argv, line):
    write(tmp_path / "RUN", tpot_s=0.006, concurrency=8.0)
    write(tmp_path / "RATE", output_tokens_per_s=800.0, concurrency=8.0)
    write(tmp_path / "EMPTY")
    (tmp_path / "EMPTY.toml").write_text("")
    names = {name: str(tmp_path / name) for name in ("RUN", "RATE", "EMPTY", "EMPTY.toml")}
    assert line in refused(capsys, *(names.get(word, word) for word in argv))
