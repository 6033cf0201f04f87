"""What training must show at small scale: the recorded run all of it, a run of seconds what one seed supports."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from checkout import ROOT

from gpu_validate import cli
from gpu_validate.records import record_file
from gpu_validate.training import plans
from scylla_sim.cli import main as simulate

RECORD = ROOT / "gpu_validate/recorded/cpu/smallscale.json"
MAIN = "arm=main,domain=all,temperature=0,drafting=chain"


def fitted(record: Path, folder: Path, *options: str, where: str = MAIN) -> list[dict[str, Any]]:
    """Rows of ``scylla-sim laws`` on a record's curves, log-linear only."""
    curves, out = folder / "acceptance.csv", folder / "laws.json"
    assert cli.main(["curves", "--record", str(record), "--table", "acceptance", "--out", str(curves)]) == 0
    fit = ["--y", "tokens_per_cycle", "--where", where, "--forms", "log-linear", "--format", "json"]
    assert simulate(["laws", str(curves), *fit, *options, "--out", str(out)]) == 0
    rows: list[dict[str, Any]] = json.loads(out.read_text())["rows"]
    return rows


def test_the_recorded_run_is_scale_small_with_three_seeds_and_its_corpus(tmp_path: Path) -> None:
    record = record_file.read(RECORD)
    assert record["evidence"] == "small-scale" and record["provenance"]["scale"] == "small"
    assert {row["seed"] for row in record["values"] if row.get("arm") == "main" and "seed" in row} == {0, 1, 2}
    assert len(record["provenance"]["corpus"]["sha256"]) == 64


def test_theorem_1_1_holds_in_the_recorded_run_at_three_depths_and_more(tmp_path: Path) -> None:
    rows = fitted(RECORD, tmp_path, "--x", "train_tokens", "--by", "decoder_layers", "--replicates", "seed")
    good = [row for row in rows if row["r2"] >= 0.97 and row["a_replicates_lower"] > 0]
    assert len(good) >= 3
    assert all(row["replicates"] == 3 for row in rows)


def test_theorem_1_2_holds_in_the_recorded_run_at_the_largest_number_of_tokens(tmp_path: Path) -> None:
    options = ("--x", "decoder_layers", "--replicates", "seed")
    (row,) = fitted(RECORD, tmp_path, *options, where=f"{MAIN},last=yes")
    assert row["n"] == 6 and row["r2"] >= 0.95 and row["a_replicates_lower"] > 0


@pytest.mark.slow
def test_a_run_of_seconds_shows_the_law_of_tokens_and_that_depth_pays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scale ci without its last doubling, shallowest and deepest draft: what all of three seeds showed."""
    plan = plans.plan_of("ci", "tokens")
    (task,) = plan.tasks
    short = replace(task, grid=task.grid[:-1], training=replace(task.training, tokens=task.grid[-2]))
    monkeypatch.setattr(plans, "plan_of", lambda scale, axis: replace(plan, tasks=(short,)))
    assert cli.main(["train", "--axis", "tokens", "--scale", "ci", "--device", "cpu", "--out", str(tmp_path)]) == 0
    record = tmp_path / "smallscale.json"
    rows = fitted(record, tmp_path, "--x", "train_tokens", "--by", "decoder_layers")
    assert [row["decoder_layers"] for row in rows] == ["1", "8"]
    assert all(row["r2"] >= 0.95 and row["a"] > 0 for row in rows)
    last = {
        row["decoder_layers"]: row["tokens_per_cycle"]
        for row in record_file.read(record)["values"]
        if row["op"] == "acceptance" and row["domain"] == "all" and row["drafting"] == "chain"
        if row["temperature"] == 0 and row["train_tokens"] == short.grid[-1]
    }
    assert last[8] > last[1]
