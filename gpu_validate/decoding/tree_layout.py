"""Placement of tokens in sequences of different lengths, for plain steps and draft trees.

The cache contains the first L tokens of a sequence of length L. Token L is known but not in the cache: it is the
root of the next draft tree. Node j of the tree uses slot L + 1 + j at position L + depth(j). Slots beyond a
sequence's length are scratch space. No mask makes them visible to a later query, so rejected tokens need no
erasure.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gpu_validate.models.attention import Placement, causal_visibility, packed_mask, visible_slots
from gpu_validate.models.decoder import KVCache
from scylla_sim.acceptance.trees import ROOT, DraftTree
from scylla_sim.specs.model import Model


@dataclass(frozen=True)
class Level:
    """Nodes of one depth and their parents.

    Attributes
    ----------
    rows
        Rows with children, on which the draft runs.
    nodes
        The children.
    parents
        Index of each node's parent in ``rows``.
    order
        Index of each node among its siblings.
    best
        Number of the draft's best choices that the nodes need. It is a number on the host, so a CUDA graph need not
        read it.
    width
        Largest number of siblings, also a number on the host.
    """

    rows: Tensor
    nodes: Tensor
    parents: Tensor
    order: Tensor
    best: int
    width: int


@dataclass(frozen=True)
class TreeTables:
    """A draft tree as tensors. Row 0 is the root and row j + 1 is node j.

    Attributes
    ----------
    depth
        ``(num_nodes + 1,)`` depth of each row; 0 for the root.
    visible
        ``(num_nodes + 1, num_nodes + 1)`` whether a row attends to another: the root, its ancestors and itself.
    children
        ``(num_nodes + 1, width)`` nodes in the order of their rank, padded with -1.
    parents, ranks
        ``(num_nodes,)`` row of a node's parent, and rank of the node among the draft's choices.
    levels
        Levels of the tree, that of the root's children first.
    is_chain
        Whether every node has at most one child.
    """

    depth: Tensor
    visible: Tensor
    children: Tensor
    parents: Tensor
    ranks: Tensor
    levels: tuple[Level, ...]
    is_chain: bool

    @property
    def num_nodes(self) -> int:
        """Number of nodes without the root."""
        return int(self.ranks.numel())

    @property
    def draft_len(self) -> int:
        """Number of levels."""
        return len(self.levels)

    @staticmethod
    def of(tree: DraftTree, device: str | torch.device = "cpu") -> TreeTables:
        """Return the tables of a tree on a device."""
        count = tree.num_nodes
        visible = np.zeros((count + 1, count + 1), dtype=bool)
        visible[0, 0] = True
        offspring: list[list[int]] = [[] for _ in range(count + 1)]
        for node, parent in enumerate(tree.parents):
            visible[node + 1] = visible[parent + 1]
            visible[node + 1, node + 1] = True
            offspring[parent + 1].append(node)
        width = max(map(len, offspring))
        children = np.full((count + 1, width), ROOT)
        for row, nodes in enumerate(offspring):
            ordered = sorted(nodes, key=lambda node: tree.ranks[node])
            children[row, : len(ordered)] = ordered
        depth = np.concatenate(([0], tree.depths))
        return TreeTables(
            depth=torch.as_tensor(depth, device=device),
            visible=torch.as_tensor(visible, device=device),
            children=torch.as_tensor(children, device=device),
            parents=torch.as_tensor(tree.parents, device=device) + 1,
            ranks=torch.as_tensor(tree.ranks, device=device),
            levels=tuple(_level(tree, depth, children, at, device) for at in range(tree.draft_len)),
            is_chain=tree.parents == tuple(range(-1, count - 1)),
        )


def _level(
    tree: DraftTree,
    depth: NDArray[np.int64],
    children: NDArray[np.int64],
    at: int,
    device: str | torch.device,
) -> Level:
    rows = np.flatnonzero((depth == at) & (children >= 0).any(1))
    parents, order = np.nonzero(children[rows] >= 0)
    nodes = children[rows][parents, order]
    best = 1 + max(tree.ranks[node] for node in nodes)
    tensors = [torch.as_tensor(part, device=device) for part in (rows, nodes, parents, order)]
    return Level(tensors[0], tensors[1], tensors[2], tensors[3], best, 1 + int(order.max()))


def _place(
    starts: Tensor,
    positions: Tensor,
    slots: Tensor,
    visible: Tensor,
    spec: Model,
    bound: int | None,
    context: int | None,
) -> Placement:
    """Return the placement of tokens after ``starts`` tokens; without a bound, it is read from the device."""
    if bound is None:
        bound = int(starts.max()) + visible.shape[1]
    mask = None
    if not starts.is_cuda:
        mask = packed_mask(visible_slots(starts, visible, bound), spec.num_heads // spec.num_kv_heads)
    return Placement(positions, slots, starts, visible, bound, context, mask)


def tree_placement(
    lengths: Tensor,
    rows: Tensor,
    tables: TreeTables,
    spec: Model,
    *,
    bound: int | None = None,
    context: int | None = None,
) -> Placement:
    """Return the placement of the root and nodes in ``rows`` after ``lengths`` ``(batch,)`` tokens.

    Each token attends to the committed tokens, the root, its ancestors and itself. ``bound`` and ``context`` are
    those of a `Placement`. With a bound nothing is read from the device, so a CUDA graph can contain the pass.
    """
    slots = lengths[:, None] + rows
    return _place(lengths, lengths[:, None] + tables.depth[rows], slots, tables.visible[rows], spec, bound, context)


def causal_placement(
    starts: Tensor, count: int, spec: Model, *, bound: int | None = None, context: int | None = None
) -> Placement:
    """Return the placement of the next ``count`` tokens of sequences with ``starts`` ``(batch,)`` tokens.

    ``bound`` and ``context`` are as in `tree_placement`.
    """
    slots = starts[:, None] + torch.arange(count, device=starts.device)
    return _place(starts, slots, slots, causal_visibility(count, starts.device), spec, bound, context)


def keep_path(cache: KVCache, lengths: Tensor, path: Tensor) -> None:
    """Move the keys and values of accepted nodes next to the root. The other slots become scratch space.

    All slots are read before any is written.

    Parameters
    ----------
    cache
        KV cache of a model.
    lengths
        ``(batch,)`` lengths before the cycle.
    path
        ``(batch, depth)`` accepted node at each depth, -1 from the first rejection on. Slots after a rejection
        receive arbitrary values, which lie beyond the new length.
    """
    batch = torch.arange(lengths.numel(), device=lengths.device)[:, None]
    source = lengths[:, None] + 1 + path.clamp(min=0)
    target = lengths[:, None] + 1 + torch.arange(path.shape[1], device=lengths.device)
    for store in (cache.keys, cache.values):
        store[:, batch, :, target] = store[:, batch, :, source]
