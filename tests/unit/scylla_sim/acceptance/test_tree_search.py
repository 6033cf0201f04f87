"""The best static tree and the beam tree, against Medusa, EAGLE-2 and SGLang."""

import numpy as np
import pytest

from scylla_sim.acceptance import profiles, tree_search, trees
from scylla_sim.checks import InputError

# Top-1..5 accuracy of Medusa-1's heads for Vicuna-7B. Source: FasterDecoding/Medusa, assets/medusa_acc.csv.
MEDUSA_7B = np.array(
    [
        [0.56039, 0.67172, 0.72714, 0.75994, 0.77995],
        [0.31635, 0.42358, 0.48509, 0.52821, 0.56250],
        [0.20104, 0.28790, 0.34754, 0.38345, 0.41687],
        [0.14737, 0.22502, 0.27373, 0.31088, 0.33971],
        [0.11754, 0.18663, 0.23459, 0.27212, 0.29983],
    ]
)
# Medusa's 63-node tree for it, each node its ranks. Source: FasterDecoding/Medusa, medusa/model/medusa_choices.py.
MEDUSA_TREE = trees.from_paths(
    [
        tuple(int(rank) for rank in path)
        for path in (
            "0 1 2 3 4 5 6 7 8 9 00 01 02 03 04 05 06 07 08 09 10 11 12 13 14 15 16 20 21 22 30 31 40 50 60 70 80 "
            "90 000 001 002 003 004 005 006 007 008 009 010 011 012 020 021 030 040 050 060 070 100 101 200 "
            "0000 0001"
        ).split()
    ]
)


def test_medusas_published_tree_is_the_best_tree_of_its_published_accuracies():
    """With printed ranks 2-5 and default ranks 6-10, 62 of 63 nodes agree, and tau agrees to 1e-4."""
    p = profiles.rank_profile(MEDUSA_7B[:, 0], 10)
    p[:, 1:5] = np.diff(MEDUSA_7B, axis=1)
    best = tree_search.best_tree(p, 63)
    assert MEDUSA_TREE.num_nodes == 63
    assert len(set(best.paths()) & set(MEDUSA_TREE.paths())) >= 62
    assert trees.tokens_per_cycle(MEDUSA_TREE, p) == pytest.approx(float(trees.tokens_per_cycle(best, p)), abs=2e-4)


def test_the_default_rank_law_alone_finds_medusas_tree_from_its_top_1_accuracies():
    best = tree_search.best_tree(profiles.rank_profile(MEDUSA_7B[:, 0], 10), 63)
    assert len(set(best.paths()) & set(MEDUSA_TREE.paths())) >= 60


def test_best_tree_takes_the_most_probable_nodes():
    p = [[0.5, 0.3], [0.6, 0.1]]
    assert tree_search.best_tree(p, 4).paths() == [(0,), (1,), (0, 0), (1, 0)]
    assert tree_search.best_tree(p, 100).num_nodes == 6, "an exhausted profile bounds the tree"


def test_best_tree_sorts_ranks_itself():
    assert tree_search.best_tree([[0.1, 0.7]], 1).paths() == [(1,)]


def test_beam_of_one_is_a_chain():
    assert tree_search.beam_tree([[0.8, 0.1]] * 4, top_k=1) == trees.chain(4)


def test_beam_keeps_top_k_per_depth():
    """At depth 2 of ranks (0.6, 0.3): 0.36, 0.18 and 0.18 compete for the second place of the beam."""
    p = np.tile([0.6, 0.3], (3, 1))
    tree = tree_search.beam_tree(p, top_k=2)
    assert tree.widths == (2, 2, 2)
    assert tree.paths() == [(0,), (1,), (0, 0), (0, 1), (0, 0, 0), (0, 0, 1)]


def test_a_wider_beam_never_lowers_tau():
    """The best n nodes have at least the tau of a chain of n. test_positions.py shows measured exceptions."""
    p = np.broadcast_to(profiles.rank_profile(0.55, 4), (5, 4))
    wide = tree_search.beam_tree(p, top_k=4, verify_tokens=6)
    assert trees.tokens_per_cycle(wide, p) >= trees.tokens_per_cycle(trees.chain(5), p)
    assert wide.draft_len < 5, "it spends a node on a second choice instead of the last depth"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: tree_search.best_tree([[0.7, 0.4]], 2), "must sum to at most 1"),
        (lambda: tree_search.beam_tree([[0.7]], top_k=2), "at least top_k=2"),
        (lambda: tree_search.beam_tree([[0.7]], top_k=1, verify_tokens=9), "exceeds the 2 tokens"),
    ],
)
def test_bad_trees_are_named(call, message):
    with pytest.raises(InputError, match=message):
        call()


def test_the_root_is_one_of_the_verified_tokens():
    p = np.array([[0.6, 0.2], [0.5, 0.2]])
    assert [tree_search.beam_tree(p, top_k=2, verify_tokens=n).num_nodes for n in (2, 4, 7)] == [1, 3, 6]
