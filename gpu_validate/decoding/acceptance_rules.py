"""Which drafted tokens a target keeps: greedy, sampled, and at given rates.

Each rule walks from the root of the tree to a deeper node while a child is accepted and ends with one token of the
target's own, so a cycle emits between 1 and depth + 1 tokens. All rules work on a batch whose sequences stop at
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


@dataclass(frozen=True)
class Accepted:
    """Outcome of one cycle.

    Attributes
    ----------
    path
        ``(batch, depth)``: accepted node at each depth, -1 from the first rejection on.
    last
        ``(batch,)``: row (node + 1) of the last accepted node, 0 for the root.
    bonus
        ``(batch,)``: the target's own token after it.
    """

    path: Tensor
    last: Tensor
    bonus: Tensor

    @property
    def count(self) -> Tensor:
        """``(batch,)``: accepted nodes."""
        return (self.path >= 0).sum(1)


def walk_tree(tables: TreeTables, batch: int, choose: ChildRule) -> tuple[Tensor, Tensor]:
    """Path and last row from a rule that picks one child.

    ``choose(rows, active)`` returns for each sequence the accepted child of its current row, or -1; sequences that
    stopped are not ``active`` and stay where they are.
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
    """Child of each row that carries the wanted token, or -1."""
    children = tables.children[rows]
    drafted = tokens.gather(1, children.clamp(min=0))
    hit = (children >= 0) & (drafted == wanted[:, None])
    return torch.where(hit, children, -1).amax(1)


def _pick(values: Tensor, rows: Tensor) -> Tensor:
    """``values[b, rows[b]]``."""
    return values[torch.arange(rows.numel(), device=rows.device), rows]


def accept_matching(tables: TreeTables, tokens: Tensor, wanted: Tensor) -> Accepted:
    """Follow the tokens that the target chose itself as far as the tree has them.

    Parameters
    ----------
    tokens
        ``(batch, num_nodes)`` drafted, whatever the target's choices are.
    wanted
        ``(batch, num_nodes + 1)``: the target's token after every row, the root's first; its most probable one, or
        drawn from its distribution, whose output this reproduces in both cases.
    """
    path, last = walk_tree(
        tables, len(tokens), lambda rows, _: _matching(tables, rows, tokens, _pick(wanted, rows))
    )
    return Accepted(path, last, _pick(wanted, last))


def accept_greedy(tables: TreeTables, tokens: Tensor, logits: Tensor) -> Accepted:
    """`accept_matching` of the most probable tokens; ``logits`` ``(batch, num_nodes + 1, vocab)``."""
    return accept_matching(tables, tokens, logits.argmax(-1))


def _normalize(weights: Tensor, otherwise: Tensor) -> Tensor:
    """Rows that add up to one; ``otherwise`` where nothing is left to normalise."""
    mass = weights.sum(1, keepdim=True)
    return torch.where(mass > 0, weights / mass.clamp(min=torch.finfo(weights.dtype).tiny), otherwise)


def accept_sampled(
    tables: TreeTables, tokens: Tensor, target: Tensor, draft: Tensor, generator: torch.Generator
) -> Accepted:
    """Rejection sampling over the children in the order of their ranks; the output is distributed as the target's.

    A child x drawn from q is kept with probability min(1, p(x)/q(x)). After a rejection p becomes the normalised
    positive part of p - q, and q, since siblings are drawn without replacement, loses x. When no child is kept the
    last p gives the token.

    Source: Leviathan et al., arXiv 2211.17192, Algorithm 1, for one child; Chen et al., arXiv 2402.12374 (Sequoia),
    Algorithm 2, for several without replacement.

    Parameters
    ----------
    target, draft
        ``(batch, num_nodes + 1, vocab)`` probabilities; those of the draft are needed for rows with children.
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
    """Refuse rates that are no probabilities, or too few for a tree; it reads them, so it belongs before a loop."""
    need = (len(tables.levels), max(level.best for level in tables.levels))
    if rates.shape[0] < need[0] or rates.shape[1] < need[1]:
        raise fail("rates", tuple(rates.shape), f"must have at least the shape {need} for this tree")
    if bool((rates < 0).any()) or bool((rates.sum(1) > 1 + 1e-6).any()):
        raise fail("rates", rates.tolist(), "must be probabilities that add up to at most 1 at each depth")


def accept_at_rates(tables: TreeTables, rates: Tensor, logits: Tensor, generator: torch.Generator) -> Accepted:
    """Accept at given rates, whatever the models say: the way to time any acceptance without a trained draft.

    Parameters
    ----------
    rates
        ``(depth, ranks)``: probability that the target's token is the draft's r-th choice at a depth, given that
        the path so far was accepted; see `check_rates`.
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
