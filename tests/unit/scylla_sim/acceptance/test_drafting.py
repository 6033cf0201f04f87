"""Tokens per cycle and shape of a draft, from the options of a user."""

import numpy as np
import pytest

from scylla_sim.acceptance import draft_shape, drafting, positions, tau_transfer
from scylla_sim.checks import InputError
from scylla_sim.specs import catalog
from scylla_sim.specs.draft import Block, Draft

EAGLE3 = catalog.draft("eagle3")


def chain(length, **options):
    return drafting.resolve(EAGLE3, draft_shape.shape(EAGLE3, length, None, None), **options)


def test_chain_tau_by_hand():
    item, remarks = chain(3, rates=np.array([0.8, 0.5, 0.5]))
    assert item.tokens_per_cycle == pytest.approx(1 + 0.8 + 0.4 + 0.2)
    assert item.verify_tokens == 4
    assert remarks == []


def test_the_law_continues_a_short_list_and_says_so():
    """EAGLE-3, exponent 0.34 +- 0.26: the odds 1 of position 2 become (3/2)^-0.34 at position 3."""
    item, (remark,) = chain(3, rates=np.array([0.8, 0.5]))
    odds = 1.5**-0.34
    assert item.tokens_per_cycle == pytest.approx(1 + 0.8 + 0.4 + 0.4 * odds / (1 + odds))
    assert item.tau_lower < item.tokens_per_cycle < item.tau_upper
    assert "acceptance is given for 2 positions; later positions follow the position law of eagle3" in remark


def test_one_rate_is_that_of_position_1():
    item, (remark,) = chain(2, rates=np.array([0.8]))
    odds = 4 * 2**-0.34
    assert item.tokens_per_cycle == pytest.approx(1.8 + 0.8 * odds / (1 + odds))
    assert "acceptance is given for position 1 (0.8)" in remark
    assert chain(1, rates=np.array([0.8]))[1] == []


def test_given_positions_are_used_as_they_are():
    item, remarks = chain(2, rates=np.array([0.8, 0.5, 0.1]))
    assert (item.tau_lower, item.tokens_per_cycle, item.tau_upper) == pytest.approx((2.2, 2.2, 2.2))
    assert remarks == []


def test_a_measured_tau_goes_to_other_lengths_with_an_interval():
    """Qwen3-8B, EAGLE-3, coding (speculators issue 563): 2.80 at 3 tokens, 3.22 at 5 and 3.33 at 7."""
    same, remarks = chain(3, tokens_per_cycle=2.8, measured_draft_len=3)
    assert (same.tau_lower, same.tokens_per_cycle, same.tau_upper, remarks) == (2.8, 2.8, 2.8, [])
    five, (remark,) = chain(5, tokens_per_cycle=2.8, measured_draft_len=3)
    seven, _ = chain(7, tokens_per_cycle=2.8, measured_draft_len=3)
    assert five.tau_lower < 3.22 < five.tokens_per_cycle < 3.33 < five.tau_upper
    assert seven.tokens_per_cycle < 3.761 - 0.15, "3.761 is the value of one rate at all positions"
    assert "2.8 was measured with draft_len 3; other draft shapes follow the position law of eagle3" in remark


def test_tokens_per_cycle_overrides_everything():
    item, _ = chain(3, tokens_per_cycle=2.4, rates=np.array([0.1]))
    assert item.tokens_per_cycle == 2.4


def test_missing_acceptance_is_an_error_with_advice():
    small = catalog.draft("llama-68m")
    with pytest.raises(InputError, match="has no published acceptance; give acceptance, for example 0.7"):
        drafting.resolve(small, draft_shape.shape(small, 3, None, None))


def test_missing_acceptance_of_a_published_method_is_typical_and_says_so():
    config, remarks = chain(3)
    assert config.acceptance_evidence == "published"
    assert config.tau_lower < config.tokens_per_cycle < config.tau_upper
    assert remarks[0].startswith("acceptance is published, not measured on this model")
    assert chain(3, rates=np.array([0.7]))[0].acceptance_evidence == "given"


def test_eagle2_and_scylla_draft_the_reference_tree_by_default():
    tree = draft_shape.shape(catalog.draft("scylla-5l"), None, None, None)
    assert (tree.draft_len, tree.top_k, tree.verify_tokens) == (6, 10, 61)
    assert draft_shape.shape(EAGLE3, None, None, None).verify_tokens == 4


def test_transfer_to_a_shorter_draft_and_back_restores_tau():
    long, short = draft_shape.DraftShape(6, 10, 61), draft_shape.DraftShape(3, 1, 4)
    law = positions.law_of("eagle2")
    there = tau_transfer.transfer(4.5, long, short, law)
    assert 1 < there < 4
    assert tau_transfer.transfer(there, short, long, law) == pytest.approx(4.5, abs=1e-3)


def test_a_chain_verifies_its_length_plus_one():
    with pytest.raises(InputError, match=r"verify_tokens=9 must be draft_len \+ 1 = 4"):
        draft_shape.shape(EAGLE3, 3, 1, 9)


def test_interval_of_rates_applies_to_another_draft_length():
    rates = np.array([0.8, 0.5])
    item, _ = chain(2, rates=rates, spread=(0.9, 1.1))
    assert (item.tau_lower, item.tau_upper) == (pytest.approx(2.08), pytest.approx(2.32))
    item, _ = chain(1, rates=rates, spread=(0.9, 1.1))
    assert (item.tau_lower, item.tau_upper) == (pytest.approx(1.72), pytest.approx(1.88))


def test_a_draft_without_a_head_has_no_training_laws():
    ngram = catalog.draft("ngram")
    with pytest.raises(InputError, match="draft='ngram' has no training laws"):
        drafting.resolve(ngram, draft_shape.shape(ngram, 3, None, None), train_tokens=1e10)


def test_a_draft_from_a_file_has_the_published_values_of_its_method():
    block = Draft("my-head", "block", num_layers=5, method="dflash", block=Block(16))
    config, remarks = drafting.resolve(block, draft_shape.shape(block, None, None, None), task="math")
    # DFlash, arXiv 2602.06036, Table 1: 4.7 to 7.9 in GSM8K, MATH-500 and AIME25 with blocks of 16.
    assert config.draft_len == 15
    assert 5.0 < config.tokens_per_cycle < 7.5
    assert config.acceptance_evidence == "published"
    assert "values of dflash (task math;" in remarks[0]


def test_tau_never_exceeds_the_drafted_tokens_and_one():
    config, _ = drafting.resolve(
        Draft("eagle3", "head", num_layers=1),
        draft_shape.DraftShape(2, 1, 3),
        rates=np.array([0.98, 0.98]),
        spread=(0.5, 1.5),
    )
    assert config.tau_upper == 3.0
    assert config.tau_lower >= 1.0
