"""Crossovers and spans of given speed-ups and scores."""

import numpy as np
import pytest

from scylla_sim.acceptance.speculative_config import SpeculativeConfig, no_drafting
from scylla_sim.planning.crossover import Span, crossover, crossover_batch, spans_of, spans_over
from scylla_sim.specs.draft import Draft
from scylla_sim.stats.estimate import Estimate


@pytest.mark.parametrize(
    ("speedup", "batch"),
    [
        ([1.5, 1.2, 1.0, 0.9], 3),
        ([1.5, 0.9, 1.01, 0.9], 4),
        ([0.9, 0.8], 1),
        ([0.9, 1.1], None),
        ([1.0, 1.0], 1),
        ([], None),
    ],
)
def test_crossover_is_the_batch_after_the_last_speedup_above_one(speedup, batch):
    assert crossover_batch(np.array(speedup)) == batch


def test_spans_switch_for_lasting_gains_only():
    steady = np.log(np.full(64, 2.0))
    better_later = np.where(np.arange(1, 65) < 20, np.log(1.5), np.log(2.5))
    assert spans_of(np.stack([steady, better_later])) == [(1, 19, 0), (20, 64, 1)]
    hop = steady.copy()
    hop[30] += 0.01
    assert spans_of(np.stack([steady, hop - 1e-3])) == [(1, 64, 0)]
    alone = np.where(np.arange(1, 65) > 40, -np.inf, steady)
    assert spans_of(np.stack([alone, steady - 1.0]))[-1] == (41, 64, 1), (
        "a candidate that does not fit is not chosen"
    )


def test_spans_switch_when_the_gain_exceeds_min_switch_gain():
    # The second candidate leads by 3 % over one doubling (4 to 8): above a cost of 2 %, below one of 4 %.
    first = np.zeros(7)
    second = np.where(np.arange(1, 8) >= 4, 0.03, -1.0)
    assert len(spans_of(np.stack([first, second]), min_switch_gain=0.02)) == 2
    assert len(spans_of(np.stack([first, second]), min_switch_gain=0.04)) == 1


HEAD = Draft("eagle3", "head", num_layers=1)
PLAIN, THREE, IDLE = (
    no_drafting(Draft("none", "none")),
    SpeculativeConfig(HEAD, 3, 1, 4, 2.4, 2.4, 2.4),
    no_drafting(HEAD),
)


def by_batch(rates):
    """Spans of the baseline, a chain of 3 and the idle draft, at these rates of batch 1, 2, 3, ..."""
    return spans_over([PLAIN, THREE, IDLE], [np.log(np.array(rates))], [1])


def test_a_server_that_drafts_elsewhere_keeps_its_draft_where_it_drafts_nothing():
    helps, hurts = [2.0] * 20, [0.5] * 20
    found = by_batch([[1.0] * 40, helps + hurts, [0.9] * 40])
    assert found == [Span(1, 20, THREE), Span(21, 40, IDLE)]


def test_drafting_a_little_is_kept_where_it_loses_less_than_drafting_nothing():
    found = by_batch([[1.0] * 40, [2.0] * 20 + [0.95] * 20, [0.9] * 40])
    assert found == [Span(1, 40, THREE)]


def test_a_server_starts_without_a_draft_that_loses_on_balance():
    barely = [1.001] * 2 + [0.5] * 38
    assert by_batch([[1.0] * 40, barely, [0.9] * 40]) == [Span(1, 40, PLAIN)]


def test_the_ends_of_a_crossover_are_those_of_the_interval_and_memory_ends_it():
    speedup = Estimate(
        np.array([2.0, 1.5, 0.9, 0.8]), np.array([1.5, 0.9, 0.8, 0.7]), np.array([3.0, 2.0, 1.1, 0.9])
    )
    found = crossover(100, None, speedup, np.ones(4, dtype=bool))
    assert (found.lower, found.batch, found.upper, found.limit) == (2, 3, 4, "max_batch")
    found = crossover(100, None, speedup, np.array([True, True, False, False]))
    assert (found.batch, found.searched_to, found.limit) == (None, 2, "memory")
