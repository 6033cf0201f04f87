"""From records of a GPU to scored predictions, on a GPU that does not exist; mistakes that must be noticed."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import gpu_records
import pytest
from gpu_records import CASES, GPU, SLOWER, shape_rows, write_records

from gpu_validate import cli
from gpu_validate.comparison import breakdown, errors, join, merge
from gpu_validate.records import record_file, rows
from scylla_sim import cli as simulator
from scylla_sim.checks import InputError
from scylla_sim.records import check_sums, format_csv, read_columns, write_text


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Blind predictions and records as they are committed; tests only read them."""
    folder = tmp_path_factory.mktemp("recorded")
    write_records(folder)
    return folder


@pytest.fixture(scope="module")
def exported(recorded: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows of every suite with their repeats."""
    folder = tmp_path_factory.mktemp("rows")
    for suite in CASES:
        record, out = recorded / GPU / f"{suite}.json", folder / f"{suite}.csv"
        options = ["--record", str(record), "--repeat", str(folder / f"{suite}-again.csv"), "--out", str(out)]
        assert cli.main(["rows", *options]) == 0
    return folder


def values(recorded: Path, suite: str) -> list[dict[str, Any]]:
    record = record_file.read(recorded / GPU / f"{suite}.json")
    return [row for row in record["values"] if row["pass"] == 1]


def scored(recorded: Path, exported: Path, suite: str, **options: Any) -> list[dict[str, Any]]:
    predicted = join.read(str(recorded / "blind" / GPU / f"{suite}.csv"))
    return errors.compare(predicted, join.read(str(exported / f"{suite}.csv")), **options)


@pytest.mark.parametrize("suite", CASES)
def test_a_dry_run_gives_the_rows_of_the_record_without_what_was_measured(exported: Path, suite: str) -> None:
    measured = read_columns(exported / f"{suite}.csv")
    shapes = shape_rows(suite)
    assert len(shapes) == len(measured["op"])
    assert set(measured) - rows.MEASURED == set().union(*shapes)
    for name in shapes[0]:
        assert [str(row.get(name, "")) for row in shapes] == measured[name]


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


def test_a_part_that_was_not_measured_is_an_empty_cell_and_not_scored(recorded: Path, exported: Path) -> None:
    measured = read_columns(exported / "specdecode.csv")
    assert "" in measured["draft_s"] and "" not in measured["cycle_s"]
    draft, cycle = scored(recorded, exported, "specdecode", columns=["draft_s", "cycle_s"])
    assert draft["n"] == sum(cell != "" for cell in measured["draft_s"]) < cycle["n"]


def test_what_only_moves_bytes_is_elementwise_and_an_eager_launch_is_left_out(exported: Path) -> None:
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


def test_a_suite_without_a_second_pass_has_a_repeat_without_rows(recorded: Path, exported: Path) -> None:
    again = exported / "decode-again.csv"
    assert read_columns(again).keys() == read_columns(exported / "decode.csv").keys()
    assert read_columns(again)["op"] == []
    files = [recorded / "blind" / GPU / "decode.csv", exported / "decode.csv", again, exported / "scored.json"]
    names = ("--predicted", "--measured", "--repeat", "--out")
    options = [text for pair in zip(names, map(str, files)) for text in pair]
    assert cli.main(["compare", *options, "--columns", "speedup"]) == 0


def test_the_choice_is_judged_among_the_rows_asked_for(recorded: Path, exported: Path) -> None:
    options = {"columns": ["speedup"], "best": "speedup"}
    graphed = scored(recorded, exported, "specdecode", where={"graph": "1.0"}, **options)[-1]
    assert graphed["situations"] == len(gpu_records.BATCHES) * len(gpu_records.CONTEXTS)
    assert scored(recorded, exported, "specdecode", **options)[-1]["situations"] == graphed["situations"] + 1
    with pytest.raises(InputError, match="no row with a prediction where graph=2"):
        scored(recorded, exported, "specdecode", where={"graph": "2"}, **options)
    with pytest.raises(InputError, match="where='grph' is not a column"):
        scored(recorded, exported, "specdecode", where={"grph": "1"}, **options)


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


@pytest.mark.parametrize(("name", "warned"), [("h200-sxm", True), (GPU, False), ("local", False)])
def test_rows_warn_of_the_name_of_another_device(
    recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, warned: bool
) -> None:
    options = ["--record", str(recorded / GPU / "step.json"), "--device", name, "--out", str(tmp_path / "step.csv")]
    assert cli.main(["rows", *options]) == 0
    assert (f"device='h200-sxm' names the rows, but {GPU} measured the record" in capsys.readouterr().err) == warned
    assert set(read_columns(tmp_path / "step.csv")["device"]) == {name}


def merged(recorded: Path, exported: Path, suite: str) -> join.CsvTable:
    measured = join.read(str(exported / f"{suite}.csv"))
    blind = join.read(str(recorded / "blind" / GPU / f"{suite}.csv"))
    return join.CsvTable(measured.files, merge.merge(measured, {"blind": blind}))


def test_parts_of_a_step_are_the_kernels_of_its_shape(recorded: Path, exported: Path) -> None:
    """Recomputed from the records by the shapes of Llama-3.1-8B: 32 layers of four products, and the head."""
    found = breakdown.breakdown(merged(recorded, exported, "step"), merged(recorded, exported, "kernels"))
    # both suites hold these batches times tokens, contexts and widths
    assert [(row["batch"], row["context"], row["tokens"]) for row in found] == [
        *(("1", "512", "1"), ("1", "512", "4"), ("1", "2048", "1"), ("1", "2048", "4")),
    ]
    kernels = values(recorded, "kernels")
    gemm = {(k["m"], k["n"], k["k"]): k["latency_ms"] for k in kernels if k["kernel_source"] == "torch_linear"}
    attend = {
        (k["batch"], k["kv_len"], k["q_len"]): k["latency_ms"]
        for k in kernels
        if k["kernel_source"] == "triton_split_kv"
    }
    layer = ((6144, 4096), (4096, 4096), (28672, 4096), (4096, 14336))
    row = found[1]
    products_ms = 32 * sum(gemm[4, n, k] for n, k in layer) + gemm[4, 128256, 4096]
    assert row["gemm_s"] == pytest.approx(1e-3 * products_ms)
    assert row["attention_s"] == pytest.approx(32e-3 * attend[1, 512, 4])
    for name in ("", "blind_"):
        parts = sum(row[f"{name}{part}_s"] for part in ("gemm", "attention", "rest"))
        assert parts == pytest.approx(row[f"{name}step_s"])
    assert row["blind_gemm_s"] == pytest.approx(row["gemm_s"] / SLOWER, rel=gpu_records.NOISE)
    assert "calibrated_step_s" not in row


def test_another_library_or_dtype_is_no_part_of_a_step(recorded: Path, exported: Path) -> None:
    steps, kernels = (merged(recorded, exported, suite) for suite in ("step", "kernels"))

    def without(columns: join.CsvTable, name: str, value: str) -> join.CsvTable:
        cells = [value] * columns.size
        return join.CsvTable(columns.files, {**columns.cells, name: cells})

    assert breakdown.breakdown(without(steps, "dtype", "fp8"), kernels) == []
    assert breakdown.breakdown(steps, without(kernels, "kernel_source", "torch_linear")) == []
    assert breakdown.breakdown(without(steps, "graph", "0"), kernels) == []


def test_clocks_of_products_are_weighted_by_their_time(recorded: Path, exported: Path) -> None:
    steps, kernels = (merged(recorded, exported, suite) for suite in ("step", "kernels"))
    clocks = ["1000" if n == "128256" else "2000" for n in kernels.cells["n"]]
    found = breakdown.breakdown(steps, join.CsvTable(kernels.files, {**kernels.cells, "sm_mhz": clocks}))
    gemm = {(k["m"], k["n"]): k["latency_ms"] for k in values(recorded, "kernels") if k["op"] == "gemm"}
    head = 1e-3 * gemm[1, 128256] / found[0]["gemm_s"]
    assert found[0]["gemm_sm_mhz"] == pytest.approx(1000 * head + 2000 * (1 - head))


def test_steps_without_measured_kernels_leave_a_file_of_one_line(
    recorded: Path, exported: Path, tmp_path: Path
) -> None:
    files = {}
    for suite in ("step", "kernels"):
        columns = merged(recorded, exported, suite)
        files[suite] = tmp_path / f"{suite}.csv"
        cells = {**columns.cells, "dtype": ["float16"] * columns.size} if suite == "step" else columns.cells
        write_text(files[suite], format_csv([dict(zip(cells, line)) for line in zip(*cells.values())]))
    out = tmp_path / "parts.csv"
    options = ["--kernels", str(files["kernels"]), "--steps", str(files["step"]), "--out", str(out)]
    assert cli.main(["breakdown", *options]) == 0
    assert out.read_text() == ",".join(breakdown.COLUMNS) + "\n"


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
    assert "holds none of the files" in capsys.readouterr().err
