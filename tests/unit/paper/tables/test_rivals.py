"""Theorems 1.1 and 1.2 compared with SDSL."""

from __future__ import annotations

from pathlib import Path

import pytest
from paper_results import law, log_law, only, put


def test_the_rival_is_compared_with_the_logarithm(finished_results: Path, own_results: Path) -> None:
    table = only(finished_results, "rival-law")
    assert sum("SDSL is better than the logarithm by 5 AICc" in note for note in table.notes) == 7
    for score, verdict in ((-33.5, "cannot separate the logarithm from SDSL"), (None, "too few points to decide")):
        rows = [law("sdsl", "a P + c", 8, a=-0.03, c=5.6, aicc=-33.0), log_law(8, 0.08, 5.07, (), aicc=score)]
        put(own_results, "laws/rival-tokens.json", rows)
        assert any(verdict in note for note in only(own_results, "rival-law").notes)


def test_pretraining_beyond_fig_1_is_compared_with_every_law(finished_results: Path) -> None:
    rows = {row["law"].partition(":")[0]: row for row in only(finished_results, "pretraining-elsewhere").rows}
    assert [rows[name]["verdict"] for name in ("sdsl", "log1p", "saturating-exponential")] == [
        "contains it",
        "is above it",
        "is below it",
    ]
    assert rows["sdsl"]["measured"] == pytest.approx(0.03) and rows["log1p"]["gain"] == pytest.approx(0.14)
