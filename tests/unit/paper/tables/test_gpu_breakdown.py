"""Parts of a step on measured GPUs."""

from __future__ import annotations

from pathlib import Path

import pytest
from paper_results import only


def test_parts_of_a_step_add_up_and_have_errors(finished_results: Path) -> None:
    table = only(finished_results, "gpu-breakdown")
    assert [(row["context"], row["batch"], row["tokens"]) for row in table.rows] == [
        *((512, 1, 1), (512, 1, 4)),
        *((512, 64, 8), (2048, 1, 4)),
    ]
    for row in table.rows:
        assert row["gemm_s"] + row["attention_s"] + row["rest_s"] == pytest.approx(row["step_s"])
    said = " ".join(table.notes)
    parts = "GEMMs 0 % (0.0 % of the step), attention 67 % (+10.0 % of the step), rest 33 % (-5.0 % of the step)"
    assert f"blind, 3 steps at 1881 MHz or more: median share of the error (median error): {parts}" in said
    assert f"blind, 1 steps at lower clocks: median share of the error (median error): {parts}" in said
    assert "calibrated, 3 steps at 1881 MHz or more: median share of the error (median error): GEMMs 0 %" in said
