"""Draft trees for a rank profile: the best static tree, and the tree of a beam drafter."""

from __future__ import annotations

import heapq

import numpy as np
from numpy.typing import ArrayLike

from scylla_sim.acceptance.profiles import check_rank_profile
from scylla_sim.acceptance.trees import ROOT, DraftTree, IntArray
from scylla_sim.checks import FloatArray, fail, whole


def best_tree(rank_probability: ArrayLike, num_nodes: int) -> DraftTree:
    """Return the static tree of at most ``num_nodes`` nodes with the highest tokens per cycle.

    Parameters
    ----------
    rank_probability
        One rank profile, shape (depth, ranks); ranks need not be sorted. Its shape limits depth and width of the
        tree.
    num_nodes
        Largest number of nodes. The tree has fewer nodes only if the profile has fewer.

    Notes
    -----
    The path probability of a node never exceeds that of its parent or of a more probable sibling. It is therefore
    optimal to add the most probable reachable node each time. A heap makes this O(n log n).

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
    probability = (-np.sort(-p, axis=-1)).tolist()
    parents: list[int] = []
    ranks: list[int] = []
    # (-probability, order for ties: shallow and early first, parent's probability, parent, depth, sibling index)
    heap = [(-probability[0][0], 0, 1.0, ROOT, 0, 0)]
    pushed = 1
    while heap and len(parents) < limit:
        value, _, above, parent, depth, place = heapq.heappop(heap)
        node = len(parents)
        parents.append(parent)
        ranks.append(order[depth][place])
        if place + 1 < len(probability[depth]):
            heapq.heappush(heap, (-above * probability[depth][place + 1], pushed, above, parent, depth, place + 1))
            pushed += 1
        if depth + 1 < len(probability):
            heapq.heappush(heap, (value * probability[depth + 1][0], pushed, -value, node, depth + 1, 0))
            pushed += 1
    return DraftTree(tuple(parents), tuple(ranks))


def beam_tree(rank_probability: ArrayLike, *, top_k: int, verify_tokens: int | None = None) -> DraftTree:
    """Return the tree of a beam drafter in its average context.

    Each depth is one draft pass. The ``top_k`` best candidates of the pass before get ``top_k`` children each. The
    target then verifies the best of all candidates.

    Parameters
    ----------
    rank_probability
        One rank profile, shape (passes, ranks), with at least ``top_k`` falling ranks.
    top_k
        Candidates kept per depth, and children of each.
    verify_tokens
        Tokens that the target verifies, root included. ``None`` verifies the ``top_k`` candidates of each depth.

    Raises
    ------
    InputError
        For more ``verify_tokens`` than candidates.

    Notes
    -----
    Source: Li et al. (EAGLE-2), arXiv 2406.16858, sections 4.1 and 4.2 (expansion, reranking). The arguments are
    SGLang's speculative_num_steps, speculative_eagle_topk and speculative_num_draft_tokens.

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
    for probability in p[:, :k]:
        parents.append(np.repeat(beam, k))
        ranks.append(np.tile(np.arange(k), beam.size))
        values.append((beam_value[:, None] * probability).ravel())
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
    """Return the tree of chosen candidates; all their ancestors must be chosen too."""
    index = {int(node): new for new, node in enumerate(nodes)} | {ROOT: ROOT}
    return DraftTree(tuple(index[int(parents[node])] for node in nodes), tuple(int(ranks[node]) for node in nodes))
