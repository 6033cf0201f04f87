"""Workflow without a run: errors in the configuration, the plan, the linter."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from checkout import ROOT, run_in
from empty_gpu_records import measured_gpu

from gpu_validate.silicon import tables
from paper.figures.index import FIGURES
from paper.tables.index import TABLES


def outputs(said: str) -> set[str]:
    """Return the files that the jobs of a plan write."""
    lines = [line.strip().removeprefix("output: ") for line in said.splitlines() if "output: " in line]
    return {path for line in lines for path in line.split(", ")}


def plan(folder: Path, *options: str) -> str:
    """Return the output of a dry run."""
    done = run_in(folder, "snakemake", "-n", *options)
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def bare(checkout: Path) -> str:
    """Return the plan of a run without options."""
    return plan(checkout)


def test_a_bad_setting_is_one_line_and_no_run(checkout: Path) -> None:
    """`tests/workflow/test_guard.py` has the lines of other settings."""
    done = run_in(checkout, "snakemake", "-n", "--config", "silicon_devices=[h100]")
    assert done.returncode == 2
    said = [
        text
        for text in (done.stdout + done.stderr).splitlines()
        if text.startswith(("config:", "Error", "Traceback"))
    ]
    known = ", ".join(sorted(tables.DEVICES))
    assert said == [f"config: silicon_devices.0='h100' must be one of {known}"]
    assert "Building DAG" not in done.stderr


def test_a_typo_in_a_config_file_is_found(checkout: Path, tmp_path: Path) -> None:
    overlay = tmp_path / "mine.yaml"
    overlay.write_text("silicon_device: [h100-sxm]\n")
    done = run_in(checkout, "snakemake", "-n", "--configfile", str(overlay))
    assert done.returncode == 2
    assert "config: silicon_device is not a setting; did you mean silicon_devices?" in done.stderr


def test_the_linter_finds_nothing(checkout: Path) -> None:
    done = run_in(checkout, "snakemake", "--lint")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_bare_snakemake_makes_every_table_figure_and_input(checkout: Path, bare: str) -> None:
    made = outputs(bare)
    wanted = [f"table-{name}.{kind}" for name in TABLES for kind in ("md", "tex", "csv", "html")]
    wanted += [f"figure-{name}.{kind}" for name in FIGURES for kind in ("svg", "png")]
    wanted += ["claims.md", "claims.csv"]
    wanted = [f"paper/{name}" for name in wanted]
    scenarios = yaml.safe_load((checkout / "workflow/config/scenarios.yaml").read_text())
    sections = ("laws", "steps", "endtoend", "served")
    wanted += [f"{section}/{name}.json" for section in sections for name in scenarios[section]]
    assert {f"results/{path}" for path in wanted} <= made
    jobs = re.search(r"^total +(\d+)$", bare, flags=re.MULTILINE)
    assert jobs is not None and int(jobs[1]) <= 120, "a job that runs one short command mostly starts Python"


def test_every_rule_is_used(checkout: Path) -> None:
    with measured_gpu(checkout):
        rules = set(run_in(checkout, "snakemake", "--list-rules").stdout.split())
        planned = set(
            re.findall(r"^rule (\w+):", plan(checkout, "all", "calibrations", "sweeps"), flags=re.MULTILINE)
        )
    assert len(rules) > 30
    assert planned == rules


def test_calibrations_are_made_from_all_tables_of_a_gpu(checkout: Path) -> None:
    made = outputs(plan(checkout, "results/calibration/a100-sxm.json", "results/calibration/b300-sxm.json"))
    low = [("a100-sxm", "gemm"), ("a100-sxm", "experts"), ("b300-sxm", "experts")]
    for device, op in low:
        assert f"results/silicon/{device}/{op}-low-bits-train.csv" in made
    assert "results/silicon/b300-sxm/gemm-low-bits-train.csv" not in made


def test_a_measured_gpu_is_an_input_without_further_settings(checkout: Path, bare: str) -> None:
    assert "gpu-mi300x" not in bare
    with measured_gpu(checkout) as (records, _):
        said = plan(checkout)
        for suite in ("kernels", "step", "specdecode", "decode"):
            assert f"results/compare/gpu-mi300x-{suite}-blind.json" in said
            assert f"results/gpu/mi300x/{suite}-rows.csv" in said
        (records / "kernels.json").unlink()
        said = plan(checkout)
        assert "gpu-mi300x-step-blind.json" in said and "gpu-mi300x-step-calibrated.json" not in said


def test_a_blind_prediction_that_was_edited_is_one_line_and_no_run(checkout: Path) -> None:
    with measured_gpu(checkout) as (_, blind):
        (blind / "step.csv").write_text("edited")
        done = run_in(checkout, "snakemake", "-n")
    assert done.returncode == 2
    said = [line for line in done.stderr.splitlines() if line.startswith(("blind:", "Traceback", "Building"))]
    assert len(said) == 1 and "step.csv' does not match its hash in" in said[0]


def test_every_job_writes_its_log_and_calls_a_command_line(checkout: Path) -> None:
    for file in (checkout / "workflow/rules").glob("*.smk"):
        for rule in re.split(r"^ *rule\b", file.read_text(), flags=re.MULTILINE)[1:]:
            if "shell:" in rule:
                assert "{log}" in rule and "conda:" in rule, rule
                assert re.search(r'python -m (scylla_sim|gpu_validate|paper) |python workflow/|"(cp|awk) ', rule), (
                    rule
                )
            assert "run:" not in rule and "script:" not in rule, rule


def test_recorded_measurements_need_no_measuring(checkout: Path) -> None:
    folder = checkout / "gpu_validate/recorded/somewhere"
    folder.mkdir(parents=True)
    for suite in ("kernels", "step", "specdecode"):
        (folder / f"{suite}.json").write_text("{}")
    said = plan(checkout, "--config", "measurements=recorded", "recorded_device=somewhere", "smallscale=[small]")
    assert "rule record:" in said and "rule measure:" not in said


def test_missing_recorded_measurements_are_one_line(checkout: Path) -> None:
    for name, said in (
        ("h900", "config: recorded_device='h900' has no kernels.json in gpu_validate/recorded; "),
        ("partly", "config: recorded_device='partly' has no specdecode.json in gpu_validate/recorded; recorded: "),
    ):
        folder = checkout / "gpu_validate/recorded/partly"
        folder.mkdir(parents=True, exist_ok=True)
        for suite in ("kernels", "step"):
            (folder / f"{suite}.json").write_text("{}")
        done = run_in(checkout, "snakemake", "-n", "--config", "measurements=recorded", f"recorded_device={name}")
        assert done.returncode == 2
        lines = [line for line in done.stderr.splitlines() if line.startswith(("config:", "Missing", "Traceback"))]
        assert len(lines) == 1 and lines[0].startswith(said), done.stderr
        assert "measurements: live" in lines[0]


def test_the_schema_lists_the_devices_and_operations_with_silicon_data() -> None:
    schema = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text())
    assert schema["properties"]["silicon_devices"]["items"]["enum"] == sorted(tables.DEVICES)
    assert set(schema["properties"]["silicon_ops"]["items"]["enum"]) == set(tables.TABLES)
    assert set(schema["required"]) == set(schema["properties"])
    assert schema["additionalProperties"] is False


def test_the_shipped_configuration_has_every_setting() -> None:
    schema = yaml.safe_load((ROOT / "workflow/schemas/config.schema.yaml").read_text())
    config = yaml.safe_load((ROOT / "workflow/config/config.yaml").read_text())
    assert set(config) == set(schema["properties"])
