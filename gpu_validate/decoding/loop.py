"""The draft-verify loop: draft, verify, accept and roll back, over a batch with ragged acceptance.

Target and draft have their own KV caches. The draft is another `gpu_validate.models.decoder.Decoder`, or a
`gpu_validate.models.eagle.EagleDraft` that reads the target's features. A static tree, such as a chain, is drafted
level by level. The target verifies it in one pass with a tree mask, and the accepted path is kept. Greedy output
equals autoregressive decoding token for token. Sampled output follows the target's distribution. With given rates,
the loop can be timed at any acceptance without a trained draft.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

from gpu_validate.decoding import acceptance_rules
from gpu_validate.decoding.acceptance_rules import Accepted
from gpu_validate.decoding.sequences import Proposal, SamplingPolicy, Sequences, Tally, draw
from gpu_validate.decoding.tree_layout import Level, TreeTables, causal_placement, keep_path, tree_placement
from gpu_validate.models.decoder import Decoder, KVCache, linear
from gpu_validate.models.eagle import EagleDraft


@dataclass
class SpeculativeLoop:
    """State of speculative decoding.

    Create it with `start_loop`. Call `cycle` repeatedly, or its parts `propose`, `score`, `accept` and `commit`,
    which are timed one by one.

    Attributes
    ----------
    target, draft
        The two models.
    tables
        Draft tree.
    policy
        How tokens are chosen.
    batch
        Known tokens of all sequences.
    target_cache, draft_cache
        KV caches.
    draft_lengths
        ``(batch,)`` tokens of each sequence in the draft's cache.
    generator
        Random generator.
    fed
        ``(batch, capacity, width)`` features that an EAGLE draft reads: with each known token, the feature of the
        token before.
    static
        Whether a cycle reads nothing back from the device, so that one CUDA graph can contain it. The draft then
        always reads the last `catch_up_length` known tokens, and each sequence needs that many. ``tally`` stays
        empty; see ``emitted``.
    context
        With ``static``, number of tokens of every sequence where each cycle starts from the same number.
    tally
        Accepted tokens by depth and rank.
    emitted, cycle_counts
        ``(batch,)`` tokens emitted and cycles run, counted on the device.
    """

    target: Decoder
    draft: Decoder | EagleDraft
    tables: TreeTables
    policy: SamplingPolicy
    batch: Sequences
    target_cache: KVCache
    draft_cache: KVCache
    draft_lengths: Tensor
    generator: torch.Generator
    fed: Tensor | None = None
    static: bool = False
    context: int | None = None
    tally: Tally = field(init=False)
    emitted: Tensor = field(init=False)
    cycle_counts: Tensor = field(init=False)
    _predicted: Tensor | None = field(init=False, default=None)
    _scored: Tensor | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        """Create the counters and check the acceptance rates."""
        self.tally = Tally.empty(self.tables)
        self.emitted, self.cycle_counts = torch.zeros_like(self.draft_lengths), torch.zeros_like(self.draft_lengths)
        if self.policy.rates is not None:
            acceptance_rules.check_rates(self.tables, self.policy.rates)

    @property
    def tokens_per_cycle(self) -> float:
        """Mean number of tokens that a cycle emitted, including the target's own."""
        return int(self.emitted.sum()) / max(int(self.cycle_counts.sum()), 1)

    @property
    def catch_up_length(self) -> int:
        """Known tokens that a ``static`` draft reads in its first pass: those that it may not have read yet."""
        return 2 if self.fed is None else self.tables.draft_len + 1

    def _known(self, behind: int) -> dict[str, int | None]:
        """Return bound and context of a ``static`` pass that begins ``behind`` tokens before the last known one."""
        if not self.static:
            return {}
        capacity = self.target_cache.keys.shape[3]
        if self.context is None:
            return {"bound": capacity}
        tail = max(self.tables.num_nodes + 1, self.catch_up_length)
        return {"bound": min(self.context + tail, capacity), "context": self.context - behind}

    def propose(self) -> Proposal:
        """Draft a tree after every sequence: one pass for new committed tokens and one for each further level."""
        tokens = self.batch.tokens.new_zeros(len(self.draft_lengths), self.tables.num_nodes)
        rows: Tensor | None = None
        for index, level in enumerate(self.tables.levels):
            logits = self._catch_up() if index == 0 else self._draft_level(level, tokens)
            chosen, probabilities = self._choices(level, logits)
            tokens[:, level.nodes] = chosen
            if probabilities is not None:
                if rows is None:
                    size = (len(self.draft_lengths), self.tables.num_nodes + 1, probabilities.shape[-1])
                    rows = probabilities.new_zeros(size)
                rows[:, level.rows] = probabilities
        return Proposal(tokens, rows)

    def _catch_up(self) -> Tensor:
        """Return logits ``(batch, 1, vocab)`` after the root, reading what the draft has not read yet."""
        if self.static:
            count = self.catch_up_length
            start = self.batch.lengths - (count - 1)
            behind = torch.full_like(start, count - 1)
        else:
            start = self.draft_lengths
            behind = self.batch.lengths - start
            count = int(behind.max()) + 1
        last = self.batch.tokens.shape[1] - 1
        slots = (start[:, None] + torch.arange(count, device=start.device)).clamp(max=last)
        place = causal_placement(start, count, self.draft.spec, **self._known(count - 1))
        tokens = self.batch.tokens.gather(1, slots)
        rows = torch.arange(len(start), device=start.device)
        self.draft_lengths = self.batch.lengths + 1
        if isinstance(self.draft, Decoder):
            logits: Tensor = self.draft(tokens, self.draft_cache, place)
            return logits[rows, behind][:, None]
        assert self.fed is not None
        features = self.draft(tokens, self.fed[rows[:, None], slots], self.draft_cache, place)
        root = features[rows, behind][:, None]
        self._predicted = root.new_zeros(len(rows), self.tables.num_nodes + 1, root.shape[-1])
        self._predicted[:, :1] = root
        return self.draft.logits(root)

    def _draft_level(self, level: Level, tokens: Tensor) -> Tensor:
        """Return the draft's logits of the expanded nodes of a level."""
        place = tree_placement(self.batch.lengths, level.rows, self.tables, self.draft.spec, **self._known(0))
        nodes = level.rows - 1
        if isinstance(self.draft, Decoder):
            logits: Tensor = self.draft(tokens[:, nodes], self.draft_cache, place)
            return logits
        assert self._predicted is not None
        fed = self._predicted[:, self.tables.parents[nodes]]
        features = self.draft(tokens[:, nodes], fed, self.draft_cache, place)
        self._predicted[:, level.rows] = features
        return self.draft.logits(features)

    def _choices(self, level: Level, logits: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the tokens of a level's nodes and the distributions they were drawn from.

        Greedy children are the draft's best choices by rank. Sampled children are drawn without replacement, one
        for each sibling: the largest log-probabilities with Gumbel noise.
        """
        if not self.policy.draws_drafts:
            choice = self.tables.ranks[level.nodes]
            best = logits.argmax(-1, keepdim=True) if level.best == 1 else logits.topk(level.best, dim=-1).indices
            return best[:, level.parents, choice], None
        probabilities = self.policy.probabilities(logits)
        noise = torch.empty_like(probabilities).exponential_(generator=self.generator)
        order = (probabilities / noise).topk(level.width, dim=-1).indices
        return order[:, level.parents, level.order], probabilities

    def score(self, proposal: Proposal) -> Tensor:
        """Return the target's logits ``(batch, num_nodes + 1, vocab)`` of the root and all nodes, in one pass."""
        every = torch.arange(self.tables.num_nodes + 1, device=self.draft_lengths.device)
        place = tree_placement(self.batch.lengths, every, self.tables, self.target.spec, **self._known(0))
        tokens = torch.cat((self.batch.root(), proposal.tokens), dim=1)
        self._scored = self.target.features(tokens, self.target_cache, place)
        return linear(self._scored, self.target.head.weight)

    def accept(self, proposal: Proposal, logits: Tensor) -> Accepted:
        """Return the nodes that the target accepts."""
        if self.policy.rates is not None:
            return acceptance_rules.accept_at_rates(self.tables, self.policy.rates, logits, self.generator)
        if self.policy.temperature == 0:
            return acceptance_rules.accept_greedy(self.tables, proposal.tokens, logits)
        if proposal.probabilities is None:
            wanted = draw(self.policy, logits, self.generator)
            return acceptance_rules.accept_matching(self.tables, proposal.tokens, wanted)
        target = self.policy.probabilities(logits)
        return acceptance_rules.accept_sampled(
            self.tables, proposal.tokens, target, proposal.probabilities, self.generator
        )

    def commit(self, proposal: Proposal, outcome: Accepted, active: Tensor) -> None:
        """Emit the accepted tokens and the target's own, and roll both caches back to the accepted path."""
        if not self.static:
            self.tally.add(self.tables, outcome, active)
        self.emitted += torch.where(active, outcome.count + 1, 0)
        self.cycle_counts += active
        if not self.tables.is_chain:
            keep_path(self.target_cache, self.batch.lengths, outcome.path)
            keep_path(self.draft_cache, self.batch.lengths, outcome.path)
        accepted = outcome.count
        if self.fed is not None:
            self._feed(outcome)
        emitted = torch.cat((proposal.tokens.gather(1, outcome.path.clamp(min=0)), outcome.bonus[:, None]), dim=1)
        emitted.scatter_(1, accepted[:, None], outcome.bonus[:, None])
        # The draft has read every accepted node except a leaf.
        # An EAGLE draft reads them again, with the target's features instead of its own.
        leaf = (accepted > 0) & (self.tables.children[outcome.last] < 0).all(1)
        read = accepted - leaf.long() if self.fed is None else torch.zeros_like(accepted)
        self.draft_lengths = torch.where(active, self.batch.lengths + 1 + read, self.batch.lengths)
        self.batch.extend(emitted, torch.where(active, accepted + 1, 0))

    def _feed(self, outcome: Accepted) -> None:
        """Store the target's features of the root and of the accepted path for the tokens that follow them."""
        assert self.fed is not None and self._scored is not None
        rows = torch.arange(len(self.draft_lengths), device=self.draft_lengths.device)[:, None]
        path = functional.pad(outcome.path.clamp(min=-1) + 1, (1, 0))
        slots = self.batch.lengths[:, None] + 1 + torch.arange(path.shape[1], device=path.device)
        self.fed[rows, slots] = self._scored[rows, path]

    def cycle(self, active: Tensor | None = None) -> Accepted:
        """Draft, verify, accept and commit. Sequences that are not ``active`` do not change."""
        proposal = self.propose()
        logits = self.score(proposal)
        outcome = self.accept(proposal, logits)
        self.commit(
            proposal, outcome, torch.ones_like(self.draft_lengths, dtype=torch.bool) if active is None else active
        )
        return outcome
