"""Rows and words of fitted laws."""

from __future__ import annotations

from paper.tables.law_fits import coefficients


def test_coefficients_have_their_standard_error() -> None:
    row = {"a": 0.0645, "a_stderr": 0.0104, "r2": 0.9, "c": 5.142, "c_stderr": 0.0288}
    assert coefficients(row) == "a = 0.06450 ± 0.010, c = 5.142 ± 0.029"
