"""Batches without refill: how long sequences run, and how long their batch takes."""

import numpy as np
import pytest

from scylla_sim.acceptance.positions import PositionLaw
from scylla_sim.acceptance.speculative_config import SpeculativeConfig, no_drafting
from scylla_sim.prediction import ragged_batch
from scylla_sim.specs import catalog

LAW = PositionLaw("eagle3", 0.0, 0.0)
SIZES = ragged_batch.sizes_up_to(32)


def config(draft_len: int = 3, tau: float = 2.0) -> SpeculativeConfig:
    return SpeculativeConfig(catalog.draft("eagle3"), draft_len, 1, draft_len + 1, tau, tau, tau)


def test_the_share_that_runs_is_that_of_a_hand_computation():
    """Half of the drafts of one token are accepted: 3 tokens take 2 cycles, unless two of them reject."""
    shares = ragged_batch.unfinished(1.5, LAW, draft_len=1, output_len=3, spread=0.0)
    assert shares == pytest.approx([1.0, 1.0, 0.25, 0.0], abs=1e-9)


def test_prompts_that_differ_keep_the_mean_number_of_cycles():
    each = [ragged_batch.unfinished(2.0, LAW, draft_len=3, output_len=2000, spread=s).sum() for s in (0.0, 0.4)]
    assert each == pytest.approx([1000.0, 1000.0], rel=2e-3)


def test_a_batch_of_one_waits_for_nobody():
    shares = ragged_batch.unfinished(2.0, LAW, draft_len=3, output_len=64, spread=0.4)
    seconds = ragged_batch.batch_seconds(shares, batch=1, sizes=np.array([1.0]), cycle_s=np.array([1.0]))
    assert seconds == pytest.approx(shares.sum())


def test_two_sequences_wait_for_the_slower_one():
    """Both run two cycles, one of them a third one in one case of four: 7/16 that some sequence needs it."""
    shares = np.array([1.0, 1.0, 0.25])
    found = ragged_batch.batch_seconds(shares, batch=[1, 2], sizes=np.array([1.0, 2.0]), cycle_s=np.ones(2))
    assert found == pytest.approx([2.25, 2.0 + 7.0 / 16.0])


def test_late_cycles_of_few_sequences_take_less_time():
    """The third cycle, if any, runs 8/7 sequences in the mean, and takes 1/7 of the way from 0.5 to 1."""
    shares = np.array([1.0, 1.0, 0.25])
    found = ragged_batch.batch_seconds(shares, batch=2, sizes=np.array([1.0, 2.0]), cycle_s=np.array([0.5, 1.0]))
    assert found == pytest.approx(2.0 + 7.0 / 16.0 * (0.5 + 0.5 / 7.0))


def test_larger_batches_of_shorter_answers_wait_longer():
    def wait(output_len: int) -> list[float]:
        batch = np.array([1.0, 8.0, 32.0])
        found = ragged_batch.wait(config(), output_len=output_len, batch=batch, sizes=SIZES, cycle_s=np.ones(6))
        assert found.value.tolist() == pytest.approx(found.lower.tolist(), rel=1e-3)
        assert (found.upper[1:] > found.value[1:]).all()
        return [float(one) for one in found.value]

    short, long = wait(64), wait(1024)
    assert 1.0 < short[0] < short[1] < short[2] < 1.4
    assert all(b < a for a, b in zip(short, long))


def test_nobody_waits_without_drafted_tokens():
    for one in (no_drafting(catalog.draft("none")), no_drafting(catalog.draft("eagle3"))):
        found = ragged_batch.wait(one, output_len=64, batch=np.array([1.0, 32.0]), sizes=SIZES, cycle_s=np.ones(6))
        assert found.upper.tolist() == [1.0, 1.0]


def test_sizes_reach_the_batch_and_do_not_depend_on_others():
    assert ragged_batch.sizes_up_to(1).tolist() == [1.0]
    assert ragged_batch.sizes_up_to(33)[:6].tolist() == SIZES.tolist()


def test_a_batch_of_one_waits_for_nobody_and_its_ends_are_in_order():
    """Lengths that spread over prompts change a batch of one in the last digits only, downwards."""
    one = np.ones(1)
    found = ragged_batch.wait(config(), output_len=500, batch=one, sizes=one, cycle_s=one)
    assert found.lower <= found.value <= found.upper
    assert found.upper - found.lower < 1e-3
