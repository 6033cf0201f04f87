"""The draft-verify loop with and without reads from the device."""

from __future__ import annotations

import pytest
import torch

from gpu_validate.decoding.decode import start_loop
from gpu_validate.models.attention import Placement
from gpu_validate.models.decoder import Decoder, KVCache
from gpu_validate.models.eagle import EagleDraft
from gpu_validate.training.unroll import target_features
from scylla_sim.acceptance.trees import DraftTree, chain, full_tree
from scylla_sim.specs.model import Model

SPEC = Model("t", 2, 32, 48, 4, 2, 8, 23)


@pytest.mark.parametrize("tree", [chain(1), chain(4), full_tree([2, 2]), full_tree([3, 1, 2])])
@pytest.mark.parametrize("agreeing", [True, False])
def test_a_loop_that_reads_nothing_back_emits_the_tokens_of_one_that_does(tree: DraftTree, agreeing: bool) -> None:
    """The draft reads its last tokens again in any case. With the target as its draft, whole chains are kept."""
    target = Decoder(SPEC, dtype=torch.float64)
    draft = Decoder(SPEC, dtype=torch.float64, seed=0 if agreeing else 1)
    prompts = torch.randint(SPEC.vocab_size, (3, 7), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        eager, static = (start_loop(target, draft, tree, prompts, room=80) for _ in "ab")
        static.static = True
        for _ in range(8):
            eager.cycle()
            static.cycle()
    assert torch.equal(eager.batch.lengths, static.batch.lengths)
    assert torch.equal(eager.batch.tokens[:, :7], static.batch.tokens[:, :7])
    for row, length in enumerate(eager.batch.lengths.tolist()):
        assert torch.equal(eager.batch.tokens[row, : length + 1], static.batch.tokens[row, : length + 1])
    assert static.tokens_per_cycle == eager.tally.tokens_per_cycle
    assert (static.tokens_per_cycle == tree.draft_len + 1) == agreeing


def eagle(target: Decoder) -> EagleDraft:
    draft = EagleDraft(Model("d", 2, 8, 12, 2, 2, 4, SPEC.vocab_size), target, fed=True, seed=3)
    return draft.requires_grad_(False)


@pytest.mark.parametrize("tree", [chain(3), full_tree([3, 2, 1])])
def test_each_token_is_fed_the_feature_of_the_token_before_it(tree: DraftTree) -> None:
    """The features that the loop stored are those of one pass of the target over the text."""
    target = Decoder(SPEC, dtype=torch.float64)
    prompts = torch.randint(SPEC.vocab_size, (2, 7), generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        loop = start_loop(target, eagle(target), tree, prompts, room=40)
        for _ in range(6):
            loop.cycle()
        assert loop.fed is not None
        for row, length in enumerate(loop.batch.lengths.tolist()):
            features, _ = target_features(target, loop.batch.tokens[row : row + 1, : length + 1])
            torch.testing.assert_close(loop.fed[row, 1 : length + 1], features[0, :length])


@pytest.mark.parametrize("tree", [chain(3), full_tree([3, 2, 1])])
def test_each_drafted_node_is_fed_the_prediction_of_its_parent(tree: DraftTree) -> None:
    target = Decoder(SPEC, dtype=torch.float64)
    prompts = torch.randint(SPEC.vocab_size, (2, 7), generator=torch.Generator().manual_seed(1))
    draft, calls = eagle(target), []
    whole = draft.forward

    def noted(tokens: torch.Tensor, fed: torch.Tensor, cache: KVCache, place: Placement) -> torch.Tensor:
        out = whole(tokens, fed, cache, place)
        calls.append((fed, out))
        return out

    draft.forward = noted  # type: ignore[method-assign]
    with torch.inference_mode():
        loop = start_loop(target, draft, tree, prompts, room=40)
        calls.clear()
        loop.propose()
    predicted = {0: calls[0][1][:, -1]}
    for level, (fed, out) in zip(loop.tables.levels[1:], calls[1:], strict=True):
        for at, row in enumerate(level.rows.tolist()):
            parent = int(loop.tables.parents[row - 1])
            torch.testing.assert_close(fed[:, at], predicted[parent])
            predicted[row] = out[:, at]
