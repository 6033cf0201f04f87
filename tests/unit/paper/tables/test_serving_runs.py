"""Tables of closed-loop serving runs: what is scored, and what is left out."""

from __future__ import annotations

from pathlib import Path

import pytest
from endtoend_results import write_endtoend
from paper_results import put

from paper.sources import serving_scores
from paper.sources.results import Results
from paper.tables import serving_runs


@pytest.fixture
def results(tmp_path: Path) -> Results:
    write_endtoend(tmp_path, put)
    return Results(tmp_path)


def test_groups_are_scored_with_totals_by_engine_and_of_all(results: Results) -> None:
    rows = [row for row in serving_runs.serving_runs(results).rows if row["quantity"] == "TPOT"]
    assert [(row["framework"], row["device"], row["n"]) for row in rows] == [
        ("SGLang", "h100-sxm", 3),
        ("vLLM", "h100-sxm", 4),
        ("SGLang", "all", 3),
        ("vLLM", "all", 4),
        ("all", "all", 7),
    ]
    assert rows[1]["median_ape"] == pytest.approx(0.05)
    assert rows[1]["naive_bias"] == pytest.approx(-0.5)
    assert (rows[1]["coverage"], rows[1]["host_s"]) == (1.0, 1e-3)


def test_first_tokens_are_compared_only_where_arrivals_are_documented(results: Results) -> None:
    for quantity in ("TTFT", "requests/s"):
        rows = [row for row in serving_runs.serving_runs(results).rows if row["quantity"] == quantity]
        assert {row["framework"] for row in rows} == {"vLLM", "all"}
        assert {row["n"] for row in rows} == {4}


def test_requests_per_second_follow_from_the_measured_means(results: Results) -> None:
    # 10 in flight, 1 s to the first token and 100 tokens of 10 ms: 2 s a request
    (row,) = serving_scores.runs(results, "others")[:1]
    assert serving_scores.measured(row, "requests/s") == pytest.approx(5.0)


def test_only_held_out_runs_count_where_scalars_are_fitted(results: Results) -> None:
    rows = [row for row in serving_runs.serving_runs_fitted(results).rows if row["quantity"] == "TPOT"]
    assert [row["n"] for row in rows] == [2, 3, 2, 3, 5]
    assert {row["median_ape"] for row in rows} == {0.0}


def test_every_run_is_counted_once_by_rule(results: Results) -> None:
    rows = {row["reason"]: row for row in serving_runs.left_out(results).rows}
    assert next(iter(rows)) == "scored"
    assert (rows["scored"]["sglang"], rows["scored"]["vllm"]) == (3, 4)
    assert rows["faster than the datasheet allows"]["n"] == 1
    assert rows["all aggregated runs"]["n"] == 8 + 2
