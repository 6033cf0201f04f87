"""Serving runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from endtoend_results import write_endtoend
from paper_results import put

from paper.sources.results import Results
from paper.tables import serving_runs


@pytest.fixture
def results(tmp_path: Path) -> Results:
    write_endtoend(tmp_path, put)
    return Results(tmp_path)


def test_runs_faster_than_the_datasheet_are_counted(results: Results) -> None:
    rows = {row["engine"]: row for row in serving_runs.serving_runs(results).rows}
    assert set(rows) == {"vllm", "sglang"}
    assert (rows["vllm"]["impossible"], rows["vllm"]["least_share"]) == (0, pytest.approx(0.9))
    assert (rows["sglang"]["impossible"], rows["sglang"]["least_share"]) == (1, pytest.approx(1.25))


def test_both_halves_have_the_scalars_of_their_engine(results: Results) -> None:
    rows = serving_runs.serving_runs_fitted(results).rows
    assert [(row["half"], row["engine"], row["share"]) for row in rows] == [
        ("fit", "vllm", 1.0),
        ("fit", "sglang", 0.5),
        ("held out", "vllm", 1.0),
        ("held out", "sglang", 0.5),
    ]
    assert {(row["device"], row["chosen"], row["host_s"]) for row in rows} == {("h100-sxm", "bf16", 1e-3)}
