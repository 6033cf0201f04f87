"""The campaign from end to end on a fake CUDA, at a tiny scale."""

from __future__ import annotations

import json
import os
import random
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from fake_cuda import FakeCuda, fake_cuda

from gpu_validate import cli
from gpu_validate.device.facts import catalog_device, detect_device
from gpu_validate.device.timer import Plan
from gpu_validate.models import attention
from gpu_validate.records import record_file, rows
from gpu_validate.suites import campaign_scopes, campaign_stages, decode, kernels, runner, selfcheck
from gpu_validate.suites.last_results import LastResults
from gpu_validate.suites.runner import SuiteRun
from gpu_validate.suites.sampling_plans import SETTLE_S, expected_seconds, settling_plan
from scylla_sim.specs import catalog
from scylla_sim.specs.model import Model

TARGET = Model("llama-3.1-8b", 2, 64, 96, 4, 2, 16, 64)
DRAFT = Model("llama-3.2-1b", 1, 32, 48, 2, 2, 16, 64)
SCOPE = replace(
    campaign_scopes.GPU_SCOPE,
    core_batches=(1, 2),
    core_contexts=(24,),
    core_tokens=(1, 4),
    core_lengths=(1, 3),
    batches=(1, 4),
    contexts=(24, 40),
    tokens=(1, 2),
    cycle_batches=(1, 2),
    lengths=(1, 2),
    branching=(2, 2),
    heads=(4, 2, 16),
    attention_groups=((1, 40), (2, 24)),
    widths=(1, 3),
    gemms=((64, 64), (128, 64)),
    gemm_rows=(1, 8),
    fp8_gemms=((64, 64),),
    fp8_rows=(1, 32),
    decode=decode.Grid("llama-3.1-8b", "llama-3.2-1b", ((1, 0), (1, 3)), 24, 8),
    prompts=((1, 0, 24), (2, 16, 8)),
    draft_prompts=((1, 0, 24),),
    prompt_attention=((1, 0, 24), (2, 16, 8)),
    prompt_rows=(24,),
    eager_lengths=(1,),
    stream_bytes=(2.0**14,),
)
PLAN = Plan(relative_error=0.5, min_samples=2, max_samples=3, time_limit_s=0.05, warmup_calls=1, min_sample_s=0.0)


def gemm(x: Any, weight: Any, dtype: torch.dtype, *, padded: bool = False) -> torch.Tensor:
    """A GEMM in 8 bits; torch's own is slow on a CPU."""
    return (x[0].to(dtype) @ weight[0].to(dtype).T) * (x[1] * weight[1]).to(dtype)


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeCuda]:
    torch.set_num_threads(1)
    monkeypatch.setitem(campaign_scopes.SCOPES, "cuda", SCOPE)
    monkeypatch.setitem(campaign_stages.PLANS, "cuda", dict.fromkeys(campaign_stages.PLANS["cuda"], PLAN))
    models = {spec.name: spec for spec in (TARGET, DRAFT)}
    monkeypatch.setattr(catalog, "model", models.__getitem__)
    monkeypatch.setattr("gpu_validate.device.facts._WARM_UP_SIDE", 8)
    monkeypatch.setattr("gpu_validate.cli._campaign.warm_up", lambda device: None)
    monkeypatch.setattr("gpu_validate.suites.measurement.GRAPH_S", 1e-6)
    monkeypatch.setitem(selfcheck.EXPECTED, attention.CUDNN, ("scaled_dot_product",))
    monkeypatch.setitem(selfcheck.EXPECTED, attention.CUDNN_PROMPT, ("scaled_dot_product",))
    monkeypatch.setattr(attention, "cudnn_attention", attention.masked_attention)
    monkeypatch.setattr(attention, "cudnn_prompt", attention.causal_by_query_head)
    monkeypatch.setattr(kernels.fp8, "gemm", gemm)
    monkeypatch.setattr(selfcheck, "SelfCheckProcess", Check)
    LastResults.clear_all()
    with fake_cuda(monkeypatch) as fake:
        yield fake
    LastResults.clear_all()


def measure(folder: Path, *options: str, minutes: str = "1") -> int:
    return cli.main(["campaign", "--device", "cuda", "--minutes", minutes, "--out", str(folder), *options])


def test_a_campaign_leaves_a_complete_record_of_each_suite(gpu: FakeCuda, tmp_path: Path) -> None:
    assert measure(tmp_path) == 0
    assert gpu.captures > 50
    for suite in ("kernels", "step", "specdecode", "decode"):
        record = record_file.read(tmp_path / f"{suite}.json")
        about = record["provenance"]
        assert about["complete"] and not about["failed"] and not about["missing"], suite
        assert {row["gpu"] for row in record["values"]} == {f"GPU-{gpu.uuid}"}
        assert about["device"]["hardware"] == "h100-sxm"
        assert not (tmp_path / f"{suite}{record_file.PARTIAL}").exists()


class Check:
    """The self-check in this process, which is the one with the fake device."""

    def __init__(self, device: Any) -> None:
        self.device = device

    def result(self) -> dict[str, Any]:
        return selfcheck.check(self.device)


def names(folder: Path, suite: str) -> list[str]:
    return [str(row["case"]) for row in record_file.read(folder / f"{suite}.json")["values"]]


def test_a_failing_case_is_kept_with_its_error_and_the_rest_is_measured(
    gpu: FakeCuda, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: Any, **options: Any) -> torch.Tensor:
        raise RuntimeError("CUBLAS_STATUS_NOT_SUPPORTED when calling cublasLtMatmul")

    monkeypatch.setattr(kernels.fp8, "gemm", broken)
    assert measure(tmp_path) == 1
    about = record_file.read(tmp_path / "kernels.json")["provenance"]
    assert {failed["case"].rpartition("-m")[0] for failed in about["failed"]} == {"gemm-fp8"}
    assert len(_about(tmp_path, "step")["failed"]) == 4, (
        "steps in 8 bits: more in a row than a broken device allows"
    )
    assert "CUBLAS_STATUS_NOT_SUPPORTED" in about["failed"][0]["error"]
    assert not about["complete"] and not about["missing"]
    assert record_file.read(tmp_path / "specdecode.json")["provenance"]["complete"]


def test_a_capture_that_runs_out_of_memory_loses_one_case(gpu: FakeCuda, tmp_path: Path) -> None:
    gpu.memory_after = 3
    assert measure(tmp_path, "--every", "3") == 0
    lost = {name for suite in ("step", "specdecode") for name in _about(tmp_path, suite)["left_out"]}
    assert len(lost) == 1, "the first capture"


def _about(folder: Path, suite: str) -> dict[str, Any]:
    about: dict[str, Any] = record_file.read(folder / f"{suite}.json")["provenance"]
    return about


def test_a_broken_device_ends_the_process_with_records_and_a_new_one_goes_on(
    gpu: FakeCuda, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda path, call: started.append(call))
    monkeypatch.setenv("GPU_VALIDATE_CAMPAIGN_RESTARTS", "0")
    real = campaign_stages.cycles.loop_at_rates

    def illegal(pair: Any, tree: Any, batch: int, *args: Any, **options: Any) -> Any:
        if batch == 2:
            gpu.broken = True
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        return real(pair, tree, batch, *args, **options)

    monkeypatch.setattr(campaign_stages.cycles, "loop_at_rates", illegal)
    assert measure(tmp_path) == 1
    assert names(tmp_path, "step") and names(tmp_path, "specdecode")
    assert _about(tmp_path, "specdecode")["failed"]
    assert len(started) == 1 and "--minutes" in started[0]
    gpu.broken = False
    failed = _about(tmp_path, "specdecode")["failed"]
    monkeypatch.setattr(campaign_stages.cycles, "loop_at_rates", real)
    assert measure(tmp_path) == 1, "the new process leaves alone what broke the device"
    assert _about(tmp_path, "step")["complete"]
    assert _about(tmp_path, "specdecode")["failed"] == failed


@pytest.mark.parametrize("seed", range(2))
def test_a_cut_at_any_moment_leaves_readable_records_and_another_gpu_goes_on(
    gpu: FakeCuda, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    left = random.Random(seed).randint(1, 30)
    real = SuiteRun.measure

    def cut(suite: SuiteRun, case: Any, number: int) -> bool:
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(suite, case, number)

    monkeypatch.setattr(SuiteRun, "measure", cut)
    assert measure(tmp_path, "--every", "2") in (1, 130), "1 where a suite has no result yet"
    counts = {path.stem: len(names(tmp_path, path.stem)) for path in tmp_path.glob("*.json")}
    assert counts.get("step", 0) <= 30
    gpu.uuid = "99999999-2222-3333-4444-555555555555"
    assert measure(tmp_path, "--every", "2") == 0
    for suite in ("step", "specdecode", "kernels", "decode"):
        about = _about(tmp_path, suite)
        both = 0 < counts.get(suite, 0) < len(names(tmp_path, suite))
        assert about["complete"] and len(about["gpus"]) == 1 + both, "a record of two GPUs says so"
        assert not both or about["resumed"] == counts[suite]


def test_a_killed_process_leaves_partial_files_that_are_read_as_records(gpu: FakeCuda, tmp_path: Path) -> None:
    assert measure(tmp_path, "--every", "3") == 0
    record = record_file.read(tmp_path / "step.json")
    partial = record_file.Partial(tmp_path / f"step{record_file.PARTIAL}", record["provenance"]["key"])
    partial.begin("step", detect_device("cuda"), {"scale": "campaign"})
    for row, sample in list(zip(record["values"], record["samples"]))[:7]:
        partial.append(row, {key: value for key, value in sample.items() if key != "case"})
    with partial.path.open("a") as file:
        file.write('{"key": "cut off in the mid')
    read = record_file.read(partial.path)
    assert len(read["values"]) == 7
    assert read["provenance"]["complete"] is False
    assert rows.export(read, "all")


def test_a_thinned_campaign_in_the_same_folder_loses_nothing(gpu: FakeCuda, tmp_path: Path) -> None:
    measure(tmp_path, "--every", "3")
    first = names(tmp_path, "step")
    measure(tmp_path, "--every", "4")
    both = names(tmp_path, "step")
    assert set(first) < set(both)
    assert len(both) == len(set(both))


def test_a_record_measured_under_other_conditions_is_not_written_over(
    gpu: FakeCuda, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    measure(tmp_path, "--every", "6")
    before = (tmp_path / "step.json").read_bytes()
    gpu.name = "NVIDIA H200"
    assert measure(tmp_path, "--every", "6") == 2
    assert "choose another folder" in capsys.readouterr().err.splitlines()[-1]
    assert (tmp_path / "step.json").read_bytes() == before


def test_nothing_starts_that_cannot_end_in_time(
    gpu: FakeCuda, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "expected_seconds", lambda device, case, plan: 3600.0 * case.wall)
    assert measure(tmp_path, "--every", "2") == 1, "free-running decoding is longer than the campaign"
    assert not (tmp_path / "decode.json").exists()
    assert _about(tmp_path, "specdecode")["complete"]


def test_a_host_read_inside_a_graph_fails_the_case(
    gpu: FakeCuda, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = campaign_stages.cycles.SpeculativeLoop.cycle

    def reading(loop: Any, *args: Any) -> Any:
        int(loop.batch.lengths.max())
        return real(loop, *args)

    monkeypatch.setattr(campaign_stages.cycles.SpeculativeLoop, "cycle", reading)
    monkeypatch.setattr(os, "execv", lambda *call: None)
    assert measure(tmp_path, "--every", "3") == 1
    errors = [failed["error"] for failed in _about(tmp_path, "specdecode")["failed"]]
    assert errors and all("not permitted when stream is capturing" in error for error in errors)


def test_a_kernel_that_is_not_the_named_one_is_not_measured(
    gpu: FakeCuda, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attention, "causal_by_query_head", lambda q, k, v: q * 1.0)
    assert measure(tmp_path, "--every", "3") == 1
    record = record_file.read(tmp_path / "kernels.json")
    found = record["provenance"]["selfcheck"]["kernels"][attention.CAUSAL]
    assert not found["as_named"]
    assert attention.CAUSAL not in {row.get("kernel_source") for row in record["values"]}


def test_the_dry_run_of_an_h100_fits_nine_minutes_and_writes_the_shapes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--dry-run", "--hardware", "h100-sxm", "--shapes", str(tmp_path), "--format", "json"]
    assert cli.main(["campaign", *options]) == 0
    listed = json.loads(capsys.readouterr().out)["rows"]
    assert 200 < sum(row["seconds"] for row in listed) < 535
    core = [row for row in listed if row["stage"] in ("steps", "cycles")]
    assert sum(row["seconds"] for row in core) < 75
    assert max(row["gbytes"] for row in listed) < 0.9 * 85
    assert {path.stem for path in tmp_path.iterdir()} == {"kernels", "step", "specdecode", "decode"}


def test_a_resumed_run_keeps_its_failures(gpu: FakeCuda, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a later run tries them again: what failed may have been the machine."""
    measure(tmp_path, "--every", "6")
    real = runner.run_case

    def failing(*args: Any, **options: Any) -> Any:
        raise RuntimeError("boom")

    monkeypatch.setattr(runner, "run_case", failing)
    assert measure(tmp_path, "--every", "4") == 1
    assert {failed["error"] for failed in _about(tmp_path, "step")["failed"]} == {"RuntimeError: boom"}
    assert names(tmp_path, "step"), "what was measured before stays"
    monkeypatch.setattr(runner, "run_case", real)
    assert measure(tmp_path, "--every", "4") == 0
    assert not _about(tmp_path, "step")["failed"]


def test_a_signal_within_a_case_stops_the_campaign(
    gpu: FakeCuda, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nothing that handles the errors of a case takes it for one."""
    real, ran = runner.run_case, []

    def cut(*args: Any, **options: Any) -> Any:
        ran.append(args)
        if len(ran) == 5:
            os.kill(os.getpid(), signal.SIGTERM)
        return real(*args, **options)

    monkeypatch.setattr(runner, "run_case", cut)
    assert measure(tmp_path, "--every", "3") == 130
    assert len(ran) == 5
    assert "stopped by SIGTERM" in capsys.readouterr().err
    assert not _about(tmp_path, "step")["failed"]


def test_cases_too_large_for_memory_are_listed(
    gpu: FakeCuda, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(campaign_stages, "fits_memory", lambda device, case: case.shape.get("batch") != 4)
    assert measure(tmp_path, "--every", "2") == 0
    assert any("-b4-" in name for name in _about(tmp_path, "step")["left_out"])


def test_two_campaigns_do_not_share_a_folder(
    gpu: FakeCuda, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with runner.locked_folder(tmp_path):
        assert measure(tmp_path) == 2
    assert "is in use by another campaign" in capsys.readouterr().err
    assert not list(tmp_path.glob("*.json*"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--minutes", "0.05"], "minutes=0.05"),
        (["--format", "json"], "needs --dry-run"),
        (["--dry-run", "--hardware", "h100-sxm", "--device", "cuda"], "cannot be combined with --hardware"),
        (["--dry-run", "--hardware", ""], "hardware"),
        (["--dry-run", "--shapes", ""], "must name a folder"),
        (["--every", "0"], "every"),
    ],
)
def test_options_that_do_not_go_together_are_refused(
    options: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["campaign", "--out", str(tmp_path / "out"), *options]) == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "content",
    [
        b"\xff\xfe\x00garbage",
        b'{"begin": "step", "device": {}, "facts": {}}',
        b'{"key": "a", "begin": "step", "device": {}, "facts": {}}',
        b'{"key": "a", "begin": "step"}\n{"key": "a", "row": {"x": 1}, "summary": {}}',
        b"",
    ],
)
def test_a_partial_file_of_nonsense_is_refused_in_one_line(
    content: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / f"step{record_file.PARTIAL}"
    path.write_bytes(content)
    assert cli.main(["rows", "--record", str(path)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_cases_of_many_flops_a_byte_settle_first_on_a_gpu() -> None:
    device = catalog_device("h100-sxm")
    light, heavy = (kernels.gemm_case(device, m, 4096, 4096) for m in (16, 1024))
    assert settling_plan(device, light, PLAN).warmup_s == 0.0
    assert settling_plan(device, heavy, PLAN).warmup_s == SETTLE_S
    assert settling_plan(replace(device, kind="cpu"), heavy, PLAN).warmup_s == 0.0
    assert expected_seconds(device, heavy, PLAN) > SETTLE_S > expected_seconds(device, light, PLAN)
