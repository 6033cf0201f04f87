"""State of decoding that the loops share: how tokens are chosen, what is known, drafted and accepted."""

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
        0 is greedy.
    sampled_drafts
        Above temperature 0, whether the draft's tokens are drawn from its distribution (more are accepted of a
        chain) or are its best choices, as at temperature 0 (more are accepted of a wide tree).
    rates
        ``(depth, ranks)`` acceptance that is given instead of earned; see `verify.accept_at_rates`.
    """

    temperature: float = 0.0
    sampled_drafts: bool = True
    rates: Tensor | None = None

    def __post_init__(self) -> None:
        in_range("temperature", self.temperature, 0)
        if self.rates is not None and self.temperature:
            raise fail("temperature", self.temperature, "must be 0 when acceptance rates are given")

    @property
    def draws_drafts(self) -> bool:
        """Whether drafted tokens are drawn."""
        return self.temperature > 0 and self.sampled_drafts

    def probabilities(self, logits: Tensor) -> Tensor:
        """Distribution that a token is drawn from, at a temperature above 0."""
        return torch.softmax(logits.to(torch.promote_types(logits.dtype, torch.float32)) / self.temperature, dim=-1)


@dataclass
class Tally:
    """What was accepted, by depth and rank.

    ``accepted[d, r]`` counts nodes of rank r at depth d + 1 that were kept, ``attempts[d]`` how often a path got as
    far as depth d, so their ratio is the conditional acceptance of that position and rank.
    """

    accepted: Tensor
    attempts: Tensor
    cycles: int = 0
    emitted: int = 0

    @staticmethod
    def empty(tables: TreeTables) -> Tally:
        """Nothing counted yet."""
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
        """Mean tokens a cycle emits, the target's own included."""
        return self.emitted / max(self.cycles, 1)


@dataclass
class Sequences:
    """Known tokens of a batch; ``lengths`` counts those before the last one, which no cache holds yet."""

    tokens: Tensor
    lengths: Tensor

    def root(self) -> Tensor:
        """``(batch, 1)``: the last known token of each sequence."""
        return self.tokens.gather(1, self.lengths[:, None])

    def extend(self, new: Tensor, count: Tensor) -> None:
        """Append the first ``count[b]`` of ``new[b]`` to each sequence, which has room for all of ``new[b]``."""
        index = torch.arange(new.shape[1], device=new.device)
        slots = self.lengths[:, None] + 1 + index
        kept = torch.where(index < count[:, None], new, self.tokens.gather(1, slots))
        self.tokens.scatter_(1, slots, kept)
        self.lengths += count


@dataclass(frozen=True)
class Proposal:
    """Drafted tokens ``(batch, num_nodes)`` and, when sampling, the draft's ``(batch, rows, vocab)``."""

    tokens: Tensor
    probabilities: Tensor | None


def draw(policy: SamplingPolicy, logits: Tensor, generator: torch.Generator | None) -> Tensor:
    """One token for each row of ``(batch, n, vocab)``."""
    if policy.temperature == 0:
        return logits.argmax(-1)
    rows = policy.probabilities(logits).flatten(0, 1)
    return torch.multinomial(rows, 1, generator=generator).view(logits.shape[:2])
