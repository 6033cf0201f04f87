"""Batches without refill: how long sequences run, and how long their batch takes."""

import numpy as np
import pytest

from scylla_sim.acceptance.positions import PositionLaw
from scylla_sim.prediction import ragged_batch
from scylla_sim.prediction.served_runs import ServedRun, scenario
from scylla_sim.stats.estimate import Estimate

LAW = PositionLaw("eagle3", 0.0, 0.0)


def test_the_share_that_runs_is_that_of_a_hand_computation():
    """Half of the drafts of one token are accepted: 3 tokens take 2 cycles, unless two of them reject."""
    shares = ragged_batch.unfinished(1.5, LAW, draft_len=1, output_len=3, spread=0.0)
    assert shares == pytest.approx([1.0, 1.0, 0.25, 0.0], abs=1e-9)


def test_prompts_that_differ_keep_the_mean_number_of_cycles():
    each = [ragged_batch.unfinished(2.0, LAW, draft_len=3, output_len=2000, spread=s).sum() for s in (0.0, 0.4)]
    assert each == pytest.approx([1000.0, 1000.0], rel=2e-3)


def test_a_batch_of_one_waits_for_nobody():
    shares = ragged_batch.unfinished(2.0, LAW, draft_len=3, output_len=64, spread=0.4)
    seconds = ragged_batch.batch_seconds(shares, batch=1, sizes=[1], cycle_s=np.array([1.0]))
    assert seconds == pytest.approx(shares.sum())


def test_two_sequences_wait_for_the_slower_one():
    """Both run two cycles, one of them a third one in one case of four: 7/16 that some sequence needs it."""
    shares = np.array([1.0, 1.0, 0.25])
    found = ragged_batch.batch_seconds(shares, batch=2, sizes=[1, 2], cycle_s=np.array([1.0, 1.0]))
    assert found == pytest.approx(2.0 + 7.0 / 16.0)


def test_larger_batches_of_shorter_answers_wait_longer():
    def wait(batch: int, output_len: int) -> Estimate:
        run = ServedRun(
            *("vllm", "h100-sxm", "llama-3.1-8b", "", "", "eagle3", 1, 3, 1, 4, batch, 512, 0, output_len)
        )
        return ragged_batch.slowdown(scenario(run, 1.8), 1.8, output_len=output_len)

    alone, eight, more, longer = wait(1, 64), wait(8, 64), wait(32, 64), wait(8, 1024)
    assert 1.0 < float(alone.value) < float(longer.value) < float(eight.value) < float(more.value) < 1.4
    assert float(eight.lower) == float(eight.value) < float(eight.upper)


def test_a_slower_batch_widens_the_interval_downwards_only():
    found = ragged_batch.slowed(Estimate.of(2.0, 1.8, 2.2), Estimate.of(1.25, 1.25, 1.5))
    assert (float(found.value), float(found.upper)) == pytest.approx((1.6, 1.76))
    assert float(found.lower) == pytest.approx(1.6 * np.exp(-np.hypot(np.log(2.0 / 1.8), np.log(1.2))))
