"""Rows of records: columns, parts, passes and devices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from gpu_records import CASES, GPU, shape_rows

from gpu_validate import cli
from gpu_validate.records import record_file, rows
from scylla_sim.checks import InputError
from scylla_sim.records import read_columns


def values(recorded: Path, suite: str) -> list[dict[str, Any]]:
    record = record_file.read(recorded / GPU / f"{suite}.json")
    return [row for row in record["values"] if row["pass"] == 1]


@pytest.mark.parametrize("suite", CASES)
def test_a_dry_run_gives_the_rows_of_the_record_without_what_was_measured(exported: Path, suite: str) -> None:
    measured = read_columns(exported / f"{suite}.csv")
    shapes = shape_rows(suite)
    assert len(shapes) == len(measured["op"])
    assert set(measured) - rows.MEASURED == set().union(*shapes)
    for name in shapes[0]:
        assert [str(row.get(name, "")) for row in shapes] == measured[name]


def test_eager_cycles_never_reach_a_graphed_one(recorded: Path) -> None:
    both = values(recorded, "specdecode")
    graphed = [row for row in both if row["graph"]]
    assert len(both) > len(graphed)
    assert [row for row in rows.cycle_rows(both) if row["graph"]] == rows.cycle_rows(graphed)
    (eager,) = (row for row in rows.cycle_rows(both) if not row["graph"])
    twin = next(row for row in rows.cycle_rows(graphed) if row["draft_len"] == 3 and row["batch_size"] == 1)
    assert eager["plain_step_s"] > twin["plain_step_s"] and eager["cycle_s"] > twin["cycle_s"]


def test_mixing_eager_and_graphed_rows_is_noticed(recorded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted mistake: plain steps are looked up without asking how they were launched."""
    monkeypatch.setattr(rows, "_SITUATION", ("model", "batch", "context"))
    with pytest.raises(AssertionError):
        test_eager_cycles_never_reach_a_graphed_one(recorded)


def test_streams_are_elementwise_and_eager_launches_are_dropped(exported: Path) -> None:
    columns = read_columns(exported / "kernels.csv")
    moves = [source for op, source in zip(columns["op"], columns["kernel_source"]) if op == "elementwise"]
    assert sorted(set(moves)) == ["torch_add", "torch_copy", "torch_dynamic_scale", "torch_read"]
    assert moves.count("torch_add") == 1
    assert not {"launch", "copy", "read", "quantise"} & set(columns["op"])


def test_only_the_decoders_kernels_are_calibrated(recorded: Path) -> None:
    record = record_file.read(recorded / GPU / "kernels.json")
    found = rows.export(record, "train", sources=["torch_linear", "triton_split_kv"])
    assert {row["kernel_source"] for row in found if row["op"] == "decode_attention"} == {"triton_split_kv"}
    assert "quantise" not in {row["op"] for row in found} and "fp8" not in {row["dtype"] for row in found}
    assert {row["kernel_source"] for row in found if row["op"] == "elementwise"} >= {"torch_add", "torch_copy"}
    with pytest.raises(InputError, match="holds no row of kernels cutlass"):
        rows.export(record, "test", sources=["cutlass"])


def test_a_suite_without_a_second_pass_has_a_repeat_without_rows(recorded: Path, exported: Path) -> None:
    again = exported / "decode-again.csv"
    assert read_columns(again).keys() == read_columns(exported / "decode.csv").keys()
    assert read_columns(again)["op"] == []
    files = [recorded / "blind" / GPU / "decode.csv", exported / "decode.csv", again, exported / "scored.json"]
    names = ("--predicted", "--measured", "--repeat", "--out")
    options = [text for pair in zip(names, map(str, files)) for text in pair]
    assert cli.main(["compare", *options, "--columns", "speedup"]) == 0


@pytest.mark.parametrize(("name", "warned"), [("h200-sxm", True), (GPU, False), ("local", False)])
def test_rows_warn_of_the_name_of_another_device(
    recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, warned: bool
) -> None:
    options = ["--record", str(recorded / GPU / "step.json"), "--device", name, "--out", str(tmp_path / "step.csv")]
    assert cli.main(["rows", *options]) == 0
    assert (f"device='h200-sxm' names the rows, but {GPU} measured the record" in capsys.readouterr().err) == warned
    assert set(read_columns(tmp_path / "step.csv")["device"]) == {name}
