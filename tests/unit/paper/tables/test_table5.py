"""Table 5 and its ablation."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from paper_results import only

from scylla_sim.checks import InputError


def test_table5_errors_are_predicted_over_reported(finished_results: Path) -> None:
    rows = {row["batch_size"]: row for row in only(finished_results, "table5").rows}
    assert rows[1]["plain_error"] == pytest.approx(90 / 60 - 1)
    assert rows[64]["eagle2_error"] == pytest.approx((50 + 20 * 64) / 980 - 1)
    assert rows[8]["scylla_range"] == f"{370 * 4.0 / 4.5:.0f} to {370 * 5.0 / 4.5:.0f}"


def test_table5_states_its_assumptions_and_what_does_not_fit(finished_results: Path) -> None:
    notes = " ".join(only(finished_results, "table5").notes)
    for words in (
        "all 27 cells",
        "10240 tokens",
        "61 tokens verified",
        "4.5 (at batch 1: 4.00 to 5.00)",
        "batch 64",
    ):
        assert words in notes


def test_a_missing_batch_is_not_half_a_table(own_results: Path) -> None:
    path = own_results / "steps/table5-scylla.json"
    content = json.loads(path.read_text())
    content["rows"] = [row for row in content["rows"] if row["batch_size"] != 40]
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match="batch_size=40 has no row in steps/table5-scylla.json"):
        only(own_results, "table5")


def test_the_ablation_separates_acceptance_and_tree(finished_results: Path) -> None:
    row = only(finished_results, "table5-ablation").rows[-1]
    assert row["acceptance_gain"] == pytest.approx((50 + 25 * 64) / (50 + 20 * 64))
    assert row["tree_gain"] == pytest.approx((50 + 30 * 64) / (50 + 20 * 64))
