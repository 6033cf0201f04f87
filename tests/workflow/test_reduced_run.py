"""Reduced run of the whole workflow: one GPU, few calibration rows, measurements of seconds."""

from __future__ import annotations

import csv
import socket
from pathlib import Path

import pytest
from gpu_records import GPU
from reduced_workflow import OVERLAY, snakemake

pytestmark = pytest.mark.slow


def planned(folder: Path) -> list[str]:
    """Return the rules that another run would start."""
    said = snakemake(folder, "-n").stdout
    return [line.removeprefix("rule ").removesuffix(":") for line in said.splitlines() if line.startswith("rule ")]


def test_the_run_writes_tables_figures_claims_and_a_report(finished_checkout: Path) -> None:
    done = snakemake(finished_checkout, "--report", "results/paper/report.html")
    assert done.returncode == 0, done.stderr[-3000:]
    paper = finished_checkout / "results/paper"
    report = (paper / "report.html").read_text()
    for path in (*paper.glob("table-*.html"), *paper.glob("figure-*.svg"), paper / "claims.csv"):
        assert path.stat().st_size > 100
        assert path.name in report
    assert "h100-sxm" in (paper / "table-silicon-gemm.md").read_text()


def test_committed_records_of_a_gpu_reach_its_tables(finished_checkout: Path) -> None:
    paper = finished_checkout / "results/paper"
    for name in (
        "kernels",
        "verify-attention",
        "steps",
        "breakdown",
        "cycles",
        "best-k",
        "energy",
        "decode",
        "host",
    ):
        table = (paper / f"table-gpu-{name}.md").read_text()
        assert f"| {GPU} " in table and "GPU-0fake000" in table, name
    every = list(csv.DictReader((paper / "table-gpu-steps.csv").open()))
    steps = [row for row in every if row["device"] == GPU]
    assert steps and all(float(row["calibrated_median_ape"]) < float(row["blind_median_ape"]) for row in steps)
    assert GPU in (paper / "claims.md").read_text()


def test_a_second_run_has_nothing_to_do(finished_checkout: Path) -> None:
    assert planned(finished_checkout) == []


def test_a_deleted_file_is_made_again_with_its_dependents(finished_checkout: Path) -> None:
    (finished_checkout / "results/laws/theorem-1.2.json").unlink()
    assert set(planned(finished_checkout)) == {"laws", "tables", "figures", "claims", "overview", "all"}
    assert snakemake(finished_checkout).returncode == 0
    assert planned(finished_checkout) == []


def test_editing_a_package_reruns_its_own_jobs_only(finished_checkout: Path) -> None:
    source = finished_checkout / "paper/render/table.py"
    text = source.read_text()
    source.write_text(text + "\n# edited\n")
    assert set(planned(finished_checkout)) == {"tables", "figures", "claims", "overview", "all"}
    source.write_text(text)
    assert planned(finished_checkout) == []


def test_another_setting_reruns_its_dependents(finished_checkout: Path) -> None:
    overlay = finished_checkout / "overlay.yaml"
    overlay.write_text(OVERLAY.replace("48", "64"))
    rules = set(planned(finished_checkout))
    overlay.write_text(OVERLAY)
    assert {"silicon_train_h100_sxm", "calibrate_silicon", "score_silicon_h100_sxm"} <= rules
    assert not rules & {"laws", "silicon_test_h100_sxm", "measured_rows", "calibrate_local"}


def test_the_lock_of_a_killed_run_is_removed_by_the_next_run(finished_checkout: Path) -> None:
    locks = finished_checkout / ".snakemake/locks"
    locks.mkdir(exist_ok=True)
    (locks / "0.output.lock").write_text("results/paper/claims.md\n")
    gone = 2**22 + 1  # larger than any process id on Linux
    (finished_checkout / ".snakemake/holder").write_text(f"{socket.gethostname()} {gone}")
    (finished_checkout / "results/paper/claims.md").unlink()
    done = snakemake(finished_checkout)
    assert done.returncode == 0, done.stderr[-2000:]
    assert (finished_checkout / "results/paper/claims.md").exists()
