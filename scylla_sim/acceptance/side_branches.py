"""Tokens per cycle of trees whose side branches are accepted less often than their main chain.

A rank profile is measured after first choices. Text in which the first choice fails is harder, so the choices after
it fail more often too. In a side branch, the log-odds of all ranks are lower by one number. For drafts of this
project it is nearly the same at all training tokens, layers and temperatures; see ``docs/small-scale.md``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from scylla_sim.acceptance.profiles import check_rank_profile
from scylla_sim.acceptance.trees import ROOT, DraftTree
from scylla_sim.checks import FloatArray, fail


def to_log_odds(rank_probability: ArrayLike, cycles: ArrayLike = 1e6) -> FloatArray:
    """Return the log-odds that the target's token is among the first 1, 2, ... choices.

    Parameters
    ----------
    rank_probability
        Rank profile, shape (..., depth, ranks).
    cycles
        Cycles that each depth was measured in, shape (..., depth). They bound the log-odds of 0 and 1.

    Examples
    --------
    >>> to_log_odds([[0.5, 0.25]]).round(3).tolist()
    [[0.0, 1.099]]
    """
    within = np.cumsum(check_rank_profile(rank_probability), axis=-1)
    least = np.asarray(0.5 / np.maximum(np.asarray(cycles, dtype=np.float64), 1.0))[..., None]
    within = np.clip(within, least, 1.0 - least)
    return np.asarray(np.log(within / (1.0 - within)))


def from_log_odds(log_odds: ArrayLike) -> FloatArray:
    """Return the rank profile of log-odds that rise over the ranks; a fall counts as probability 0.

    Examples
    --------
    >>> from_log_odds([[0.0, 1.0986123]]).round(3).tolist()
    [[0.5, 0.25]]
    """
    within = 1.0 / (1.0 + np.exp(-np.asarray(log_odds, dtype=np.float64)))
    within = np.maximum.accumulate(within, axis=-1)
    return np.asarray(np.diff(within, axis=-1, prepend=0.0))


def branch_tokens_per_cycle(tree: DraftTree, rank_probability: ArrayLike, shift: ArrayLike) -> FloatArray:
    """Return the mean number of tokens per cycle of a tree, with lower log-odds in side branches.

    Parameters
    ----------
    tree
        The draft tree.
    rank_probability
        Rank profile after first choices, shape (..., depth, ranks), with at least the tree's depth and ranks.
    shift
        Fall of the log-odds behind a node that is no first choice, shape (...). At 0, side branches are like the
        main chain, and the result is that of `scylla_sim.acceptance.trees.tokens_per_cycle`.

    Returns
    -------
    ndarray
        tau, shape (...).

    Examples
    --------
    >>> from scylla_sim.acceptance.trees import full_tree
    >>> profile = [[0.5, 0.5], [0.5, 0.0]]
    >>> [round(float(branch_tokens_per_cycle(full_tree([2, 1]), profile, shift)), 3) for shift in (0.0, 1.0986123)]
    [2.5, 2.375]
    """
    return np.asarray(branch_tokens_of_trees([tree], rank_probability, shift)[..., 0])


def branch_tokens_of_trees(trees: Sequence[DraftTree], rank_probability: ArrayLike, shift: ArrayLike) -> FloatArray:
    """Return the tokens per cycle of several trees, shape (..., trees); see `branch_tokens_per_cycle`."""
    p = check_rank_profile(rank_probability)
    lower = from_log_odds(to_log_odds(p) - np.asarray(shift, dtype=np.float64)[..., None, None])
    return np.stack([_tokens_per_cycle(tree, p, lower) for tree in trees], axis=-1)


def _tokens_per_cycle(tree: DraftTree, p: FloatArray, lower: FloatArray) -> FloatArray:
    """Return the tokens per cycle of a tree, with one rank profile of the main chain and one of side branches."""
    if p.shape[-2] < tree.draft_len or p.shape[-1] <= max(tree.ranks):
        need = f"{tree.draft_len} depths and {max(tree.ranks) + 1} ranks"
        raise fail("rank_probability", p.shape, f"must cover the tree's {need}")
    reached: list[FloatArray] = []
    side: list[bool] = []
    total = np.ones(lower.shape[:-2])
    for parent, rank, depth in zip(tree.parents, tree.ranks, tree.depths):
        branch = parent != ROOT and side[parent]
        here = (lower if branch else p)[..., depth - 1, rank]
        reached.append(here if parent == ROOT else reached[parent] * here)
        side.append(branch or rank > 0)
        total = total + reached[-1]
    return total
