"""The command ``gpu-validate``: exit codes, one-line errors, files, interruption and resumption."""

from __future__ import annotations

import csv
import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from checkout import ROOT

from gpu_validate import cli
from gpu_validate.cli import measure
from gpu_validate.device.facts import Device
from gpu_validate.suites import case, kernels, runner, sampling_plans
from gpu_validate.suites.case import Case


def tiny_cases(device: Device, scale: str) -> Iterator[Case]:
    """A suite of a few milliseconds; ``stop`` in the list of a test interrupts the third case once."""
    torch.manual_seed(0)
    for n in (16, 32, 48):
        for m in (1, 2):
            yield kernels.gemm_case(device, m, n, 64)
    yield kernels.stream_case(device, "copy", 2.0**16)


@pytest.fixture(autouse=True)
def tiny_suite(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tiny_suite", SimpleNamespace(cases=tiny_cases))  # type: ignore[misc]
    monkeypatch.setattr(measure, "SUITES", {"kernels": "tiny_suite"})
    quick = replace(sampling_plans.PLANS["cpu", "ci"], min_samples=3, time_limit_s=0.02)
    monkeypatch.setitem(sampling_plans.PLANS, ("cpu", "ci"), quick)
    monkeypatch.setitem(case.ROTATION_FACTOR, "cpu", 0.01)  # filling copies beyond a large cache takes long


def run(*argv: str) -> int:
    return cli.main(list(argv))


def measured(tmp_path: Path) -> Path:
    assert run("measure", "--suite", "kernels", "--device", "cpu", "--out", str(tmp_path)) == 0
    return tmp_path / "kernels.json"


@pytest.mark.parametrize("verb", ["device", "measure", "rows", "compare"])
def test_help_shows_an_example(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        run(verb, "--help")
    assert stop.value.code == 0
    assert f"gpu-validate {verb} --" in capsys.readouterr().out.split("example")[1]


@pytest.mark.parametrize(
    "argv",
    [
        ["mesure"],
        ["measure", "--suite", "kernels"],
        ["measure", "--out", "x", "--threads", "0"],
        ["measure", "--out", "x", "--scale", "huge"],
        ["rows", "--record", "missing.json"],
        ["compare", "--predicted", "missing.csv", "--measured", "missing.csv"],
        ["device", "--device", "tpu"],
    ],
)
def test_bad_input_is_one_line_and_exit_code_2(argv: Sequence[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert run(*argv) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("gpu-validate: error: ")
    assert printed.err.count("\n") == 1


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU is here")
def test_missing_cuda_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("measure", "--device", "cuda", "--out", str(tmp_path)) == 2
    assert "torch finds no GPU" in capsys.readouterr().err


def test_device_prints_facts_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("device", "--device", "cpu") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["hardware"] == "local"
    assert {"python", "torch", "numpy"} <= set(facts["versions"])
    assert facts["memory_bytes"] > 0


def test_a_dry_run_lists_cases_and_writes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("measure", "--device", "cpu", "--out", str(tmp_path / "out"), "--dry-run", "--format", "csv") == 0
    listed = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert listed[0]["case"] == "gemm-m1-n16-k64"
    assert len(listed) == 7
    assert not (tmp_path / "out").exists()


def test_dry_run_lists_the_cases_of_a_catalog_gpu(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.undo()
    options = ["--out", "x", "--dry-run", "--scale", "small", "--hardware", "h100-sxm", "--gpus", "2"]
    assert run("measure", *options, "--format", "json") == 0
    printed = capsys.readouterr()
    listed = json.loads(printed.out)["rows"]
    assert {row["suite"] for row in listed} == {"kernels", "step", "specdecode", "decode"}
    assert sum(row["limit_s"] for row in listed) < 540
    cases = {row["case"] for row in listed}
    assert {"gemm-fp8-m1-n6144-k4096", "all-reduce-2x-1024B-graph", "step-llama-3.1-8b-b1-s512-n1-eager"} <= cases
    assert "decode_attention bfloat16: 120 cases" in printed.err, "the card of what the shapes imply"
    assert "datasheet" in printed.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--hardware", "h100-sxm"], "needs --dry-run"),
        (["--gpus", "2"], "needs --hardware"),
        (["--dry-run", "--hardware", "h101-sxm"], "did you mean h100-sxm?"),
        (["--dry-run", "--hardware", "h100-sxm", "--gpus", "0"], "gpus=0"),
        (["--dtype", "fp64"], "dtype='fp64' is not known; known: float32, bfloat16"),
    ],
)
def test_options_of_a_dry_run_that_do_not_go_together_are_refused(
    options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("measure", "--out", "x", *options) == 2
    assert said in capsys.readouterr().err


def test_unsupported_cases_are_left_out_and_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measured(tmp_path)
    said = capsys.readouterr().err
    assert "no fp8: this device" in said
    assert "no all-reduce: it needs at least two GPUs" in said
    assert "gemm float32: 6 cases" in said, "the card is there before anything is measured"


def test_a_campaign_runs_in_the_precision_that_is_asked_for(tmp_path: Path) -> None:
    assert run("measure", "--device", "cpu", "--dtype", "bfloat16", "--out", str(tmp_path)) == 0
    record = json.loads((tmp_path / "kernels.json").read_text())
    assert {row["dtype"] for row in record["values"]} == {"bfloat16"}


def test_a_second_pass_begins_when_the_first_has_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Repeats back to back would share the machine's mood; an interruption in between resumes in between."""
    monkeypatch.setitem(measure.PASSES, "kernels", 2)
    ran: list[str] = []
    real = runner.run_case

    def stopping(device: Device, case: Case, plan: Any, **options: Any) -> Any:
        if len(ran) == 9:
            ran.append("the interruption")
            raise KeyboardInterrupt
        ran.append(case.id)
        return real(device, case, plan, **options)

    monkeypatch.setattr(runner, "run_case", stopping)
    assert run("measure", "--device", "cpu", "--out", str(tmp_path)) == 130
    assert run("measure", "--device", "cpu", "--out", str(tmp_path)) == 0
    ran.remove("the interruption")
    assert ran[:7] == ran[7:]
    record = json.loads((tmp_path / "kernels.json").read_text())
    names = [row["case"] for row in record["values"]]
    assert names[7:] == [f"{name}@2" for name in names[:7]]
    assert [row["pass"] for row in record["values"]] == [1] * 7 + [2] * 7
    assert record["provenance"]["passes"] == 2
    assert len(record["provenance"]["states"]) == 2


def test_a_killed_campaign_keeps_what_was_measured(tmp_path: Path) -> None:
    """Not even asked to stop: the process is gone in the middle of a case."""
    code = (
        "import os, signal, sys\n"
        "from dataclasses import replace\n"
        "from types import SimpleNamespace\n"
        "from gpu_validate import cli\n"
        "from gpu_validate.cli import measure\n"
        "from gpu_validate.suites import case, kernels, runner, sampling_plans\n"
        "tiny = lambda device, scale: [kernels.gemm_case(device, m, 16, 64) for m in range(1, 8)]\n"
        "sys.modules['tiny'] = SimpleNamespace(cases=tiny)\n"
        "measure.SUITES = {'kernels': 'tiny'}\n"
        "short = {'min_samples': 2, 'time_limit_s': 0.01}\n"
        "case.ROTATION_FACTOR['cpu'] = 0.01\n"
        "sampling_plans.PLANS = {key: replace(plan, **short) for key, plan in sampling_plans.PLANS.items()}\n"
        "real, ran = runner.run_case, []\n"
        "def dying(*args, **options):\n"
        "    ran.append(real(*args, **options))\n"
        "    if len(ran) == 4:\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return ran[-1]\n"
        "if sys.argv[1] == 'die':\n"
        "    runner.run_case = dying\n"
        "sys.exit(cli.main(['measure', '--suite', 'kernels', '--device', 'cpu', '--out', sys.argv[2]]))\n"
    )
    killed, resumed = (
        subprocess.run([sys.executable, "-c", code, how, str(tmp_path)], capture_output=True, text=True)
        for how in ("die", "go on")
    )
    assert killed.returncode == -signal.SIGKILL
    assert resumed.returncode == 0, resumed.stderr
    assert "kernels: 3 of 7 cases taken from an interrupted run" in resumed.stderr


def test_measure_writes_a_record_that_rows_turns_into_csv(tmp_path: Path) -> None:
    record = json.loads(measured(tmp_path).read_text())
    assert {"schema", "values", "samples", "stopping_reason", "evidence", "provenance"} <= set(record)
    assert record["evidence"] == "live"
    assert record["provenance"]["versions"]["torch"] == torch.__version__
    assert not (tmp_path / "kernels.partial.jsonl").exists()
    parts = {}
    for part in ("train", "test", "all"):
        out = tmp_path / f"{part}.csv"
        assert run("rows", "--record", str(tmp_path / "kernels.json"), "--part", part, "--out", str(out)) == 0
        with out.open() as file:
            parts[part] = list(csv.DictReader(file))
    assert [row["op"] for row in parts["all"]] == ["gemm"] * 6 + ["elementwise"], (
        "a copy calibrates what moves bytes"
    )
    assert len(parts["train"]) + len(parts["test"]) == 7
    first = parts["all"][0]
    assert (first["op"], first["device"], first["dtype"]) == ("gemm", "local", "float32")
    assert float(first["latency_ms"]) > 0


def test_a_device_outside_the_catalog_gets_a_hardware_description(tmp_path: Path) -> None:
    from scylla_sim.specs import catalog

    measured(tmp_path)
    local = catalog.hardware(str(tmp_path / "hardware.toml"))
    assert local.name == "local"
    assert local.peak("fp32") > 0


def test_an_interruption_keeps_what_was_measured_and_a_second_run_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[str] = []
    real = runner.run_case

    def stopping(device: Device, case: Case, plan: Any, **options: Any) -> Any:
        if case.id == "gemm-m1-n32-k64" and len(ran) == 2:
            raise KeyboardInterrupt
        ran.append(case.id)
        return real(device, case, plan, **options)

    monkeypatch.setattr(runner, "run_case", stopping)
    assert run("measure", "--device", "cpu", "--out", str(tmp_path)) == 130
    assert not (tmp_path / "kernels.json").exists()
    assert len((tmp_path / "kernels.partial.jsonl").read_text().splitlines()) == 3, "a beginning, two cases"
    ran.append("the interruption")
    assert run("measure", "--device", "cpu", "--out", str(tmp_path)) == 0
    assert "2 of 7 cases taken from an interrupted run" in capsys.readouterr().err
    assert ran.count("gemm-m1-n16-k64") == 1, "not measured twice"
    assert len(json.loads((tmp_path / "kernels.json").read_text())["values"]) == 7


@pytest.mark.parametrize("cache", ["flushed", "warm"])
def test_the_state_of_the_cache_can_be_chosen_and_is_recorded(tmp_path: Path, cache: str) -> None:
    assert run("measure", "--device", "cpu", "--cache", cache, "--out", str(tmp_path)) == 0
    record = json.loads((tmp_path / "kernels.json").read_text())
    assert {sample["cache"] for sample in record["samples"]} == {cache}
    assert record["provenance"]["cache"] == cache


def test_a_case_that_runs_out_of_memory_is_left_out_and_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    real = runner.run_case

    def greedy(device: Device, case: Case, plan: Any, **options: Any) -> Any:
        if case.id == "gemm-m1-n32-k64":
            raise MemoryError(case.id)
        return real(device, case, plan, **options)

    monkeypatch.setattr(runner, "run_case", greedy)
    assert run("measure", "--device", "cpu", "--out", str(tmp_path)) == 0
    record = json.loads((tmp_path / "kernels.json").read_text())
    assert record["provenance"]["left_out"] == ["gemm-m1-n32-k64"]
    assert len(record["values"]) == 6
    assert "1 cases need more memory" in capsys.readouterr().err


def test_an_edited_record_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = measured(tmp_path)
    capsys.readouterr()
    path.write_text(path.read_text().replace('"m": 1', '"m": 3', 1))
    assert run("rows", "--record", str(path)) == 2
    assert "checksum" in capsys.readouterr().err


def test_a_prediction_equal_to_the_measurement_has_no_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measured(tmp_path)
    table = tmp_path / "rows.csv"
    assert run("rows", "--record", str(tmp_path / "kernels.json"), "--out", str(table)) == 0
    with table.open() as file:
        lines = list(csv.DictReader(file))
    predicted = tmp_path / "predicted.csv"
    with predicted.open("w", newline="") as file:
        writer = csv.DictWriter(file, [*lines[0], "predicted_s"])
        writer.writeheader()
        writer.writerows({**line, "predicted_s": float(line["latency_ms"]) / 1e3} for line in lines)
    out = tmp_path / "errors.json"
    paths = ["--predicted", str(predicted), "--measured", str(table), "--out", str(out)]
    assert run("compare", *paths, "--by", "op") == 0
    value = json.loads(out.read_text())
    assert value["schema"] == "gpu-validate/compare/1"
    assert [row["group"] for row in value["rows"]] == ["elementwise", "gemm", "all"]
    assert value["rows"][-1]["mape"] == pytest.approx(0.0, abs=1e-12)
    assert value["rows"][-1]["floor_kind"] == "intervals"
    assert set(value["provenance"]["inputs"]) == {"predicted.csv", "rows.csv"}
    assert run("compare", *paths[:4], "--format", "table") == 0
    assert "median_ape" in capsys.readouterr().out


def test_measuring_needs_neither_pandas_nor_scipy_and_comparing_no_torch() -> None:
    code = (
        "import importlib, sys\n"
        "for name in sys.argv[1].split(','): sys.modules[name] = None\n"
        "for name in sys.argv[2].split(','): importlib.import_module(name)\n"
    )
    absent = "pandas,jsonschema,tqdm,scipy,pyarrow,aiconfigurator_core,yaml,safetensors,pynvml"
    for blocked, modules in (
        (
            absent,
            "gpu_validate.cli,gpu_validate.cli.measure,gpu_validate.suites.kernels,gpu_validate.suites.steps,gpu_validate.suites.model_pair",
        ),
        (
            f"{absent},torch",
            "gpu_validate.cli,gpu_validate.cli.compare,gpu_validate.cli.rows,gpu_validate.device.timer",
        ),
    ):
        done = subprocess.run([sys.executable, "-c", code, blocked, modules], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("options", "warned"),
    [
        (["--part", "train"], ["decode_attention bfloat16", "context_attention bfloat16", "gemm fp8"]),
        (["--part", "train", "--kernel-source", "torch_linear,triton_split_kv,torch_flash_prompt"], []),
        (["--part", "all"], []),
    ],
)
def test_rows_of_several_libraries_for_one_fit_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], warned: list[str]
) -> None:
    record = str(ROOT / "gpu_validate/recorded/h200-sxm/kernels.json")
    assert run("rows", "--record", record, *options, "--out", str(tmp_path / "rows.csv")) == 0
    said = [line for line in capsys.readouterr().err.splitlines() if "a fit mixes them" in line]
    assert sorted(line.split(" has ")[0].removeprefix("warning: ") for line in said) == sorted(warned)
