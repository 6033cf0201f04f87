"""Laws on points of other papers."""

from __future__ import annotations

from pathlib import Path

import pytest
from paper_results import only

from paper.tables.elsewhere import verdict


def test_offsets_of_series_are_not_shown_as_parameters(finished_results: Path) -> None:
    (row,) = only(finished_results, "layers-elsewhere").rows
    assert "series" not in row["coefficients"] and row["coefficients"].startswith("a = 0.9")
    assert row["r2"] == 0.9


def test_each_series_has_a_trend(finished_results: Path) -> None:
    table = only(finished_results, "positions-by-series")
    assert [row["trend"] for row in table.rows] == ["falls", "rises", "cannot tell"]
    assert any("do not share one slope: one slope per series is better by 10 AICc" in note for note in table.notes)
    assert any("do not share one slope" in note for note in only(finished_results, "positions").notes)


@pytest.mark.parametrize(
    ("rows", "begins"),
    [
        ([("log-linear", 0.0, 0.1), ("linear", 9.0, 0.1)], "Log-linear is the best form"),
        (
            [("log-linear", 1.0, 0.1), ("linear", 0.0, 0.1)],
            "Log-linear holds, but the points cannot separate it from linear",
        ),
        ([("log-linear", 9.0, 0.1), ("linear", 0.0, 0.1)], "Log-linear does not hold: linear is better by 9"),
        ([("log-linear", 0.0, -0.1), ("linear", 0.5, 0.1)], "No trend"),
    ],
)
def test_the_verdict_on_a_law_follows_from_aicc_and_slope(
    rows: list[tuple[str, float, float]], begins: str
) -> None:
    given = [{"form": form, "delta_aicc": delta, "a_lower": low, "a_upper": 1.0} for form, delta, low in rows]
    assert verdict(given).startswith(begins)
