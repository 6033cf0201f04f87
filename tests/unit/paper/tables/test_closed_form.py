"""Table of the closed form: one row for each deployment, load and latency."""

from __future__ import annotations

from pathlib import Path

from paper_results import only


def test_errors_of_all_statistics_stand_in_one_row(finished_results: Path) -> None:
    rows = only(finished_results, "closed-form").rows
    assert [(row["share"], row["latency"]) for row in rows] == [
        (0.3, "TPOT"),
        (0.3, "TTFT"),
        (0.8, "TPOT"),
        (0.8, "TTFT"),
    ]
    assert {name: rows[0][name] for name in ("mean", "p50", "p95", "p99")} == {
        "mean": -0.01,
        "p50": 0.02,
        "p95": -0.1,
        "p99": 0.2,
    }
    assert [row["doubts"] for row in rows] == [None, None, "budget", "budget"]
