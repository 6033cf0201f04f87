"""Measurements with trained drafts."""

from __future__ import annotations

from pathlib import Path

import pytest

from paper.sources.results import Results
from paper.tables import small_scale_measured


def test_the_learning_rate_is_that_of_the_highest_mean(finished_results: Path) -> None:
    table = small_scale_measured.rates(Results(finished_results))
    assert table.rows[-1]["rate 0.02"] == pytest.approx(2.02)
    assert "highest mean (rate 0.02)" in table.notes[0]
