"""Places of tokens in sequences of different lengths: plain steps, draft trees, and the way back after a rejection.

A sequence of length L has its first L tokens in the cache; token L is known but not in the cache yet: the root of
the next draft tree. Node j of the tree stands in slot L + 1 + j at position L + depth(j). What lies beyond a
sequence's length is scratch: no mask ever shows it to a later query, so a rejected token needs no erasing.
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
    """Nodes of one depth and where they come from.

    ``rows`` have children and are what the draft model is run on; ``nodes`` are the children, ``parents`` their
    places within ``rows``, ``order`` their places among their siblings. ``best`` is how many of the draft's best
    choices the nodes need, ``width`` the most siblings: numbers of the host, so that no graph must ask the device.
    """

    rows: Tensor
    nodes: Tensor
    parents: Tensor
    order: Tensor
    best: int
    width: int


@dataclass(frozen=True)
class TreeTables:
    """A draft tree as tensors; row 0 is the root, row j + 1 is node j.

    Attributes
    ----------
    depth
        ``(num_nodes + 1,)``; 0 for the root.
    visible
        ``(num_nodes + 1, num_nodes + 1)``: which rows a row may look at, the root, its ancestors and itself.
    children
        ``(num_nodes + 1, width)``: nodes in the order of their rank, -1 where there are fewer.
    parents, ranks
        ``(num_nodes,)``: row of a node's parent, and which choice of the draft the node is.
    levels
        Levels of the tree, that of the root's children first.
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
        return int(self.ranks.numel())

    @property
    def draft_len(self) -> int:
        return len(self.levels)

    @staticmethod
    def of(tree: DraftTree, device: str | torch.device = "cpu") -> TreeTables:
        """Tables of a tree."""
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
    """Placement of tokens after sequences of ``starts`` tokens; without a bound the device is asked for one."""
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
    """Places of the root and nodes named by ``rows`` after sequences of ``lengths`` ``(batch,)``.

    Each visible the committed tokens, the root, its ancestors and itself. ``bound`` and ``context`` are those of a
    `Placement`; with a bound nothing is read from the device, so that a CUDA graph can hold the pass.
    """
    slots = lengths[:, None] + rows
    return _place(lengths, lengths[:, None] + tables.depth[rows], slots, tables.visible[rows], spec, bound, context)


def causal_placement(
    starts: Tensor, count: int, spec: Model, *, bound: int | None = None, context: int | None = None
) -> Placement:
    """Places of the next ``count`` tokens of sequences that hold ``starts`` ``(batch,)`` tokens.

    ``bound`` and ``context`` as in `tree_placement`.
    """
    slots = starts[:, None] + torch.arange(count, device=starts.device)
    return _place(starts, slots, slots, causal_visibility(count, starts.device), spec, bound, context)


def keep_path(cache: KVCache, lengths: Tensor, path: Tensor) -> None:
    """Move the keys and values of accepted nodes next to the root; the others become scratch.

    ``path`` ``(batch, depth)`` names the accepted node at each depth, -1 from the first rejection on; whatever
    these slots receive lies beyond the new length. All are read before any is written.
    """
    batch = torch.arange(lengths.numel(), device=lengths.device)[:, None]
    source = lengths[:, None] + 1 + path.clamp(min=0)
    target = lengths[:, None] + 1 + torch.arange(path.shape[1], device=lengths.device)
    for store in (cache.keys, cache.values):
        store[:, batch, :, target] = store[:, batch, :, source]
