"""Statuses follow from files by rule: change the file, and the status changes; without it nothing is claimed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from paper.claims.index import CLAIMS, judged, write
from paper.claims.rules import STATUSES, Verdict
from paper.sources.results import Results
from paper.summary import lines
from scylla_sim.checks import InputError


def status(folder: Path, words: str) -> str:
    rows = [row for row in judged(Results(folder)) if words in f"{row['where']} {row['claim']}"]
    assert len(rows) == 1, words
    return str(rows[0]["status"])


def edit(path: Path, change: Callable[[dict[str, Any]], None]) -> None:
    content = json.loads(path.read_text())
    for row in content["rows"]:
        change(row)
    path.write_text(json.dumps(content))


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


def test_a_verdict_without_evidence_cannot_be_made() -> None:
    with pytest.raises(InputError, match="needs evidence"):
        Verdict("reproduced", "because")
    with pytest.raises(InputError, match="known: reproduced"):
        Verdict("confirmed", "because", "theory", ("x.json",))


def test_quoted_coefficients_inside_the_interval_are_reproduced_and_outside_contradicted(own_results: Path) -> None:
    assert status(own_results, "slope 0.08") == "reproduced"
    assert status(own_results, "slope 0.74") == "contradicted"
    path = own_results / "laws/theorem-1.2.json"
    edit(path, lambda row: row.update(a_lower=0.7, a_upper=0.8))
    assert status(own_results, "slope 0.74") == "partly"
    edit(path, lambda row: row.update(c_lower=4.6, c_upper=4.7))
    assert status(own_results, "slope 0.74") == "reproduced"


def test_a_form_falls_with_its_slope_its_r2_and_a_better_rival(own_results: Path) -> None:
    words = "linear in ln(pretraining tokens)"
    path = own_results / "laws/theorem-1.1.json"
    assert status(own_results, words) == "reproduced"
    edit(path, lambda row: row.update(aicc=-35.0) if row["form"] == "linear" else None)
    assert status(own_results, words) == "partly"
    edit(path, lambda row: row.update(aicc=-20.0) if row["form"] == "linear" else None)
    edit(path, lambda row: row.update(r2=0.5) if row["form"] == "log-linear" else None)
    assert status(own_results, words) == "partly"
    edit(path, lambda row: row.update(a_lower=-0.1) if row["form"] == "log-linear" else None)
    assert status(own_results, words) == "contradicted"


def test_the_turning_points_hold_only_with_the_constants_of_the_figure(own_results: Path) -> None:
    words = "turns compute-bound"
    assert status(own_results, words) == "partly"
    dense = own_results / "steps/fig5-dense.json"
    dense.write_bytes((own_results / "steps/fig5-paper.json").read_bytes())
    assert status(own_results, words) == "reproduced"
    for name in ("paper", "dense"):
        edit(own_results / f"steps/fig5-{name}.json", lambda row: row.update(k_opt=200.0))
    assert status(own_results, words) == "contradicted"


def test_the_logarithm_of_the_batch_loses_to_its_inverse(own_results: Path) -> None:
    words = "best number of paths is log-linear"
    assert status(own_results, words) == "contradicted"
    edit(own_results / "laws/theorem-1.3.json", lambda row: row.update(loo_rmse=2.0))
    assert status(own_results, words) == "partly"
    edit(own_results / "laws/theorem-1.3.json", lambda row: row.update(loo_rmse=1.0))
    assert status(own_results, words) == "reproduced"


@pytest.mark.parametrize(
    ("gain", "expected"), [(2.0, "reproduced"), (3.0, "partly"), (1.5, "partly"), (1.1, "contradicted")]
)
def test_the_doubled_throughput_is_judged_by_our_prediction(own_results: Path, gain: float, expected: str) -> None:
    for name, rate in (("eagle2", 500.0), ("scylla", 500.0 * gain)):
        edit(own_results / f"steps/table5-{name}.json", lambda row, rate=rate: row.update(tokens_per_s=rate))
    assert status(own_results, "2x the throughput") == expected


def test_numbers_of_the_authors_alone_never_reproduce_a_claim(finished_results: Path) -> None:
    rows = judged(Results(finished_results))
    assert [row["status"] for row in rows if "more tokens per cycle than EAGLE-" in row["claim"]] == [
        "partly",
        "not checked",
    ]


def test_the_page_counts_its_statuses_and_states_every_rule(finished_results: Path, tmp_path: Path) -> None:
    paths = write(Results(finished_results), tmp_path)
    text = paths[0].read_text()
    rows = judged(Results(finished_results))
    counts = ", ".join(f"{sum(row['status'] == name for row in rows)} {name}" for name in STATUSES)
    assert f"{len(CLAIMS)} claims: {counts}" in text
    assert all(claim.rule in text for claim in CLAIMS)
    assert write(Results(finished_results), tmp_path / "again")[0].read_text() == text


def test_the_summary_fits_ten_lines(finished_results: Path) -> None:
    text = lines(Results(finished_results))
    assert len(text) <= 10
    assert any("h100-sxm 5.0 %" in line and "datasheet roofline 40 %" in line for line in text)
    assert any("Test CPU" in line for line in text)
