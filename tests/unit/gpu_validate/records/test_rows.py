"""Rows of records: columns, parts, passes and devices."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from gemm_results import DEVICE, RESULTS
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


def test_train_and_test_share_no_weight_matrix_and_lose_no_row() -> None:
    value = record_file.build("kernels", RESULTS, DEVICE, scale="ci")
    train, test = rows.export(value, "train"), rows.export(value, "test")
    pairs = [{(row["n"], row["k"]) for row in part} for part in (train, test)]
    assert pairs[0] and pairs[1] and not pairs[0] & pairs[1]
    assert len(train) + len(test) == len(rows.export(value, "all")) == len(RESULTS)
    assert all(row["evidence"] == "live" for row in train)
    renamed = rows.export(value, "all", device="mine", evidence="recorded")
    assert {(row["device"], row["evidence"]) for row in renamed} == {("mine", "recorded")}


def test_copies_calibrate_elementwise_kernels_and_are_never_scored() -> None:
    copy = {**RESULTS[0][0], "case": "copy-64MiB", "op": "copy", "bytes": 1.34e8}
    value = record_file.build("kernels", [*RESULTS, (copy, RESULTS[0][1])], DEVICE)
    train = rows.export(value, "train")
    assert [row["bytes"] for row in train if row["op"] == "elementwise"] == [1.34e8]
    assert all(row["op"] == "gemm" for row in rows.export(value, "test"))


def again(row: dict[str, Any], summary: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    return {**row, "case": f"{row['case']}@2", "pass": 2, "latency_ms": 1.1 * row["latency_ms"]}, summary


def test_the_second_pass_is_exported_by_its_number_and_one_that_was_not_measured_is_refused() -> None:
    value = record_file.build("kernels", [*RESULTS, *(again(*result) for result in RESULTS[:4])], DEVICE)
    first, second = (rows.export(value, "all", number=number) for number in (1, 2))
    assert (len(first), len(second)) == (len(RESULTS), 4)
    assert [row["latency_ms"] for row in second] == [1.1 * row["latency_ms"] for row in first[:4]]
    assert "pass" not in first[0]
    with pytest.raises(InputError, match=r"pass=3 was not measured by suite kernels; passes: \[1, 2\]"):
        rows.export(value, "all", number=3)


def test_the_split_does_not_depend_on_the_order_of_rows() -> None:
    values = [row for row, _ in RESULTS]
    assert rows.held_out_keys(values) == rows.held_out_keys(values[::-1])


def attention(batch: int, kv_len: int) -> dict[str, Any]:
    heads = {"num_heads": 32, "num_kv_heads": 8, "head_dim": 128}
    return {"op": "decode_attention", "batch": batch, "kv_len": kv_len, **heads}


def test_attention_is_split_within_each_batch() -> None:
    """Shapes of the first campaign: hashes alone held out every shape of 64 sequences."""
    sizes = {1: (512, 2048, 8192, 32768), 8: (512, 2048, 8192, 32768), 64: (512, 2048, 8192)}
    shapes = [attention(batch, kv_len) for batch, some in sizes.items() for kv_len in some]
    held_out = rows.held_out_keys(shapes)
    test = [shape for shape in shapes if rows.shape_key(shape) in held_out]
    assert sorted(shape["batch"] for shape in test) == [1, 8, 64]


def test_strata_of_one_shape_are_fitted_but_for_one_of_the_operation() -> None:
    shapes = [attention(batch, 512) for batch in (1, 8, 64)]
    assert len(rows.held_out_keys(shapes)) == 1
    assert rows.held_out_keys([]) == set()
