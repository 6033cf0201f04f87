"""The draft-verify loop with and without reads from the device."""

from __future__ import annotations

import pytest
import torch

from gpu_validate.decoding.decode import start_loop
from gpu_validate.models.decoder import Decoder
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
