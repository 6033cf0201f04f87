"""Summary of a run."""

from __future__ import annotations

from pathlib import Path

from paper.sources.results import Results
from paper.summary import lines


def test_the_summary_fits_ten_lines(finished_results: Path) -> None:
    text = lines(Results(finished_results))
    assert len(text) <= 10
    assert any("h100-sxm 5.0 %" in line and "roofline baseline 40 %" in line for line in text)
    assert any("Test CPU" in line for line in text)
