"""Theorem 1.3."""

from __future__ import annotations

from pathlib import Path

import pytest
from paper_results import only

from paper.tables.theorem_1_3 import quoted_optimum


def test_crossovers_at_the_edge_of_the_figure_have_no_error(finished_results: Path) -> None:
    rows = {row["batch_size"]: row for row in only(finished_results, "theorem-1.3").rows}
    assert rows[1]["quoted_error"] is None and rows[4]["paper_error"] is None
    assert rows[8]["paper_error"] == pytest.approx((470 / 8 + 7) / 66 - 1)
    assert quoted_optimum(64) == pytest.approx(14.4, abs=0.05)
