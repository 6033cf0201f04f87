"""Trees from acceptance rates."""

from __future__ import annotations

from pathlib import Path

import pytest
from paper_results import only


def test_trees_are_predicted_from_the_published_rates(finished_results: Path) -> None:
    rows = only(finished_results, "trees-from-rates").rows
    assert [row["dynamic_error"] for row in rows] == [pytest.approx(4.2 / 4.05 - 1), pytest.approx(4.2 / 6.13 - 1)]
    assert rows[0]["chain"] == pytest.approx(2.735, abs=1e-3)
