"""Merged rows: measured rows with their repeat and predictions."""

from __future__ import annotations

from pathlib import Path

import pytest
from gpu_records import CASES, GPU

from gpu_validate import cli
from gpu_validate.comparison import join, merge
from scylla_sim.records import format_csv, read_columns, write_text


def test_merged_rows_hold_each_prediction_and_the_repeat(recorded: Path, exported: Path) -> None:
    measured = join.read(str(exported / "step.csv"))
    blind = join.read(str(recorded / "blind" / GPU / "step.csv"))
    half = join.CsvTable(blind.files, {name: cells[::2] for name, cells in blind.cells.items()})
    again = join.read(str(exported / "step-again.csv"))
    found = merge.merge(measured, {"blind": blind, "half": half}, again)
    assert found["blind_predicted_s"] == blind.cells["predicted_s"]
    assert found["half_predicted_s"].count("") == measured.size // 2
    assert found["again_latency_ms"] == again.cells["latency_ms"]
    assert {name: found[name] for name in measured.cells} == measured.cells


def test_merged_cycles_hold_the_energy_of_the_repeat(exported: Path) -> None:
    measured, again = (join.read(str(exported / f"specdecode{part}.csv")) for part in ("", "-again"))
    found = merge.merge(measured, {}, again)
    for name in ("energy_j", "plain_energy_j"):
        assert found[f"again_{name}"] == again.cells[name] != measured.cells[name]


def test_merge_names_the_columns_that_a_prediction_lacks(
    recorded: Path, exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cells = join.read(str(recorded / "blind" / GPU / "step.csv")).cells
    kept = {name: column for name, column in cells.items() if name not in ("lower_s", "upper_s")}
    write_text(tmp_path / "step.csv", format_csv([dict(zip(kept, line)) for line in zip(*kept.values())]))
    options = ["--measured", str(exported / "step.csv"), "--out", str(tmp_path / "out.csv")]
    assert cli.main(["merge", *options, "--predicted", f"blind={tmp_path / 'step.csv'}"]) == 0
    assert "has no column lower_s, upper_s; the output lacks it too" in capsys.readouterr().err
    assert "blind_predicted_s" in read_columns(tmp_path / "out.csv")
    assert cli.main(["merge", *options, "--predicted", f"blind={recorded / 'blind' / GPU / 'step.csv'}"]) == 0
    assert "no column" not in capsys.readouterr().err


@pytest.mark.parametrize("suite", CASES)
def test_complete_predictions_lack_no_column(recorded: Path, suite: str) -> None:
    assert merge.missing_columns(join.read(str(recorded / "blind" / GPU / f"{suite}.csv"))) == []
