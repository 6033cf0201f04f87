"""Blind predictions: every measured row has one, and none can be edited."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import gpu_records
import pytest
from gpu_records import CASES, GPU, SLOWER

from gpu_validate import cli
from gpu_validate.comparison import errors, join
from gpu_validate.records import record_file
from scylla_sim import cli as simulator
from scylla_sim.checks import InputError
from scylla_sim.records import check_sums, format_csv, read_columns, write_text


def values(recorded: Path, suite: str) -> list[dict[str, Any]]:
    record = record_file.read(recorded / GPU / f"{suite}.json")
    return [row for row in record["values"] if row["pass"] == 1]


def scored(recorded: Path, exported: Path, suite: str, **options: Any) -> list[dict[str, Any]]:
    predicted = join.read(str(recorded / "blind" / GPU / f"{suite}.csv"))
    return errors.compare(predicted, join.read(str(exported / f"{suite}.csv")), **options)


@pytest.mark.parametrize("suite", ["kernels", "step"])
def test_every_kernel_and_step_has_its_blind_prediction(recorded: Path, exported: Path, suite: str) -> None:
    where = {"graph": "1"}
    every = scored(recorded, exported, suite, where=where)[-1]
    assert every["unmatched"] == 0 and every["n"] > 20
    assert every["bias"] == pytest.approx(1 / SLOWER - 1, abs=0.01)


@pytest.mark.parametrize("suite", ["specdecode", "decode"])
def test_every_cycle_has_its_blind_prediction(recorded: Path, exported: Path, suite: str) -> None:
    for row in scored(recorded, exported, suite, columns=["cycle_s", "speedup"], where={"graph": "1"}):
        assert row["unmatched"] == 0
        bias = 1 / SLOWER - 1 if row["quantity"] == "cycle_s" else 0.0
        assert row["bias"] == pytest.approx(bias, abs=0.015)
    assert row["quantity"] == "speedup" and row["coverage"] == 1.0


def test_a_part_that_was_not_measured_is_an_empty_cell_and_not_scored(recorded: Path, exported: Path) -> None:
    measured = read_columns(exported / "specdecode.csv")
    assert "" in measured["draft_s"] and "" not in measured["cycle_s"]
    draft, cycle = scored(recorded, exported, "specdecode", columns=["draft_s", "cycle_s"])
    assert draft["n"] == sum(cell != "" for cell in measured["draft_s"]) < cycle["n"]


def test_each_library_has_its_own_repeat(exported: Path, tmp_path: Path) -> None:
    """With the median over libraries the noise floor would be their difference."""
    measured = join.read(str(exported / "kernels.csv"))
    again = {name: list(cells) for name, cells in measured.cells.items()}
    slow = [source == "torch_flash_causal" for source in again["kernel_source"]]
    again["latency_ms"] = [str(float(ms) * (5 if bad else 1)) for ms, bad in zip(again["latency_ms"], slow)]
    lines = [dict(zip(again, cells)) for cells in zip(*again.values())]
    write_text(tmp_path / "again.csv", format_csv(lines))
    ratio = errors.repeat_ratio(measured, join.read(str(tmp_path / "again.csv")), "latency_ms")
    assert ratio == pytest.approx([5.0 if bad else 1.0 for bad in slow])


def test_the_choice_is_judged_among_the_rows_asked_for(recorded: Path, exported: Path) -> None:
    options = {"columns": ["speedup"], "best": "speedup"}
    graphed = scored(recorded, exported, "specdecode", where={"graph": "1.0"}, **options)[-1]
    assert graphed["situations"] == len(gpu_records.BATCHES) * len(gpu_records.CONTEXTS)
    assert scored(recorded, exported, "specdecode", **options)[-1]["situations"] == graphed["situations"] + 1
    with pytest.raises(InputError, match="no row with a prediction where graph=2"):
        scored(recorded, exported, "specdecode", where={"graph": "2"}, **options)
    with pytest.raises(InputError, match="where='grph' is not a column"):
        scored(recorded, exported, "specdecode", where={"grph": "1"}, **options)


def test_a_blind_prediction_that_was_edited_is_refused_in_one_line(
    recorded: Path, exported: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The planted mistake: a prediction is mended after the measurement."""
    shutil.copytree(recorded / "blind" / GPU, tmp_path / "blind")
    path = tmp_path / "blind" / "step.csv"
    check_sums(path)
    path.write_text(path.read_text().replace("0.00", "0.01", 1))
    options = ["--predicted", str(path), "--measured", str(exported / "step.csv")]
    assert cli.main(["compare", *options]) == 2
    said = capsys.readouterr().err
    assert "does not match its hash" in said and said.count("\n") == 1
    (tmp_path / "blind" / "more.csv").write_text("op\n")
    with pytest.raises(InputError, match="is not listed in"):
        check_sums(tmp_path / "blind" / "more.csv")


def test_blind_predictions_are_the_same_each_time_and_say_what_made_them(recorded: Path, tmp_path: Path) -> None:
    options = ["--shapes", str(recorded / "shapes"), "--out", str(tmp_path), "--hardware", f"{GPU},h200-sxm"]
    assert simulator.main(["blind", *options]) == 0
    for suite in CASES:
        first, second = (folder / GPU / f"{suite}.csv" for folder in (recorded / "blind", tmp_path))
        assert first.read_bytes() == second.read_bytes()
        other = read_columns(tmp_path / "h200-sxm" / f"{suite}.csv")
        assert set(other["device"]) == {"h200-sxm"}
        check_sums(tmp_path / "h200-sxm" / f"{suite}.csv")
    check_sums(tmp_path / GPU / "provenance.json")
    assert '"calibration"' in (tmp_path / GPU / "provenance.json").read_text()


def test_shapes_that_are_not_there_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert simulator.main(["blind", "--shapes", str(tmp_path), "--hardware", GPU, "--out", str(tmp_path)]) == 2
    assert "must be a folder with at least one of kernels.csv" in capsys.readouterr().err
