"""Figure of kernels."""

from __future__ import annotations

from pathlib import Path

import pytest

from paper.figures.index import write
from paper.figures.kernels import binary
from paper.sources.results import Results
from scylla_sim.checks import InputError


def test_a_cell_that_is_no_number_names_its_column(own_results: Path) -> None:
    path = own_results / "predicted/l40s/gemm.csv"
    path.write_text(path.read_text().replace("0.00105", "fast", 1))
    with pytest.raises(InputError, match="predicted_s='fast' must be a finite number on line 2 of gemm.csv"):
        write(Results(own_results), own_results, ["kernels"])


def test_ticks_have_binary_prefixes() -> None:
    assert [binary(count) for count in (512, 2048, 3 * 2**20)] == ["512", "2Ki", "3Mi"]
