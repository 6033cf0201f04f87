"""Draft trees, which the target verifies in one pass, and their tokens per cycle.

A node is one drafted token. The root is the last token of the context. It is not a node, but the target verifies it
with the tree. The target therefore scores ``n + 1`` tokens for a tree of n nodes. SGLang's ``num_draft_tokens``
also counts the root. `scylla_sim.acceptance.tree_search` chooses trees for a rank profile.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scylla_sim.acceptance.profiles import check_rank_profile
from scylla_sim.checks import FloatArray, fail, whole

IntArray = NDArray[np.int64]
"""Array of whole numbers."""

ROOT = -1
"""Parent of the nodes at depth 1."""


@dataclass(frozen=True)
class DraftTree:
    """A draft tree, in which parents precede children and siblings differ in rank.

    Attributes
    ----------
    parents
        Index of each node's parent; -1 is the root.
    ranks
        Rank of each node among the draft's choices at its parent; 0 is the most probable choice. Ranks may have
        gaps.

    Raises
    ------
    InputError
        For parents and ranks that do not form a tree.

    Examples
    --------
    >>> tree = DraftTree(parents=(-1, -1, 0), ranks=(0, 1, 0))
    >>> tree.num_nodes, tree.verify_tokens, tree.draft_len, tree.depths.tolist()
    (3, 4, 2, [1, 1, 2])
    """

    parents: tuple[int, ...]
    ranks: tuple[int, ...]

    def __post_init__(self) -> None:
        """Check the fields."""
        if not self.parents or len(self.parents) != len(self.ranks):
            raise fail("ranks", self.ranks, f"must have one entry per node ({len(self.parents)}, at least 1)")
        if len(set(zip(self.parents, self.ranks))) != len(self.parents):
            raise fail("ranks", self.ranks, "must differ between siblings")
        for node, (parent, rank) in enumerate(zip(self.parents, self.ranks)):
            if not ROOT <= parent < node:
                raise fail(f"parents[{node}]", parent, "must be -1 or an earlier node")
            if rank < 0:
                raise fail(f"ranks[{node}]", rank, "must be at least 0")

    @property
    def num_nodes(self) -> int:
        """Number of drafted tokens."""
        return len(self.parents)

    @property
    def verify_tokens(self) -> int:
        """Number of tokens that the target verifies: the nodes and the root."""
        return self.num_nodes + 1

    @cached_property
    def depths(self) -> IntArray:
        """Depth of each node; children of the root have depth 1."""
        depths: list[int] = []
        for parent in self.parents:
            depths.append(1 if parent == ROOT else depths[parent] + 1)
        return np.array(depths, dtype=np.int64)

    @property
    def draft_len(self) -> int:
        """Depth of the deepest node, which is the number of sequential draft passes."""
        return int(self.depths.max())

    @property
    def widths(self) -> tuple[int, ...]:
        """Number of nodes at depth 1, 2, ..., draft_len."""
        return tuple(np.bincount(self.depths)[1:].tolist())

    @cached_property
    def _levels(self) -> tuple[tuple[IntArray, IntArray], ...]:
        """Position of each node's parent in the level above, and rank of each node, by depth."""
        parents, ranks, depths = np.array(self.parents), np.array(self.ranks), self.depths
        place = np.zeros(self.num_nodes, dtype=np.int64)
        levels = []
        for depth in range(1, self.draft_len + 1):
            nodes = np.flatnonzero(depths == depth)
            place[nodes] = np.arange(nodes.size)
            above = place[parents[nodes]] if depth > 1 else np.zeros(nodes.size, dtype=np.int64)
            levels.append((above, ranks[nodes]))
        return tuple(levels)

    def paths(self) -> list[tuple[int, ...]]:
        """Return the ranks from the root to each node, as Medusa writes its trees."""
        paths: list[tuple[int, ...]] = []
        for parent, rank in zip(self.parents, self.ranks):
            paths.append(((*paths[parent], rank)) if parent != ROOT else (rank,))
        return paths


def chain(draft_len: int) -> DraftTree:
    """Return a chain, which is a tree of width 1.

    Examples
    --------
    >>> chain(3).paths()
    [(0,), (0, 0), (0, 0, 0)]
    """
    length = int(whole("draft_len", draft_len, 1))
    return DraftTree(tuple(range(-1, length - 1)), (0,) * length)


def full_tree(branching: Sequence[int]) -> DraftTree:
    """Return a tree in which every node at depth d has ``branching[d]`` children.

    Examples
    --------
    >>> full_tree([2, 2]).widths
    (2, 4)
    """
    if not branching:
        raise fail("branching", list(branching), "must have at least one depth")
    parents: list[int] = []
    ranks: list[int] = []
    level = [ROOT]
    for width in whole("branching", list(branching), 1).tolist():
        start = len(parents)
        parents += [node for node in level for _ in range(width)]
        ranks += list(range(width)) * len(level)
        level = list(range(start, len(parents)))
    return DraftTree(tuple(parents), tuple(ranks))


def from_paths(paths: Sequence[Sequence[int]]) -> DraftTree:
    """Return the tree of given rank paths, such as Medusa's ``medusa_choices``.

    Every prefix of a path must also be a path.

    Raises
    ------
    InputError
        For an empty list, a path that appears twice, or a path without its parent.

    Examples
    --------
    >>> from_paths([(0,), (1,), (0, 0), (0, 2)]).parents
    (-1, -1, 0, 0)
    """
    ordered = sorted((tuple(int(rank) for rank in path) for path in paths), key=lambda path: (len(path), path))
    if not ordered or not ordered[0]:
        raise fail("paths", paths, "must hold at least one path, none of them empty")
    repeated = [path for path, times in Counter(ordered).items() if times > 1]
    if repeated:
        raise fail("paths", repeated[0], "must not be given twice")
    index = {path: node for node, path in enumerate(ordered)} | {(): ROOT}
    for path in ordered:
        if path[:-1] not in index:
            raise fail("paths", path, "needs its parent among the paths", f"add {path[:-1]}")
    return DraftTree(tuple(index[path[:-1]] for path in ordered), tuple(path[-1] for path in ordered))


def depth_survival(tree: DraftTree, rank_probability: ArrayLike) -> FloatArray:
    """Return the probabilities that a cycle accepts at least 1, 2, ..., draft_len drafted tokens of a tree.

    Parameters
    ----------
    tree
        The draft tree.
    rank_probability
        Rank profile, shape (..., depth, ranks), with at least the tree's depth and ranks.

    Returns
    -------
    ndarray
        Shape (..., tree.draft_len). Each entry sums, over the nodes of a depth, the product of the rank
        probabilities on their path. This is a cumulative profile; `scylla_sim.acceptance.profiles.to_conditional`
        gives the equivalent chain.

    Examples
    --------
    >>> depth_survival(full_tree([2, 1]), [[0.6, 0.2], [0.5, 0.1]]).round(3).tolist()
    [0.8, 0.4]
    """
    p = check_rank_profile(rank_probability)
    need = (tree.draft_len, max(tree.ranks) + 1)
    if p.shape[-2] < need[0] or p.shape[-1] < need[1]:
        raise fail("rank_probability", p.shape, f"must cover the tree's {need[0]} depths and {need[1]} ranks")
    reached = np.ones((*p.shape[:-2], 1))
    survival = np.empty((*p.shape[:-2], tree.draft_len))
    for depth, (above, ranks) in enumerate(tree._levels):
        reached = reached[..., above] * p[..., depth, ranks]
        survival[..., depth] = reached.sum(axis=-1)
    return np.minimum(survival, 1.0)


def tokens_per_cycle(tree: DraftTree, rank_probability: ArrayLike) -> FloatArray:
    """Return the mean number of tokens per cycle of a tree, bonus token included.

    tau is 1 plus the sum of the path probabilities of all nodes.

    Parameters
    ----------
    tree
        The draft tree.
    rank_probability
        Rank profile, shape (..., depth, ranks), with at least the tree's depth and ranks.

    Returns
    -------
    ndarray
        tau, shape (...), in [1, draft_len + 1].

    Notes
    -----
    Source: Cai et al. (Medusa), arXiv 2401.10774, on tree construction; Chen et al. (Sequoia), arXiv 2402.12374.

    Examples
    --------
    >>> float(tokens_per_cycle(chain(2), [[0.8], [0.5]]))
    2.2
    """
    return np.asarray(1.0 + depth_survival(tree, rank_probability).sum(axis=-1))
