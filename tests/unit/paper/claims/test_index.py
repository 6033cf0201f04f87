"""All claims: a status follows from files, and without them nothing is claimed."""

from __future__ import annotations

from pathlib import Path

from paper.claims.index import CLAIMS, judged, write
from paper.claims.verdict import STATUSES
from paper.sources.results import Results


def test_without_any_result_nothing_is_reproduced(tmp_path: Path) -> None:
    rows = judged(Results(tmp_path))
    assert "reproduced" not in {row["status"] for row in rows}
    for claim, row in zip(CLAIMS, rows):
        if claim.needs:
            assert row["status"] == "not checked" and row["finding"].startswith("no ")


def test_a_status_with_evidence_names_level_and_file(finished_results: Path) -> None:
    for row in judged(Results(finished_results)):
        assert row["status"] in STATUSES
        if row["status"] != "not checked":
            assert row["evidence"] and row["file"]


def test_the_overview_states_each_finding_in_one_or_two_lines(finished_results: Path) -> None:
    for row in judged(Results(finished_results)):
        assert 0 < len(row["brief"]) <= 90, row["brief"]


def test_the_page_counts_its_statuses_and_states_every_rule(finished_results: Path, tmp_path: Path) -> None:
    paths = write(Results(finished_results), tmp_path)
    text = paths[0].read_text()
    rows = judged(Results(finished_results))
    counts = ", ".join(f"{sum(row['status'] == name for row in rows)} {name}" for name in STATUSES)
    assert f"{len(CLAIMS)} claims: {counts}" in text
    assert all(claim.rule in text for claim in CLAIMS)
    assert write(Results(finished_results), tmp_path / "again")[0].read_text() == text


def test_numbers_of_the_authors_never_reproduce_a_claim(finished_results: Path) -> None:
    rows = judged(Results(finished_results))
    assert [row["status"] for row in rows if "more tokens per cycle than EAGLE-" in row["claim"]] == [
        "partly",
        "not checked",
    ]
