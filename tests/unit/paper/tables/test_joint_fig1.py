"""Joint laws on Fig. 1."""

from __future__ import annotations

from pathlib import Path

from paper_results import only


def test_fig1_does_not_say_how_tokens_and_layers_combine(finished_results: Path) -> None:
    table = only(finished_results, "joint-fig1")
    notes = " ".join(table.notes)
    assert "0 of 11 drafts have several layers and pretraining" in notes
    assert "cannot separate sum, rate-sum (within" in notes
    parameters = {row["form"]: row["parameters"] for row in table.rows}
    assert parameters["interaction"] == "c 5.3, a 0, b not determined"
