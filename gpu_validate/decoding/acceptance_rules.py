"""Acceptance rules: greedy, sampled, and at given rates.

Each rule walks from the root of the tree to a deeper node as long as a child is accepted. It ends with one token of
the target, so a cycle emits between 1 and depth + 1 tokens. All rules work on a batch whose sequences stop at
different depths.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from gpu_validate.decoding.tree_layout import TreeTables
from scylla_sim.checks import fail

ChildRule = Callable[[Tensor, Tensor], Tensor]
"""Rule ``(rows, active) -> child`` that picks the accepted child of each row, or -1."""


@dataclass(frozen=True)
class Accepted:
    """Outcome of one cycle.

    Attributes
    ----------
    path
        ``(batch, depth)`` accepted node at each depth, -1 from the first rejection on.
    last
        ``(batch,)`` row (node + 1) of the last accepted node, 0 for the root.
    bonus
        ``(batch,)`` token of the target after that node.
    """

    path: Tensor
    last: Tensor
    bonus: Tensor

    @property
    def count(self) -> Tensor:
        """Number of accepted nodes, ``(batch,)``."""
        return (self.path >= 0).sum(1)


def walk_tree(tables: TreeTables, batch: int, choose: ChildRule) -> tuple[Tensor, Tensor]:
    """Return the path and the last row of each sequence under a rule that picks one child.

    Parameters
    ----------
    tables
        Draft tree.
    batch
        Number of sequences.
    choose
        Function ``(rows, active)`` that returns the accepted child of each current row, or -1. Sequences that have
        stopped are not active and keep their row.
    """
    device = tables.depth.device
    rows = torch.zeros(batch, dtype=torch.int64, device=device)
    active = torch.ones(batch, dtype=torch.bool, device=device)
    path = torch.full((batch, len(tables.levels)), -1, dtype=torch.int64, device=device)
    for level in range(len(tables.levels)):
        child = torch.where(active, choose(rows, active), -1)
        path[:, level] = child
        active = child >= 0
        rows = torch.where(active, child + 1, rows)
    return path, rows


def _matching(tables: TreeTables, rows: Tensor, tokens: Tensor, wanted: Tensor) -> Tensor:
    """Return the child of each row that contains the wanted token, or -1."""
    children = tables.children[rows]
    drafted = tokens.gather(1, children.clamp(min=0))
    hit = (children >= 0) & (drafted == wanted[:, None])
    return torch.where(hit, children, -1).amax(1)


def _pick(values: Tensor, rows: Tensor) -> Tensor:
    """Return ``values[b, rows[b]]``."""
    return values[torch.arange(rows.numel(), device=rows.device), rows]


def accept_matching(tables: TreeTables, tokens: Tensor, wanted: Tensor) -> Accepted:
    """Accept drafted tokens as long as they equal the target's tokens.

    The output follows the target's distribution, for greedy and for sampled tokens of the target.

    Parameters
    ----------
    tables
        Draft tree.
    tokens
        ``(batch, num_nodes)`` drafted tokens.
    wanted
        ``(batch, num_nodes + 1)`` token of the target after every row, the root's first.
    """
    path, last = walk_tree(
        tables, len(tokens), lambda rows, _: _matching(tables, rows, tokens, _pick(wanted, rows))
    )
    return Accepted(path, last, _pick(wanted, last))


def accept_greedy(tables: TreeTables, tokens: Tensor, logits: Tensor) -> Accepted:
    """Run `accept_matching` with the most probable tokens of ``logits`` ``(batch, num_nodes + 1, vocab)``."""
    return accept_matching(tables, tokens, logits.argmax(-1))


def _normalize(weights: Tensor, otherwise: Tensor) -> Tensor:
    """Return rows that sum to one, or ``otherwise`` where a row has no mass."""
    mass = weights.sum(1, keepdim=True)
    return torch.where(mass > 0, weights / mass.clamp(min=torch.finfo(weights.dtype).tiny), otherwise)


def accept_sampled(
    tables: TreeTables, tokens: Tensor, target: Tensor, draft: Tensor, generator: torch.Generator
) -> Accepted:
    """Run rejection sampling over the children in the order of their ranks.

    The output follows the target's distribution. A child x drawn from q is accepted with probability min(1,
    p(x)/q(x)). After a rejection, p becomes the normalized positive part of p - q. Siblings are drawn without
    replacement, so x is then removed from q. If no child is accepted, the token is drawn from the last p.

    Source: Leviathan et al., arXiv 2211.17192, Algorithm 1, for one child; Chen et al., arXiv 2402.12374 (Sequoia),
    Algorithm 2, for several children without replacement.

    Parameters
    ----------
    tables
        Draft tree.
    tokens
        ``(batch, num_nodes)`` drafted tokens.
    target, draft
        ``(batch, num_nodes + 1, vocab)`` probabilities. Those of the draft are needed for rows with children.
    generator
        Random generator.
    """
    batch = torch.arange(len(tokens), device=tokens.device)
    residual = target[:, 0].clone()

    def choose(rows: Tensor, active: Tensor) -> Tensor:
        p, q = _pick(target, rows).clone(), _pick(draft, rows).clone()
        chosen = torch.full_like(rows, -1)
        for child in tables.children[rows].unbind(1):
            trying = active & (child >= 0) & (chosen < 0)
            x = tokens.gather(1, child.clamp(min=0)[:, None])[:, 0]
            q_x, p_x = q[batch, x], p[batch, x]
            draw = torch.rand(len(tokens), generator=generator, device=tokens.device, dtype=p.dtype)
            kept = trying & (q_x > 0) & (draw * q_x < p_x)
            chosen = torch.where(kept, child, chosen)
            rejected = trying & ~kept & (q_x > 0)
            p = torch.where(rejected[:, None], _normalize((p - q).clamp(min=0), p), p)
            q[batch, x] = torch.where(trying, torch.zeros_like(q_x), q_x)
            q = torch.where(trying[:, None], _normalize(q, q), q)
        residual.copy_(torch.where(active[:, None], p, residual))
        return chosen

    path, last = walk_tree(tables, len(tokens), choose)
    complete = (tables.children[last] < 0).all(1)
    final = torch.where(complete[:, None], _pick(target, last), residual)
    return Accepted(path, last, torch.multinomial(final, 1, generator=generator)[:, 0])


def check_rates(tables: TreeTables, rates: Tensor) -> None:
    """Check acceptance rates against a tree; call this before a loop, because it reads from the device.

    Raises
    ------
    InputError
        When the rates are not probabilities, or too few for the tree.
    """
    need = (len(tables.levels), max(level.best for level in tables.levels))
    if rates.shape[0] < need[0] or rates.shape[1] < need[1]:
        raise fail("rates", tuple(rates.shape), f"must have at least the shape {need} for this tree")
    if bool((rates < 0).any()) or bool((rates.sum(1) > 1 + 1e-6).any()):
        raise fail("rates", rates.tolist(), "must be probabilities that add up to at most 1 at each depth")


def accept_at_rates(tables: TreeTables, rates: Tensor, logits: Tensor, generator: torch.Generator) -> Accepted:
    """Accept at given rates, independent of the models, to time any acceptance without a trained draft.

    Parameters
    ----------
    tables
        Draft tree.
    rates
        ``(depth, ranks)`` probability that the target's token is the draft's r-th choice at a depth, given that the
        path so far was accepted; see `check_rates`.
    logits
        ``(batch, num_nodes + 1, vocab)`` of the target, for the token after the path.
    generator
        Random generator.
    """
    upper = rates.cumsum(1)

    def choose(rows: Tensor, _: Tensor) -> Tensor:
        draw = torch.rand(len(logits), generator=generator, device=upper.device, dtype=upper.dtype)
        level = tables.depth[rows].clamp(max=upper.shape[0] - 1)
        rank = (draw[:, None] >= upper[level]).sum(1)
        children = tables.children[rows]
        hit = (children >= 0) & (tables.ranks[children.clamp(min=0)] == rank[:, None])
        return torch.where(hit, children, -1).amax(1)

    path, last = walk_tree(tables, len(logits), choose)
    return Accepted(path, last, _pick(logits.argmax(-1), last))
