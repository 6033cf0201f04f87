"""Draft trees: which candidate continuations a target verifies in one pass, and what they are worth.

A node is one drafted token. The root, the last token already in the context, is not a node but is verified with
the tree, so a tree of n nodes hands ``n + 1`` tokens to the target (SGLang's ``num_draft_tokens`` counts it).
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scylla_sim.acceptance.profiles import check_rank_profile, rank_profile, solve_rate
from scylla_sim.checks import FloatArray, fail, whole

IntArray = NDArray[np.int64]
ROOT = -1


@dataclass(frozen=True)
class DraftTree:
    """A draft tree that exists is valid: parents precede children, and siblings differ in rank.

    Attributes
    ----------
    parents
        Index of each node's parent; -1 is the root.
    ranks
        Which choice of the draft at its parent a node is; 0 is the most probable. Ranks may be skipped.

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
        seen = set(zip(self.parents, self.ranks))
        if len(seen) != len(self.parents):
            raise fail("ranks", self.ranks, "must differ between siblings")
        for node, (parent, rank) in enumerate(zip(self.parents, self.ranks)):
            if not ROOT <= parent < node:
                raise fail(f"parents[{node}]", parent, "must be -1 or an earlier node")
            if rank < 0:
                raise fail(f"ranks[{node}]", rank, "must be at least 0")

    @property
    def num_nodes(self) -> int:
        """Drafted tokens that are verified."""
        return len(self.parents)

    @property
    def verify_tokens(self) -> int:
        """Tokens the target scores per cycle: the nodes and the root."""
        return self.num_nodes + 1

    @cached_property
    def depths(self) -> IntArray:
        """Depth of each node, 1 for children of the root."""
        depths: list[int] = []
        for parent in self.parents:
            depths.append(1 if parent == ROOT else depths[parent] + 1)
        return np.array(depths, dtype=np.int64)

    @property
    def draft_len(self) -> int:
        """Depth of the deepest node: sequential draft steps a cycle needs."""
        return int(self.depths.max())

    @property
    def widths(self) -> tuple[int, ...]:
        """Nodes at depth 1, 2, ..., draft_len."""
        return tuple(np.bincount(self.depths)[1:].tolist())

    @cached_property
    def _levels(self) -> tuple[tuple[IntArray, IntArray], ...]:
        """Per depth: position of each node's parent within the level above, and the node's rank."""
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
        """Ranks from the root to each node: the form in which Medusa writes its trees."""
        paths: list[tuple[int, ...]] = []
        for parent, rank in zip(self.parents, self.ranks):
            paths.append(((*paths[parent], rank)) if parent != ROOT else (rank,))
        return paths


def chain(draft_len: int) -> DraftTree:
    """A tree of width 1: plain speculative decoding.

    Examples
    --------
    >>> chain(3).paths()
    [(0,), (0, 0), (0, 0, 0)]
    """
    length = int(whole("draft_len", draft_len, 1))
    return DraftTree(tuple(range(-1, length - 1)), (0,) * length)


def full_tree(branching: Sequence[int]) -> DraftTree:
    """Every node at depth d has the draft's ``branching[d]`` best choices as children (k-ary if all are equal).

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
    """Tree from rank paths, as in Medusa's ``medusa_choices``; every prefix of a path must be given too.

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
    """Probability that a cycle accepts at least 1, 2, ..., draft_len drafted tokens of a tree.

    Parameters
    ----------
    rank_probability
        Rank profile, shape (..., depth, ranks), with at least the tree's depth and ranks.

    Returns
    -------
    Shape (..., tree.draft_len): sum over the nodes of a depth of the product of rank probabilities on their path.
    It is a cumulative profile (`scylla_sim.acceptance.profiles.to_conditional` gives the equivalent chain).

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
    """Mean tokens per cycle of a tree, bonus token included: 1 + sum over nodes of their path probability.

    Shapes as in `depth_survival`; the result, shape (...), lies in [1, draft_len + 1].

    Notes
    -----
    Source: Cai et al. (Medusa), arXiv 2401.10774, on tree construction; Chen et al. (Sequoia), arXiv 2402.12374.

    Examples
    --------
    >>> float(tokens_per_cycle(chain(2), [[0.8], [0.5]]))
    2.2
    """
    return np.asarray(1.0 + depth_survival(tree, rank_probability).sum(axis=-1))


def best_tree(rank_probability: ArrayLike, num_nodes: int) -> DraftTree:
    """The static tree of at most ``num_nodes`` nodes with the highest tokens per cycle under a rank profile.

    A node is never worth more than its parent, nor than its sibling of higher probability, so taking the most
    valuable reachable node each time is optimal; a heap makes it O(n log n). Depth and width are limited by the
    profile's shape: pass ``p[:depth, :width]``. The tree is smaller than asked only when the profile is exhausted.

    Parameters
    ----------
    rank_probability
        One rank profile, shape (depth, ranks); ranks need not be sorted.

    Notes
    -----
    Source: Sequoia, arXiv 2402.12374, finds the same optimum by dynamic programming.

    Examples
    --------
    >>> best_tree([[0.6, 0.3], [0.5, 0.1]], 3).paths()
    [(0,), (1,), (0, 0)]
    """
    p = check_rank_profile(rank_probability)
    if p.ndim != 2:
        raise fail("rank_probability", p.shape, "must be one profile of shape (depth, ranks)")
    limit = int(whole("num_nodes", num_nodes, 1))
    order = np.argsort(-p, axis=-1, kind="stable").tolist()
    chance = (-np.sort(-p, axis=-1)).tolist()
    parents: list[int] = []
    ranks: list[int] = []
    # (minus value, tie-break: shallow and early first, parent's value, parent, depth, place among the siblings)
    heap = [(-chance[0][0], 0, 1.0, ROOT, 0, 0)]
    pushed = 1
    while heap and len(parents) < limit:
        value, _, above, parent, depth, place = heapq.heappop(heap)
        node = len(parents)
        parents.append(parent)
        ranks.append(order[depth][place])
        if place + 1 < len(chance[depth]):
            heapq.heappush(heap, (-above * chance[depth][place + 1], pushed, above, parent, depth, place + 1))
            pushed += 1
        if depth + 1 < len(chance):
            heapq.heappush(heap, (value * chance[depth + 1][0], pushed, -value, node, depth + 1, 0))
            pushed += 1
    return DraftTree(tuple(parents), tuple(ranks))


def beam_tree(rank_probability: ArrayLike, *, top_k: int, verify_tokens: int | None = None) -> DraftTree:
    """Tree of a beam drafter in its average context: SGLang's (steps, topk, num_draft_tokens), EAGLE-2's expansion.

    Each of the profile's depths is one draft step: the ``top_k`` best candidates of the step before are expanded by
    their ``top_k`` best choices each. ``verify_tokens - 1`` best of all candidates are verified; ``None`` verifies
    the ``top_k`` candidates kept at each depth.

    Parameters
    ----------
    rank_probability
        One rank profile, shape (steps, ranks), ranks falling, at least ``top_k`` of them.
    verify_tokens
        Root included. A budget beyond all candidates is refused.

    Notes
    -----
    Source: Li et al. (EAGLE-2), arXiv 2406.16858, sections 4.1-4.2 (expand, then rerank); SGLang server arguments
    speculative_num_steps, speculative_eagle_topk, speculative_num_draft_tokens.

    Examples
    --------
    >>> p = [[0.6, 0.2], [0.5, 0.2], [0.5, 0.2]]
    >>> beam_tree(p, top_k=2).widths, beam_tree(p, top_k=2, verify_tokens=5).paths()
    ((2, 2, 2), [(0,), (1,), (0, 0), (0, 0, 0)])
    """
    p = check_rank_profile(rank_probability)
    k = int(whole("top_k", top_k, 1))
    if p.ndim != 2 or p.shape[1] < k:
        raise fail("rank_probability", p.shape, f"must be one profile of shape (steps, at least top_k={k})")
    parents: list[IntArray] = []
    ranks: list[IntArray] = []
    values: list[FloatArray] = []
    kept: list[IntArray] = []
    beam, beam_value, count = np.array([ROOT]), np.ones(1), 0
    for chance in p[:, :k]:
        parents.append(np.repeat(beam, k))
        ranks.append(np.tile(np.arange(k), beam.size))
        values.append((beam_value[:, None] * chance).ravel())
        best = np.argsort(-values[-1], kind="stable")[:k]
        beam, beam_value = count + best, values[-1][best]
        kept.append(beam)
        count += values[-1].size
    if verify_tokens is None:
        chosen = np.concatenate(kept)
    else:
        limit = int(whole("verify_tokens", verify_tokens, 2, hint="the root and at least one node"))
        if limit > count + 1:
            raise fail(
                "verify_tokens", limit, f"exceeds the {count + 1} tokens that {len(p)} steps of top_k={k} yield"
            )
        chosen = np.argsort(-np.concatenate(values), kind="stable")[: limit - 1]
    return _subtree(np.concatenate(parents), np.concatenate(ranks), np.sort(chosen))


def _subtree(parents: IntArray, ranks: IntArray, nodes: IntArray) -> DraftTree:
    """Renumber chosen candidates, which hold all their ancestors, into a tree."""
    index = {int(node): new for new, node in enumerate(nodes)} | {ROOT: ROOT}
    return DraftTree(tuple(index[int(parents[node])] for node in nodes), tuple(int(ranks[node]) for node in nodes))


def tree_rate(tau: ArrayLike, tree: DraftTree) -> FloatArray:
    """The top-1 rate, equal at every depth, with which a fixed tree yields ``tau`` under the default rank law.

    Examples
    --------
    >>> float(tree_rate(2.2, chain(2)).round(4))
    0.7042
    """
    width = max(tree.ranks) + 1

    def tau_of(rate: FloatArray) -> FloatArray:
        p = rank_profile(rate, width)[..., None, :]
        return tokens_per_cycle(tree, np.broadcast_to(p, (*rate.shape, tree.draft_len, width)))

    return solve_rate(tau, tau_of)


def beam_rate(tau: float, *, draft_len: int, top_k: int, verify_tokens: int | None = None) -> float:
    """The top-1 rate with which a beam drafter yields ``tau``; the tree follows the rate.

    Examples
    --------
    >>> round(beam_rate(4.5, draft_len=6, top_k=10, verify_tokens=61), 3)
    0.735
    """

    def tau_of(rates: FloatArray) -> FloatArray:
        taus = [_beam_tau(float(rate), draft_len, top_k, verify_tokens) for rate in rates.ravel()]
        return np.array(taus).reshape(rates.shape)

    return float(solve_rate(tau, tau_of))


def _beam_tau(rate: float, draft_len: int, top_k: int, verify_tokens: int | None) -> float:
    p = np.broadcast_to(rank_profile(rate, top_k), (draft_len, top_k))
    return float(tokens_per_cycle(beam_tree(p, top_k=top_k, verify_tokens=verify_tokens), p))
