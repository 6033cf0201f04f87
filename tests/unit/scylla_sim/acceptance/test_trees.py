"""Draft trees and their tokens per cycle, by hand."""

import numpy as np
import pytest

from scylla_sim.acceptance import profiles, trees
from scylla_sim.checks import InputError


def test_chain_is_the_chain_formula():
    alpha = [0.9, 0.7, 0.4]
    column = np.array(alpha)[:, None]
    assert trees.tokens_per_cycle(trees.chain(3), column) == pytest.approx(float(profiles.tokens_per_cycle(alpha)))


def test_full_tree_by_hand():
    """Depth 1 accepts with probability 0.6 + 0.2, and depth 2 with 0.8 (0.5 + 0.3)."""
    tree = trees.full_tree([2, 2])
    assert tree.paths() == [(0,), (1,), (0, 0), (0, 1), (1, 0), (1, 1)]
    p = [[0.6, 0.2], [0.5, 0.3]]
    assert trees.depth_survival(tree, p) == pytest.approx([0.8, 0.64])
    assert trees.tokens_per_cycle(tree, p) == pytest.approx(2.44)


def test_equivalent_chain_has_the_distribution_of_the_tree():
    tree, p = trees.full_tree([2, 2]), [[0.6, 0.2], [0.5, 0.3]]
    rates = profiles.to_conditional(trees.depth_survival(tree, p))
    assert profiles.cycle_distribution(rates) == pytest.approx([0.2, 0.16, 0.64])


def test_sparse_tree_skips_ranks():
    """A Medusa-style tree: (0), (1), (0, 0), (0, 2)."""
    tree = trees.from_paths([(0, 2), (0,), (0, 0), (1,)])
    p = [[0.5, 0.2, 0.1], [0.4, 0.3, 0.1]]
    assert trees.tokens_per_cycle(tree, p) == pytest.approx(1 + 0.5 + 0.2 + 0.5 * 0.4 + 0.5 * 0.1)
    assert tree.paths() == [(0,), (1,), (0, 0), (0, 2)]


def test_many_profiles_at_once():
    rates = np.linspace(0.1, 0.9, 7)
    p = np.broadcast_to(profiles.rank_profile(rates, 3)[:, None, :], (7, 4, 3))
    tree = trees.full_tree([3, 2, 1, 1])
    together = trees.tokens_per_cycle(tree, p)
    assert together == pytest.approx([float(trees.tokens_per_cycle(tree, one)) for one in p])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: trees.DraftTree((-1, 2, 0), (0, 0, 0)), r"parents\[1\]=2 must be -1 or an earlier node"),
        (lambda: trees.DraftTree((-1, -1), (0, 0)), "must differ between siblings"),
        (lambda: trees.DraftTree((-1,), (-1,)), r"ranks\[0\]=-1 must be at least 0"),
        (lambda: trees.DraftTree((), ()), "must have one entry per node"),
        (lambda: trees.from_paths([(0,), (1, 0)]), r"paths=\(1, 0\) needs its parent among the paths; add \(1,\)"),
        (lambda: trees.from_paths([(0,), (0,)]), "must not be given twice"),
        (lambda: trees.full_tree([]), "must have at least one depth"),
        (lambda: trees.tokens_per_cycle(trees.chain(3), [[0.5]]), "must cover the tree's 3 depths and 1 ranks"),
    ],
)
def test_bad_trees_are_named(call, message):
    with pytest.raises(InputError, match=message):
        call()
