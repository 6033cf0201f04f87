"""Scores of served runs: hand-computed errors, intervals, verdicts and means over sources."""

import numpy as np
import pytest
from served_results import run

from paper.sources import served_runs, served_scores
from paper.sources.served_runs import Pairs


def pairs(measured, predicted, lower=None, upper=None, **baselines):
    measured, predicted = np.array(measured), np.array(predicted)
    low, high = (predicted if end is None else np.array(end) for end in (lower, upper))
    return Pairs(measured, predicted, low, high, {name: np.array(values) for name, values in baselines.items()})


def test_errors_of_three_runs_by_hand():
    found = served_scores.score(pairs([1.0, 2.0, 4.0], [1.1, 1.6, 4.0], roofline=[2.0, 2.0, np.nan]))
    assert found["n"] == 3
    assert found["error"] == pytest.approx((0.1 + 0.2 + 0.0) / 3)
    assert found["bias"] == pytest.approx((0.1 - 0.2) / 3)
    assert found["p90"] == pytest.approx(0.18)  # between the two largest, at 1.8 of 2
    assert found["noise"] == pytest.approx(0.1 / np.sqrt(3))  # standard deviation 0.1
    assert found["error_roofline"] == pytest.approx((1.0 + 0.0) / 2)


def test_coverage_and_width_by_hand():
    found = served_scores.score(pairs([1.0, 2.0], [1.0, 1.0], lower=[0.5, 0.9], upper=[1.0, 1.8]))
    assert (found["coverage"], found["width"]) == (0.5, pytest.approx(2.0))


def test_a_run_without_a_measurement_is_left_out():
    assert served_scores.score(pairs([np.nan, 2.0], [1.0, 2.0]))["n"] == 1
    assert served_scores.score(pairs([np.nan], [1.0])) == {}


def test_only_runs_with_a_pair_count_as_fitted():
    rows = [run("a", fitted="preset"), run("a", fitted="preset", measured_speedup=None), run("a")]
    assert {row["fitted"] for row in served_scores.table(rows, "speedup") if row["group"] == "a"} == {1}


def test_the_noise_of_one_run_is_not_known():
    assert served_scores.score(pairs([1.0], [1.1]))["noise"] is None


def test_a_verdict_is_wrong_on_either_side():
    measured, p_slower = np.array([0.95, 0.96, 1.01, 0.9]), np.array([0.29, 0.0, 0.71, 0.5])
    found = served_scores.verdicts(measured, p_slower)
    assert found == {"slow": 2, "not_faster": 0.5, "called_slower": 0.0, "wrong": 0.5}


def test_verdicts_without_probabilities_are_empty():
    found = served_scores.verdicts(np.array([0.9]), np.array([np.nan]))
    assert found == {"slow": 0, "not_faster": None, "called_slower": None, "wrong": None}


def test_the_macro_row_weighs_sources_equally():
    rows = [run("a"), run("a"), run("a"), run("b", measured_speedup=1.0)]
    found = {row["group"]: row for row in served_scores.table(rows, "speedup") if row["grouping"] == "all"}
    assert found["all"]["error"] == pytest.approx(0.25)
    assert found["macro over sources"]["error"] == pytest.approx(0.5)
    assert found["macro over sources"]["noise"] == pytest.approx(0.5)
    assert found["macro over sources"]["n"] == 4


def test_totals_hold_only_chains_and_trees_of_known_drafts():
    others = [
        run("b", precision="int4"),
        run("b", draft="ngram"),
        run("b", draft="configs/x-dspark.json"),
        run("b", draft_len=0),
        run("b", assumed="tp;draft"),
    ]
    rows = served_scores.table([run("a"), *others], "speedup")
    assert {row["group"]: row["n"] for row in rows if row["grouping"] == "kind"} == {
        served_runs.MAIN: 1,
        served_runs.LOW_BITS: 1,
        served_runs.NGRAM: 1,
        served_runs.BLOCK: 1,
        served_runs.NOTHING: 1,
        served_runs.STAND_IN: 1,
    }
    assert [row["n"] for row in rows if row["group"] == "all"] == [1]


def test_a_cycle_without_a_time_is_the_batch_over_its_throughput():
    row = run("a", measured_cycle_s=None, batch=8, tokens_per_cycle=2.5, measured_tokens_per_s=1000.0)
    found = served_runs.pairs([row, run("a")], "cycle")
    assert found.measured.tolist() == [0.02, 0.01]
    assert found.predicted.tolist() == [0.01, 0.01]  # the predicted rate is 2000 tokens/s
    assert found.lower[0] == pytest.approx(0.01 / 1.2)
    assert found.upper[0] == pytest.approx(0.01 / 0.9)


def test_a_plain_run_has_neither_cycle_nor_throughput():
    plain = run("a", draft="none")
    for quantity in ("cycle", "throughput"):
        assert np.isnan(served_runs.pairs([plain], quantity).measured).all()
    assert served_runs.pairs([plain], "plain step").measured.tolist() == [0.008]


@pytest.mark.parametrize(("batch", "label"), [(2, "2-7"), (8, "8-31"), (63, "32-63"), (64, "64 and more")])
def test_batches_lie_in_one_range(batch, label):
    assert served_runs.batch_range(batch) == label
