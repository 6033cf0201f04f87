"""Fig. 5 as a table."""

from __future__ import annotations

from pathlib import Path

import pytest
from paper_results import only

from paper.sources import published


def test_fig5_errors_compare_points_of_equal_batch_and_k(finished_results: Path) -> None:
    row = next(row for row in only(finished_results, "fig5").rows if row["batch_size"] == 8)
    reported = published.series("fig5_curves", "k", "tokens_per_s", batch_size=8.0)
    ours = {k: min(20.0 * 8, 470 / 4) * k / (k + 10) for k in (6, 8, 40, 80)}
    assert row["paper_error"] == pytest.approx(sum(abs(y / reported[k] - 1) for k, y in ours.items()) / 4)
