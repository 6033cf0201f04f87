"""Crossovers and spans of given speed-ups and scores."""

import numpy as np
import pytest

from scylla_sim.planning.crossover import crossover_batch, spans_of


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
