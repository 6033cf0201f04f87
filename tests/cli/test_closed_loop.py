"""From timing to a table of errors through files only, in a few seconds; and the guide that says how."""

from __future__ import annotations

import importlib
import json
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from checkout import ROOT

from gpu_validate import cli
from gpu_validate.cli import measure
from gpu_validate.device.facts import Device
from gpu_validate.models.decoder import Decoder
from gpu_validate.suites import case, cycles, kernels, sampling_plans, steps
from gpu_validate.suites.case import Case
from scylla_sim import console
from scylla_sim.acceptance.trees import chain
from scylla_sim.cli import main as simulate
from scylla_sim.specs import catalog

GUIDE = ROOT / "docs" / "validate-on-your-gpu.md"
SPEC = replace(catalog.model("llama-68m"), num_layers=1, vocab_size=512)


def small_kernels(device: Device, scale: str) -> Iterator[Case]:
    yield kernels.launch_case(device, graph=False)
    for size in (2.0**20, 2.0**22):
        yield kernels.stream_case(device, "copy", size)
    for n, k in ((768, 768), (512, 768), (256, 512), (768, 256), (1024, 256), (512, 512)):
        for m in (1, 2, 4, 16):
            yield kernels.gemm_case(device, m, n, k)
    for batch in (1, 2, 4):
        for kv_len in (64, 256, 512):
            yield kernels.attention_case(device, batch, kv_len, 1, (12, 12, 64))


def small_loops(device: Device, scale: str) -> Iterator[Case]:
    def make() -> tuple[Decoder, Decoder]:
        return Decoder(SPEC), Decoder(SPEC)

    yield cycles.plain_case(device, (SPEC, SPEC), make, 1, 32)
    for part in cycles.PARTS:
        yield cycles.part_case(device, (SPEC, SPEC), make, (1, 32), chain(2), part)


def small_steps(device: Device, scale: str) -> Iterator[Case]:
    for tokens in (1, 2):
        yield steps.step_case(device, SPEC, (1, 64, tokens), graph=False)


@pytest.fixture(scope="module")
def campaign(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("campaign")
    with pytest.MonkeyPatch.context() as patch:
        suites = {"kernels": small_kernels, "step": small_steps, "specdecode": small_loops}
        for name, cases in suites.items():
            patch.setitem(sys.modules, f"small_{name}", SimpleNamespace(cases=cases))  # type: ignore[misc]
        patch.setattr(measure, "SUITES", {name: f"small_{name}" for name in suites})
        patch.setitem(case.ROTATION_FACTOR, "cpu", 0.01)  # filling copies beyond a large cache takes long
        quick = replace(sampling_plans.PLANS["cpu", "ci"], min_samples=3, time_limit_s=0.03)
        patch.setitem(sampling_plans.PLANS, ("cpu", "ci"), quick)
        assert cli.main(["measure", "--suite", "all", "--device", "cpu", "--out", str(folder)]) == 0
    yield folder


def test_kernels_are_calibrated_on_some_shapes_and_scored_on_others(
    campaign: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(campaign)
    for part in ("train", "test"):
        assert cli.main(["rows", "--record", "kernels.json", "--part", part, "--out", f"{part}.csv"]) == 0
    hardware = ["--device", "local", "--hardware", "hardware.toml", "--evidence", "live"]
    assert simulate(["calibrate", "--measurements", "train.csv", *hardware, "--out", "local.json"]) == 0
    shapes = ["--shapes", "test.csv", "--calibration", "local.json", "--format", "csv", "--out", "predicted.csv"]
    assert simulate(["kernels", *shapes]) == 0
    files = ["--predicted", "predicted.csv", "--measured", "test.csv"]
    assert cli.main(["compare", *files, "--by", "op", "--out", "errors.json"]) == 0
    value = json.loads(Path("errors.json").read_text())
    assert [row["group"] for row in value["rows"]] == ["decode_attention", "gemm", "all"]
    assert all(row["evidence"] == "live" and row["n"] > 0 for row in value["rows"])
    assert all(row["floor_kind"] == "intervals" for row in value["rows"])


def test_a_record_of_cycles_becomes_rows_with_speed_ups(campaign: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(campaign)
    assert cli.main(["rows", "--record", "specdecode.json", "--out", "cycles.csv"]) == 0
    files = ["--predicted", "cycles.csv", "--measured", "cycles.csv"]
    assert (
        cli.main(["compare", *files, "--columns", "speedup,cycle_s", "--best", "speedup", "--out", "c.json"]) == 0
    )
    rows = json.loads(Path("c.json").read_text())["rows"]
    assert [row["quantity"] for row in rows] == ["speedup", "cycle_s"]
    assert rows[0]["same_choice"] == 1.0


def test_every_command_of_the_guide_is_one_that_the_programs_accept() -> None:
    text = GUIDE.read_text(encoding="utf-8")
    found = "\n".join(re.findall(r"^```sh[^\n]*\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL))
    lines = [re.sub(r"\s+#.*$", "", line) for line in found.replace("\\\n", " ").splitlines()]
    parsed = set()
    for line in lines:
        words = shlex.split(line.partition("|")[0])
        words = words[2:] if words[:2] == ["python", "-m"] else words
        packages = {
            "gpu-validate": "gpu_validate.cli",
            "gpu_validate": "gpu_validate.cli",
            "scylla-sim": "scylla_sim.cli",
        }
        if not words or words[0] not in packages:
            continue
        module = importlib.import_module(f"{packages[words[0]]}.{words[1]}")
        parser = console.Parser(prog=words[1])
        module.add_arguments(parser)
        parser.parse_args(words[2:])
        parsed.add(words[1])
    assert parsed == {"campaign", "device", "measure", "rows", "calibrate", "kernels", "compare", "steps", "cycles"}
