"""Rules for form and coefficients of a law."""

from __future__ import annotations

from pathlib import Path

from paper_results import edit, status


def test_the_interval_decides_on_quoted_coefficients(own_results: Path) -> None:
    assert status(own_results, "slope 0.08") == "refit agrees"
    assert status(own_results, "slope 0.74") == "contradicted"
    path = own_results / "laws/theorem-1.2.json"
    edit(path, lambda row: row.update(a_lower=0.7, a_upper=0.8))
    assert status(own_results, "slope 0.74") == "partly"
    edit(path, lambda row: row.update(c_lower=4.6, c_upper=4.7))
    assert status(own_results, "slope 0.74") == "refit agrees"


def test_slope_r2_and_rivals_decide_on_the_form(own_results: Path) -> None:
    words = "linear in ln(pretraining tokens)"
    path = own_results / "laws/theorem-1.1.json"
    assert status(own_results, words) == "refit agrees"
    edit(path, lambda row: row.update(aicc=-35.0) if row["form"] == "linear" else None)
    assert status(own_results, words) == "partly"
    edit(path, lambda row: row.update(aicc=-20.0) if row["form"] == "linear" else None)
    edit(path, lambda row: row.update(r2=0.5) if row["form"] == "log-linear" else None)
    assert status(own_results, words) == "partly"
    edit(path, lambda row: row.update(a_lower=-0.1) if row["form"] == "log-linear" else None)
    assert status(own_results, words) == "contradicted"


def test_an_r2_that_differs_from_the_quoted_one_is_no_agreement(own_results: Path) -> None:
    path = own_results / "laws/theorem-1.2.json"
    edit(path, lambda row: row.update(a_lower=0.7, a_upper=0.8, c_lower=4.6, c_upper=4.7))
    assert status(own_results, "slope 0.74") == "refit agrees"
    edit(path, lambda row: row.update(r2=row["r2"] - 0.05))
    assert status(own_results, "slope 0.74") == "partly"
