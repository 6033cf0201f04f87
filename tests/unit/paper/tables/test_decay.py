"""Position decay."""

from __future__ import annotations

from pathlib import Path

import pytest
from paper_results import only


def test_decay_errors_are_means_of_absolute_errors_per_collection(finished_results: Path) -> None:
    rows = only(finished_results, "decay").rows
    assert [(row["series"], row["known"]) for row in rows] == [(2, "3"), (2, "1, 3")] * 3
    assert rows[0]["iid_error"] == pytest.approx(0.6) and rows[0]["error"] == pytest.approx(0.06)
    assert all(row["n"] == 4 and row["inside"] == 1.0 for row in rows)


def test_every_prediction_from_all_known_lengths_is_listed(finished_results: Path) -> None:
    rows = only(finished_results, "decay-pairs").rows
    assert [(row["series"], row["known"], row["draft_len"]) for row in rows] == [
        ("a", "1, 3", 5),
        ("a", "1, 3", 7),
        ("b", "1, 3", 5),
        ("b", "1, 3", 7),
    ] * 3
    assert rows[0]["interval"] == "2.50 to 3.30"


def test_errors_by_source_stand_under_those_of_the_method(finished_results: Path) -> None:
    rows = only(finished_results, "decay-sources").rows
    assert [(row["origin"], row["n"]) for row in rows] == [("all sources", 4), ("source-a", 2), ("source-b", 2)]
    assert all(row["error"] == pytest.approx(0.06) and row["pooled_error"] == pytest.approx(0.2) for row in rows)
