"""Hardware description of a measured device."""

from __future__ import annotations

from pathlib import Path

import pytest
from gemm_results import DEVICE, RESULTS, result

from gpu_validate.device.hardware_toml import hardware_toml
from gpu_validate.records import record_file
from scylla_sim.specs import catalog


def test_the_hardware_description_is_read_by_the_catalog_and_holds_the_best_rates(tmp_path: Path) -> None:
    value = record_file.build("kernels", [*RESULTS, result(64, 4096, 512, seconds=2e-3)], DEVICE)
    path = tmp_path / "hardware.toml"
    path.write_text(hardware_toml(value))
    local = catalog.hardware(str(path))
    assert local.name == "local"
    assert local.peak("fp32") == pytest.approx(2 * 64 * 4096 * 512 / 2e-3, rel=1e-5)
    assert local.memory_bytes_per_s == pytest.approx(4 * 4096 * 512 / 1e-3, rel=1e-5)
    assert local.memory_bytes == pytest.approx(DEVICE.memory_bytes, rel=1e-5)


def test_peaks_of_two_precisions_are_told_apart() -> None:
    row, summary = result(64, 4096, 512, seconds=1e-4)
    value = record_file.build("kernels", [*RESULTS, ({**row, "case": "x", "dtype": "bfloat16"}, summary)], DEVICE)
    local = hardware_toml(value)
    best = max(row["flop_per_s"] for row, _ in RESULTS) / 1e9
    assert f"peak_fp32 = {{ value = {best:.6g}" in local
    assert f"peak_bf16 = {{ value = {row['flop_per_s'] / 1e9:.6g}" in local
