"""Speculative decoding for real: draft, verify, accept, roll back, over a batch with ragged acceptance.

Target and draft have KV caches of their own; the draft is another `gpu_validate.models.decoder.Decoder`, or a
`gpu_validate.models.eagle.EagleDraft` that is fed the target's features. A static tree (a chain is one) is drafted
level by level, verified by the target in one pass with a tree mask, and the accepted path is kept. Greedy output
equals plain decoding token for token, sampled output follows the target's distribution; with given rates the loop
is timed at any acceptance without a trained draft.
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
from gpu_validate.models.attention import Placement
from gpu_validate.models.decoder import Decoder, KVCache, linear
from gpu_validate.models.eagle import EagleDraft
from scylla_sim.acceptance.trees import DraftTree
from scylla_sim.checks import fail


def _prompt_place(model: Decoder | EagleDraft, tokens: Tensor) -> Placement:
    """Places of all but the last token of prompts; what padding leaves in a cache lies beyond every length."""
    starts = torch.zeros(len(tokens), dtype=torch.int64, device=tokens.device)
    return causal_placement(starts, tokens.shape[1] - 1, model.spec)


def _prefill(model: Decoder, cache: KVCache, tokens: Tensor) -> Tensor | None:
    """Read all but the last token of prompts, if there are any; returns their features."""
    if tokens.shape[1] == 1:
        return None
    return model.features(tokens[:, :-1], cache, _prompt_place(model, tokens))


def _sequences(prompts: Tensor, lengths: Tensor | None, room: int) -> Sequences:
    batch, longest = prompts.shape
    given = torch.full((batch,), longest, device=prompts.device) if lengths is None else lengths
    if not bool(((given >= 1) & (given <= longest)).all()):
        raise fail("lengths", given.tolist(), f"must lie in [1, {longest}]")
    tokens = torch.zeros((batch, longest + room), dtype=torch.int64, device=prompts.device)
    tokens[:, :longest] = prompts
    return Sequences(tokens, given - 1)


@torch.inference_mode()
def decode_plain(
    target: Decoder,
    prompts: Tensor,
    new_tokens: int,
    *,
    lengths: Tensor | None = None,
    policy: SamplingPolicy | None = None,
    generator: torch.Generator | None = None,
) -> Tensor:
    """One token a step: what speculative decoding must reproduce. Returns ``(batch, new_tokens)``."""
    policy = policy or SamplingPolicy()
    batch = _sequences(prompts, lengths, new_tokens)
    begin = batch.lengths + 1
    cache = KVCache.empty(target.spec, len(prompts), batch.tokens.shape[1], target.norm)
    _prefill(target, cache, prompts)
    one = torch.ones_like(batch.lengths)
    for _ in range(new_tokens):
        logits = target(batch.root(), cache, causal_placement(batch.lengths, 1, target.spec))
        batch.extend(draw(policy, logits, generator), one)
    return _new_tokens(batch, begin, new_tokens)


def _new_tokens(batch: Sequences, begin: Tensor, count: int) -> Tensor:
    return batch.tokens.gather(1, begin[:, None] + torch.arange(count, device=begin.device))


@dataclass
class SpeculativeLoop:
    """State of speculative decoding: sequences, two caches, and how many tokens the draft's cache holds.

    Use `start_loop`, then `cycle` again and again, or its parts `propose`, `score`, `accept` and `commit`, which are
    timed one by one.

    Attributes
    ----------
    fed
        ``(batch, capacity, width)`` where the draft is fed features: with each known token that of the one before.
    static
        Read nothing back from the device, so that one CUDA graph can hold a cycle. The draft then reads the last
        2 known tokens again (``draft_len + 1`` where it is fed features), whether it must or not, and each sequence
        needs that many. ``tally`` stays empty: see ``emitted``.
    context
        With ``static``, tokens of every sequence where a cycle starts from the same number each time.
    emitted, cycle_counts
        Tokens emitted and cycles run, by sequence and counted on the device.
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
        self.tally = Tally.empty(self.tables)
        self.emitted, self.cycle_counts = torch.zeros_like(self.draft_lengths), torch.zeros_like(self.draft_lengths)
        if self.policy.rates is not None:
            acceptance_rules.check_rates(self.tables, self.policy.rates)

    @property
    def tokens_per_cycle(self) -> float:
        """Mean tokens a cycle emitted, the target's own included."""
        return int(self.emitted.sum()) / max(int(self.cycle_counts.sum()), 1)

    @property
    def catch_up_length(self) -> int:
        """Known tokens that a ``static`` draft reads in its first pass: those that it may not have read yet."""
        return 2 if self.fed is None else self.tables.draft_len + 1

    def _known(self, behind: int) -> dict[str, int | None]:
        """Bound and context of a pass that begins so many tokens before the last known one; of ``static`` ones."""
        if not self.static:
            return {}
        capacity = self.target_cache.keys.shape[3]
        if self.context is None:
            return {"bound": capacity}
        tail = max(self.tables.num_nodes + 1, self.catch_up_length)
        return {"bound": min(self.context + tail, capacity), "context": self.context - behind}

    def propose(self) -> Proposal:
        """Draft a tree after every sequence: one pass for the new committed tokens, one per further level."""
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
        """Logits ``(batch, 1, vocab)`` after the root, reading what the draft has not read yet."""
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
        """Tokens of a level's nodes, and the distributions they were drawn from.

        Greedy children are the draft's best choices by rank. Sampled ones are drawn without replacement, as many as
        there are siblings: the largest of log-probabilities with Gumbel noise.
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
        """The target's logits ``(batch, num_nodes + 1, vocab)`` of the root and all nodes, in one pass."""
        every = torch.arange(self.tables.num_nodes + 1, device=self.draft_lengths.device)
        place = tree_placement(self.batch.lengths, every, self.tables, self.target.spec, **self._known(0))
        tokens = torch.cat((self.batch.root(), proposal.tokens), dim=1)
        self._scored = self.target.features(tokens, self.target_cache, place)
        return linear(self._scored, self.target.head.weight)

    def accept(self, proposal: Proposal, logits: Tensor) -> Accepted:
        """Which nodes the target keeps."""
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
        """Emit the accepted tokens and the target's own; roll both caches back to the accepted path."""
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
        # The draft has read every accepted node but a leaf, on which it was not run.
        # One that is fed features reads them again, with the target's instead of its own.
        leaf = (accepted > 0) & (self.tables.children[outcome.last] < 0).all(1)
        read = accepted - leaf.long() if self.fed is None else torch.zeros_like(accepted)
        self.draft_lengths = torch.where(active, self.batch.lengths + 1 + read, self.batch.lengths)
        self.batch.extend(emitted, torch.where(active, accepted + 1, 0))

    def _feed(self, outcome: Accepted) -> None:
        """Keep the target's features of the root and of the accepted path, for the tokens after each of them."""
        assert self.fed is not None and self._scored is not None
        rows = torch.arange(len(self.draft_lengths), device=self.draft_lengths.device)[:, None]
        path = functional.pad(outcome.path.clamp(min=-1) + 1, (1, 0))
        slots = self.batch.lengths[:, None] + 1 + torch.arange(path.shape[1], device=path.device)
        self.fed[rows, slots] = self._scored[rows, path]

    def cycle(self, active: Tensor | None = None) -> Accepted:
        """Draft, verify, accept, commit; sequences that are not ``active`` stay as they are."""
        proposal = self.propose()
        logits = self.score(proposal)
        outcome = self.accept(proposal, logits)
        self.commit(
            proposal, outcome, torch.ones_like(self.draft_lengths, dtype=torch.bool) if active is None else active
        )
        return outcome


def start_loop(
    target: Decoder,
    draft: Decoder | EagleDraft,
    tree: DraftTree,
    prompts: Tensor,
    *,
    room: int,
    lengths: Tensor | None = None,
    policy: SamplingPolicy | None = None,
    seed: int = 0,
) -> SpeculativeLoop:
    """Loop after reading the prompts, with ``room`` for so many new tokens.

    Parameters
    ----------
    prompts
        ``(batch, longest)``, padded at the right.
    lengths
        Tokens of each prompt; all have the longest when not given.

    Raises
    ------
    InputError
        When the vocabularies differ, or siblings outnumber the vocabulary.
    """
    if draft.spec.vocab_size != target.spec.vocab_size:
        raise fail("vocab_size", draft.spec.vocab_size, f"must be the target's {target.spec.vocab_size}")
    if max(tree.ranks) >= draft.spec.vocab_size:
        raise fail("ranks", max(tree.ranks), f"must be below vocab_size={draft.spec.vocab_size}")
    tables = TreeTables.of(tree, prompts.device)
    batch = _sequences(prompts, lengths, room + 2 * (tree.draft_len + 1))
    capacity = batch.tokens.shape[1] + tree.num_nodes + 1
    caches = [KVCache.empty(model.spec, len(prompts), capacity, model.norm) for model in (target, draft)]
    fed: Tensor | None = None
    with torch.inference_mode():
        features = _prefill(target, caches[0], prompts)
        if isinstance(draft, Decoder):
            _prefill(draft, caches[1], prompts)
        else:
            fed = target.norm.new_zeros(len(prompts), capacity + 1, target.spec.hidden_size)
            if features is not None:
                count = features.shape[1]
                fed[:, 1 : count + 1] = features
                draft(prompts[:, :-1], fed[:, :count], caches[1], _prompt_place(draft, prompts))
    generator = torch.Generator(device=prompts.device).manual_seed(seed)
    draft_lengths = batch.lengths.clone()
    return SpeculativeLoop(
        target,
        draft,
        tables,
        policy or SamplingPolicy(),
        batch,
        caches[0],
        caches[1],
        draft_lengths,
        generator,
        fed,
    )


@torch.inference_mode()
def decode_speculatively(
    target: Decoder,
    draft: Decoder | EagleDraft,
    tree: DraftTree,
    prompts: Tensor,
    new_tokens: int,
    *,
    lengths: Tensor | None = None,
    policy: SamplingPolicy | None = None,
    seed: int = 0,
) -> tuple[Tensor, Tally]:
    """Decode ``new_tokens`` after each prompt. Returns ``(batch, new_tokens)`` and what was accepted.

    A sequence that has its tokens waits for the others; its last cycle may have emitted more, which is cut off.
    """
    loop = start_loop(target, draft, tree, prompts, room=new_tokens, lengths=lengths, policy=policy, seed=seed)
    begin = loop.batch.lengths + 1
    while bool((active := loop.batch.lengths + 1 - begin < new_tokens).any()):
        loop.cycle(active)
    return _new_tokens(loop.batch, begin, new_tokens), loop.tally
