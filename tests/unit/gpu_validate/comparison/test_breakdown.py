"""Parts of steps: GEMMs, attention and the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import gpu_records
import pytest
from gpu_records import GPU, SLOWER

from gpu_validate import cli
from gpu_validate.comparison import breakdown, join, merge
from gpu_validate.records import record_file
from scylla_sim.records import format_csv, write_text


def values(recorded: Path, suite: str) -> list[dict[str, Any]]:
    record = record_file.read(recorded / GPU / f"{suite}.json")
    return [row for row in record["values"] if row["pass"] == 1]


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


def test_other_libraries_and_dtypes_are_not_part_of_a_step(recorded: Path, exported: Path) -> None:
    steps, kernels = (merged(recorded, exported, suite) for suite in ("step", "kernels"))

    def without(columns: join.CsvTable, name: str, value: str) -> join.CsvTable:
        cells = [value] * columns.size
        return join.CsvTable(columns.files, {**columns.cells, name: cells})

    assert breakdown.breakdown(without(steps, "dtype", "fp8"), kernels) == []
    assert breakdown.breakdown(steps, without(kernels, "kernel_source", "torch_linear")) == []
    assert breakdown.breakdown(without(steps, "graph", "0"), kernels) == []


def test_clocks_of_gemms_are_weighted_by_their_time(recorded: Path, exported: Path) -> None:
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
