"""Columns and tables: rounding, alignment and required facts."""

from __future__ import annotations

import pytest
from paper_results import demo_table as table

from paper.render.table import Column
from scylla_sim.checks import InputError


def test_a_missing_number_is_a_dash_and_zero_has_no_sign() -> None:
    cells = table().cells()
    assert cells[1][1] == "\N{EN DASH}"
    assert cells[1][2] == "0.0"
    assert Column("x", "x", digits=1, signed=True).text(-0.01) == "0.0"


def test_numbers_are_aligned_right_and_text_left() -> None:
    assert table().alignment() == ["left", "right", "right"]


def test_a_table_needs_rows_evidence_and_the_columns_it_names() -> None:
    with pytest.raises(InputError, match="has no rows"):
        table(rows=[])
    with pytest.raises(InputError, match="level of evidence"):
        table(evidence="")
    with pytest.raises(InputError, match="column='other' is in no row"):
        table(columns=(Column("other", "other"),))
