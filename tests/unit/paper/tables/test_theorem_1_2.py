"""Theorem 1.2."""

from __future__ import annotations

from pathlib import Path

from paper_results import only


def test_the_quoted_law_does_not_describe_fig1(finished_results: Path) -> None:
    table = only(finished_results, "theorem-1.2")
    assert table.rows[0]["r2"] < 0
    notes = " ".join(table.notes)
    assert "0.74 lies outside" in notes and "4.61 lies outside" in notes and "up to 0.48" in notes
