"""Theorem 1.1."""

from __future__ import annotations

from pathlib import Path

from paper_results import only


def test_quoted_coefficients_are_inside_the_interval_with_the_zero_point(finished_results: Path) -> None:
    notes = only(finished_results, "theorem-1.1").notes
    assert any("0.08 lies inside" in note and "log1p" in note for note in notes)


def test_forms_that_did_not_converge_are_left_out(finished_results: Path) -> None:
    laws = [row["law"] for row in only(finished_results, "theorem-1.1").rows]
    assert not any("logistic" in law for law in laws)
    assert laws[0].startswith("quoted")
