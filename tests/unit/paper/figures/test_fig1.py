"""Figure 1."""

from __future__ import annotations

from pathlib import Path

import pytest

from paper.figures.index import write
from paper.sources.results import Results
from scylla_sim.checks import InputError


def test_a_law_without_predictions_says_how_to_make_them(own_results: Path) -> None:
    path = own_results / "laws/theorem-1.1.json"
    path.write_text(path.read_text().replace('"y(', '"z('))
    with pytest.raises(InputError, match="snakemake --force results/laws/theorem-1.1.json"):
        write(Results(own_results), own_results, ["fig1"])
