"""State of decoding that the loops share: sampling policy, known tokens, drafted tokens and counts."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from gpu_validate.decoding.acceptance_rules import Accepted
from gpu_validate.decoding.tree_layout import TreeTables
from scylla_sim.checks import fail, in_range


@dataclass(frozen=True)
class SamplingPolicy:
    """How tokens are chosen.

    Attributes
    ----------
    temperature
        Sampling temperature; 0 is greedy.
    sampled_drafts
        Above temperature 0, whether drafted tokens are drawn from the draft's distribution or are its best choices.
        Drawn tokens have a higher acceptance in a chain, best choices in a wide tree.
    rates
        ``(depth, ranks)`` acceptance that is given instead of measured; see
        `gpu_validate.decoding.acceptance_rules.accept_at_rates`.
    """

    temperature: float = 0.0
    sampled_drafts: bool = True
    rates: Tensor | None = None

    def __post_init__(self) -> None:
        """Check the values."""
        in_range("temperature", self.temperature, 0)
        if self.rates is not None and self.temperature:
            raise fail("temperature", self.temperature, "must be 0 when acceptance rates are given")

    @property
    def draws_drafts(self) -> bool:
        """Whether drafted tokens are drawn."""
        return self.temperature > 0 and self.sampled_drafts

    def probabilities(self, logits: Tensor) -> Tensor:
        """Return the distribution of the next token at a temperature above 0."""
        return torch.softmax(logits.to(torch.promote_types(logits.dtype, torch.float32)) / self.temperature, dim=-1)


@dataclass
class Tally:
    """Counts of accepted tokens.

    Attributes
    ----------
    accepted
        ``(depth, ranks)`` number of accepted nodes of each rank at depth ``d + 1``.
    attempts
        ``(depth,)`` number of paths that reached depth ``d``. The ratio of the two is the conditional acceptance.
    cycles
        Number of cycles over all sequences.
    emitted
        Number of emitted tokens.
    """

    accepted: Tensor
    attempts: Tensor
    cycles: int = 0
    emitted: int = 0

    @staticmethod
    def empty(tables: TreeTables) -> Tally:
        """Return counters for a tree, all zero."""
        size = (len(tables.levels), int(tables.ranks.max()) + 1)
        return Tally(torch.zeros(size, dtype=torch.int64), torch.zeros(size[0], dtype=torch.int64))

    def add(self, tables: TreeTables, outcome: Accepted, active: Tensor) -> None:
        """Count one cycle of the sequences that are ``active``."""
        path = outcome.path[active].cpu()
        ranks = tables.ranks.cpu()
        self.cycles += len(path)
        self.emitted += len(path) + int((path >= 0).sum())
        reached = torch.ones(len(path), dtype=torch.bool)
        for depth in range(path.shape[1]):
            kept = path[:, depth] >= 0
            self.attempts[depth] += int(reached.sum())
            self.accepted[depth] += torch.bincount(ranks[path[kept, depth]], minlength=self.accepted.shape[1])
            reached = kept

    @property
    def tokens_per_cycle(self) -> float:
        """Mean number of tokens that a cycle emits, including the target's own."""
        return self.emitted / max(self.cycles, 1)


@dataclass
class Sequences:
    """Known tokens of a batch.

    Attributes
    ----------
    tokens
        ``(batch, capacity)``.
    lengths
        ``(batch,)`` number of known tokens before the last one. No cache contains the last one yet.
    """

    tokens: Tensor
    lengths: Tensor

    def root(self) -> Tensor:
        """Return the last known token of each sequence, ``(batch, 1)``."""
        return self.tokens.gather(1, self.lengths[:, None])

    def extend(self, new: Tensor, count: Tensor) -> None:
        """Append the first ``count[b]`` of ``new[b]`` to each sequence, which has room for all of them."""
        index = torch.arange(new.shape[1], device=new.device)
        slots = self.lengths[:, None] + 1 + index
        kept = torch.where(index < count[:, None], new, self.tokens.gather(1, slots))
        self.tokens.scatter_(1, slots, kept)
        self.lengths += count


@dataclass(frozen=True)
class Proposal:
    """Drafted tokens.

    Attributes
    ----------
    tokens
        ``(batch, num_nodes)``.
    probabilities
        ``(batch, rows, vocab)`` distributions of the draft when sampling; ``None`` otherwise.
    """

    tokens: Tensor
    probabilities: Tensor | None


def draw(policy: SamplingPolicy, logits: Tensor, generator: torch.Generator | None) -> Tensor:
    """Choose one token for each row of ``(batch, n, vocab)``."""
    if policy.temperature == 0:
        return logits.argmax(-1)
    rows = policy.probabilities(logits).flatten(0, 1)
    return torch.multinomial(rows, 1, generator=generator).view(logits.shape[:2])
