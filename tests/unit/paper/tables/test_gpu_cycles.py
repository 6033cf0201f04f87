"""Cycles and generations of measured GPUs."""

from __future__ import annotations

from pathlib import Path

import pytest
from paper_results import only


def test_cycles_are_those_in_a_graph_with_signed_errors(finished_results: Path) -> None:
    rows = only(finished_results, "gpu-cycles").rows
    assert len(rows) == 6
    assert rows[0]["blind_error"] == pytest.approx(0.02) and rows[0]["calibrated_error"] == pytest.approx(0.01)
    assert [row["blind_inside"] for row in rows] == [True] * 4 + [False, True]
    assert rows[0]["blind_interval"] == "1.19 to 1.46"


def test_generations_are_compared_by_wall_clock_time(finished_results: Path) -> None:
    (row,) = only(finished_results, "gpu-decode").rows
    assert (row["context"], row["new_tokens"], row["tokens_per_s"], row["seen"]) == (512, 256, 150, 2.01)
    assert row["blind_tokens_per_s"] == pytest.approx(153)
