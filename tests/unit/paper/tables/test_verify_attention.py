"""Published attention kernels of several query tokens."""

from __future__ import annotations

import csv
from pathlib import Path

from checkout import ROOT
from paper_results import only

ROWS = list(csv.DictReader((ROOT / "paper/published/verify_attention.csv").open(encoding="utf-8")))


def test_errors_are_listed_by_kernel_with_the_width_of_the_interval(finished_results: Path) -> None:
    table = only(finished_results, "verify-attention")
    assert [(row["kernel_source"], row["role"], row["width"]) for row in table.rows] == [("fa2", "scored", 1.3)]
    assert "median upper / lower end" in [column.heading for column in table.columns]


def test_every_published_row_has_a_source_a_role_and_how_it_was_read() -> None:
    assert len(ROWS) == 44
    assert {row["role"] for row in ROWS} == {"fitted", "scored"}
    assert all(row["source"].startswith("https://") and row["how_read"] == "printed" for row in ROWS)
    assert sum(row["role"] == "fitted" for row in ROWS) == 2
