"""The line with stage, jobs and time left that `make reproduce` prints."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType

import pytest
from checkout import ROOT, run_in

KNOWN = {"train": 100.0, "calibrate": 20.0}


@pytest.fixture(scope="module")
def progress() -> ModuleType:
    sys.path.insert(0, str(ROOT / "workflow"))
    from snakemake_logger_plugin_progress import line as module

    sys.path.pop(0)
    return module


def test_a_rule_of_one_gpu_takes_the_seconds_of_all_gpus(progress: ModuleType) -> None:
    assert progress.job_seconds("calibrate_l40s", KNOWN) == progress.job_seconds("calibrate", KNOWN) == 20.0
    assert progress.job_seconds("calibrates", KNOWN) == progress.OTHER_SECONDS


def test_the_time_left_follows_the_speed_of_the_machine(progress: ModuleType) -> None:
    """600 s of work on two reference cores take 300 s, and on a machine five times as slow 1500 s."""
    assert progress.seconds_left(0.0, 0.0, 600.0) == 300.0
    assert progress.seconds_left(3000.0, 1200.0, 1800.0) == pytest.approx(1500.0, rel=0.05)
    assert progress.seconds_left(3000.0, 1800.0, 1800.0) == 0.0


def test_the_line_has_stage_jobs_and_time_left(progress: ModuleType) -> None:
    run = progress.Progress(KNOWN, now_s=100.0)
    run.plan({"train": 1, "calibrate_l40s": 1, "all": 1, "total": 3})
    run.begin(7, "calibrate_l40s", {"part": "test"}, 100.0)
    assert run.line(100.0) == "  0/3 jobs, about 2 min left: calibrate l40s test"
    run.end(7)
    run.begin(8, "train", {}, 110.0)
    early, late = run.line(110.0), run.line(200.0)
    assert early == "  1/3 jobs, about 51 s left: train"
    assert late == "  1/3 jobs, about 10 s left: train"
    run.end(8)
    run.end(9)
    assert run.line(220.0) == "  3/3 jobs, 2 min in all: train"


def test_a_failed_job_is_printed_with_its_log(tmp_path: Path) -> None:
    rules = """
rule good:
    output: "good"
    shell: "touch {output}"
rule bad:
    input: "good"
    output: "bad"
    log: "bad.log"
    shell: "echo no such GPU > {log}; exit 3"
"""
    (tmp_path / "Snakefile").write_text(rules)
    loud = ("env", f"PYTHONPATH={ROOT / 'workflow'}", "snakemake", "--cores", "1", "--show-failed-logs", "bad")
    done = run_in(tmp_path, *loud, "--logger", "progress")
    assert done.returncode == 1
    lines = done.stderr.splitlines()
    assert re.fullmatch(r"  0/2 jobs, about \d s left: good", lines[0])
    assert "Error in rule bad:" in lines and "no such GPU" in lines
    assert not [line for line in lines if line.startswith(("Building DAG", "Select jobs", "rule "))]
