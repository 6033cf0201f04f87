"""Experts that tokens of one sequence have in common."""

import pytest

from scylla_sim.prediction.expert_overlap import expert_overlap, with_overlap
from scylla_sim.specs import catalog


def test_chains_and_trees_have_overlaps_of_their_own():
    chain, tree = (expert_overlap(tree=tree) for tree in (False, True))
    assert float(chain.value) != float(tree.value)
    mixtral = catalog.model("mixtral-8x7b")
    for tree, one in ((False, chain), (True, expert_overlap(tree=True))):
        moe = with_overlap(mixtral, tree=tree).moe
        assert (moe.expert_overlap, moe.expert_overlap_range) == (one.value, (one.lower, one.upper))


@pytest.mark.parametrize("name", ["llama-3.1-8b", "mixtral-8x7b"])
def test_a_given_overlap_and_a_dense_model_stay(name):
    model = catalog.model(name)
    given = model if model.moe is None else model.with_expert_overlap(0.1)
    assert with_overlap(given, tree=False) == given
