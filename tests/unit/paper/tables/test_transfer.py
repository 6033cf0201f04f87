"""Calibrations on other GPUs or on few rows."""

from __future__ import annotations

from pathlib import Path

import pytest
from endtoend_results import write_endtoend
from paper_results import put

from paper.sources.results import Results
from paper.tables import transfer
from scylla_sim.checks import InputError


@pytest.fixture
def results(tmp_path: Path) -> Results:
    write_endtoend(tmp_path, put)
    return Results(tmp_path)


def test_transfer_names_what_each_row_was_calibrated_on(results: Results) -> None:
    rows = transfer.transfer(results).rows
    assert [(row["device"], row["fit"], row["dtype"]) for row in rows] == [
        ("b200-sxm", "H100 and priors, datasheet peaks", "bf16"),
        ("b200-sxm", "H100 and priors, datasheet peaks", "fp8"),
        ("h100-sxm", "32 rows of its own", "bf16"),
        ("h100-sxm", "32 rows of its own", "fp8"),
    ]


def test_missing_comparisons_are_one_line(results: Results) -> None:
    for path in results.root.glob("compare/transfer-*"):
        path.unlink()
    with pytest.raises(InputError, match="transfer"):
        transfer.transfer(Results(results.root))
