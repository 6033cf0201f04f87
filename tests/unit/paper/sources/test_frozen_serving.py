"""Frozen scores of serving runs: a worse group is found, and few runs have no score."""

import pytest
from paper_results import put

from paper.sources import frozen_serving
from paper.sources.results import Results


def run(index, *, engine="vllm", documented="yes", error=0.05):
    """Return a run of 10 ms a token and 100 ms to the first one, whose predictions are too high by ``error``."""
    return {
        **{"framework": engine, "device": "h100-sxm", "checkpoint": "a/Model", "precision": "fp8"},
        **{"scalars": "others", "half": "", "excluded": "", "documented": documented},
        **{"tpot_ms": 10.0, "ttft_ms": 100.0, "shortest": 1.0, "output_len": 101, "batch": 8, "index": index},
        **{"predicted_s": 0.01 * (1 + error), "ttft_s": 0.1 * (1 + error)},
        "requests_per_s": 8 / 1.1 / (1 + error),
    }


@pytest.fixture
def frozen(tmp_path):
    """A results folder, and the file of its frozen scores."""
    put(tmp_path, "serving/runs.json", [run(index) for index in range(8)])
    path = frozen_serving.update(Results(tmp_path), "first", tmp_path / "frozen.csv")
    return tmp_path, path


def test_scores_are_medians_by_hand(frozen):
    rows = frozen_serving.fresh(Results(frozen[0]))
    assert {(row["quantity"], row["group"]): row["error"] for row in rows} == {
        (quantity, group): error
        for quantity, error in (("TPOT", 0.05), ("TTFT", 0.05), ("requests/s", 0.0476))
        for group in ("vllm h100-sxm a/Model fp8", "vllm all all all", "all all all all")
    }
    assert {row["noise"] for row in rows} == {0.01}


def test_a_worse_group_is_named_with_its_numbers(frozen):
    folder, path = frozen
    assert frozen_serving.check(Results(folder), path) == []
    put(folder, "serving/runs.json", [run(index, error=0.07) for index in range(8)])
    line = "TPOT, group, vllm h100-sxm a/Model fp8: median error 7.0 % in place of 5.0 %, noise 1.0 %"
    assert line in frozen_serving.check(Results(folder), path)


def test_few_runs_and_arrivals_without_a_source_have_no_score(frozen):
    folder, _ = frozen
    put(folder, "serving/runs.json", [run(index, documented="no") for index in range(8)])
    assert {row["quantity"] for row in frozen_serving.fresh(Results(folder))} == {"TPOT"}
    put(folder, "serving/runs.json", [run(index) for index in range(7)])
    assert frozen_serving.fresh(Results(folder)) == []
