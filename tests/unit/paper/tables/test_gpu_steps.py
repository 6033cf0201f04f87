"""Steps of measured GPUs."""

from __future__ import annotations

from pathlib import Path

import pytest
from paper_results import only


def test_kernels_and_steps_show_both_predictions(finished_results: Path) -> None:
    kernels = {row["kernel_source"]: row for row in only(finished_results, "gpu-kernels").rows}
    assert kernels["triton_split_kv"]["blind_median_ape"] == 0.05 and kernels["torch_linear"]["op"] == "GEMM"
    steps = only(finished_results, "gpu-steps").rows
    assert [(row["role"], row["batch"], row["measured"]) for row in steps] == [
        ("plain", 1, "6.00"),
        ("plain", 64, "9.00"),
        ("verify", 1, "6.30"),
        ("verify", 64, "15.00"),
        ("draft", 1, "1.50"),
        ("prefill", 1, "10.00 to 40.00"),
    ]


def test_eager_and_graphed_times_are_compared(finished_results: Path) -> None:
    rows = {row["what"]: row for row in only(finished_results, "gpu-host").rows}
    assert rows["cycle, drafting 3"]["ratio"] == pytest.approx(1.6 / 1.25)
    assert rows["cycle, drafting 3"]["eager_speedup"] == 1.25
    assert rows["plain step, 1 tokens"]["eager_s"] == pytest.approx(0.01)
