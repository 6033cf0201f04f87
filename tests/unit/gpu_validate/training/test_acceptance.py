"""Tokens per cycle measured in one pass are those of the literal draft-verify loop, cycle by cycle."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from gpu_validate.decoding.decode import start_loop
from gpu_validate.decoding.sequences import SamplingPolicy
from gpu_validate.models.decoder import Decoder
from gpu_validate.models.eagle import EagleDraft
from gpu_validate.training.acceptance import (
    Anchors,
    accepted,
    mean_over_windows,
    measure,
    place_anchors,
    rank_profile,
)
from gpu_validate.training.unroll import draft_logits, target_features, training_loss
from scylla_sim.acceptance.trees import DraftTree, chain, from_paths, full_tree
from scylla_sim.specs.model import Model

VOCAB = 9
LENGTH, DRAFT_LEN = 14, 4
TREES = {
    "chain": chain(DRAFT_LEN),
    "full": full_tree([2, 2, 2]),
    "sparse": from_paths([(0,), (2,), (0, 1), (2, 0), (0, 1, 0), (0, 1, 3)]),
}


def models(seed: int, *, fed: bool, layers: int = 2) -> tuple[Decoder, EagleDraft]:
    """A target with decided opinions and a draft that is right now and then."""
    target = Decoder(Model("t", 2, 16, 24, 4, 2, 4, VOCAB), seed=seed, dtype=torch.float64)
    with torch.no_grad():
        for weight in target.parameters():
            if weight.dim() > 1:
                weight.mul_(12.0)
    draft = EagleDraft(Model("d", layers, 8, 12, 2, 2, 4, VOCAB), target, fed=fed, seed=seed)
    return target, draft


def cycles(target: Decoder, seed: int, windows: int = 6, anchors: int = 5) -> Anchors:
    rng = np.random.default_rng(seed)
    texts = rng.integers(0, VOCAB, (windows, LENGTH))
    domains = np.arange(windows) % 2
    return place_anchors(target, texts, domains, count=anchors, draft_len=DRAFT_LEN, seed=seed)


def literal(
    target: Decoder, draft: EagleDraft, tree: DraftTree, made: Anchors, policy: SamplingPolicy
) -> np.ndarray:
    """Accepted drafted tokens of one cycle of the real loop from every anchor."""
    texts = made.texts.repeat_interleave(made.positions.shape[1], dim=0)
    lengths = made.positions.flatten() + 1
    with torch.inference_mode():
        loop = start_loop(target, draft, tree, texts, room=1, lengths=lengths, policy=policy)
        return loop.cycle().count.view(made.positions.shape).numpy()


@pytest.mark.parametrize("fed", [True, False], ids=["fed features", "tokens only"])
@pytest.mark.parametrize("tree", TREES.values(), ids=TREES)
@pytest.mark.parametrize("seed", range(4))
def test_one_pass_gives_what_the_literal_loop_accepts(tree: DraftTree, fed: bool, seed: int) -> None:
    target, draft = models(seed, fed=fed)
    made = cycles(target, seed)
    ours = accepted(tree, measure(draft, made).ranks[0])
    assert (ours == literal(target, draft, tree, made, SamplingPolicy())).all()


def test_the_cases_above_accept_some_and_reject_some() -> None:
    counts = []
    for seed in range(4):
        target, draft = models(seed, fed=True)
        counts.append(accepted(TREES["full"], measure(draft, cycles(target, seed)).ranks[0]))
    assert 0 < np.mean(counts) < 3 and len(np.unique(counts)) > 2


@pytest.mark.parametrize("sampled", [True, False], ids=["sampled chain", "best choices"])
def test_at_temperature_one_the_mean_is_that_of_the_loop(sampled: bool) -> None:
    """Thousands of cycles from the same anchors; four standard errors of both sides."""
    target, draft = models(3, fed=True)
    rng = np.random.default_rng(5)
    texts = np.repeat(rng.integers(0, VOCAB, (2, LENGTH)), 1500, axis=0)
    made = place_anchors(target, texts, np.zeros(len(texts), int), count=2, draft_len=DRAFT_LEN, seed=1)
    outcome = measure(draft, made)
    tree = chain(DRAFT_LEN) if sampled else TREES["full"]
    theirs = literal(target, draft, tree, made, SamplingPolicy(temperature=1.0, sampled_drafts=sampled))
    ours = outcome.passed.sum(-1) if sampled else accepted(tree, outcome.ranks[1])
    noise = np.hypot(ours.std(), theirs.std()) / theirs.size**0.5
    assert ours.mean() == pytest.approx(theirs.mean(), abs=4 * noise)
    assert 0.1 < theirs.mean() < DRAFT_LEN - 0.1


def test_a_wrong_mask_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A branch that saw the text behind its anchor would know the answer."""
    from gpu_validate.training import unroll

    target, draft = models(0, fed=True)
    made = cycles(target, 0)
    honest = measure(draft, made).ranks[0]
    monkeypatch.setattr(
        unroll, "visible_bias", lambda anchors, length, dtype: torch.zeros(1, 1, length, dtype=dtype)
    )
    assert (measure(draft, made).ranks[0] != honest).any()


def test_the_loss_of_unrolled_steps_is_that_of_the_logits_in_the_loop() -> None:
    """Cross-entropy by hand from `draft_logits` at every anchor that has a full continuation."""
    target, draft = models(1, fed=True)
    text = torch.randint(VOCAB, (1, LENGTH), generator=torch.Generator().manual_seed(0))
    features, _ = target_features(target, text)
    probabilities = torch.softmax(features @ target.head.weight.T, -1)
    loss = training_loss(draft, text, features, probabilities, (1.0, 0.5))
    anchors = torch.arange(LENGTH - 1)[None]
    continuation = torch.stack((text[:, 1:], text[:, 1:]), dim=2)
    first, second = draft_logits(draft, text, features, anchors, continuation)
    last = next(draft_logits(draft, text, features, torch.tensor([[LENGTH - 1]]), continuation[:, :1]))
    every = torch.cat((first, last), dim=1)
    by_hand = -(probabilities * every.log_softmax(-1)).sum(-1).mean()
    by_hand = by_hand + 0.5 * -(probabilities[:, 1:] * second.log_softmax(-1)).sum(-1).mean()
    assert float(loss.detach()) == pytest.approx(float(by_hand.detach()) / 1.5, rel=1e-12)


def test_the_standard_error_is_that_of_windows_not_of_cycles() -> None:
    """Cycles of one window that agree are one observation: by hand, two domains of two windows."""
    values = np.array([[1.0] * 8, [3.0] * 8, [0.0] * 8, [4.0] * 8])
    mean = mean_over_windows(values, np.array([0, 0, 1, 1]))
    assert mean.value == 2.0
    assert mean.stderr == pytest.approx(((2.0 + 8.0) * 2 / 16) ** 0.5)


def test_cycles_begin_after_the_first_quarter_of_a_window() -> None:
    target, _ = models(0, fed=True)
    positions = cycles(target, 0, anchors=4).positions
    assert positions[0].tolist() == np.linspace(0.25 * LENGTH, LENGTH - 1, 4).round().astype(int).tolist()
    assert positions[0, 0] >= LENGTH // 4


def test_ranks_count_only_cycles_whose_earlier_tokens_were_first_choices() -> None:
    """Two of four cycles get to depth 2; one of them has the first choice there, one the second."""
    ranks = np.array([[0, 0], [0, 1], [1, 0], [2, 2]])
    assert rank_profile(ranks, 2).tolist() == [[0.5, 0.25], [0.5, 0.5]]


def test_domains_of_different_sizes_weigh_by_their_windows() -> None:
    """Variances 2 of two windows and 1 of three: (2 x 2 + 1 x 3) / 25."""
    values, domains = np.array([[0.0], [2.0], [10.0], [11.0], [12.0]]), np.array([0, 0, 1, 1, 1])
    found = mean_over_windows(values, domains)
    assert found.value == pytest.approx(7.0)
    assert found.stderr == pytest.approx(np.sqrt((2 * 2 + 1 * 3) / 25))
