"""Loops that accept at given rates, in the middle of a generation, and the calls that are timed."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from gpu_validate.decoding.loop import SpeculativeLoop
from gpu_validate.decoding.sequences import Proposal, SamplingPolicy, Sequences
from gpu_validate.decoding.tree_layout import TreeTables, causal_placement
from gpu_validate.device.clocks import Call
from gpu_validate.models.decoder import Decoder
from gpu_validate.suites.random_models import random_caches
from scylla_sim.acceptance.trees import ROOT, DraftTree

ASSUMED_RATES = (0.7, 0.15, 0.05, 0.02)
"""Assumed acceptance of the draft's first, second and further choices at every depth, similar to published values.
"""


def expected_tokens(tree: DraftTree, rates: Sequence[float]) -> float:
    """Return the mean number of tokens that a cycle emits at given rates.

    It is one plus the probability of each node to be accepted.

    Examples
    --------
    >>> from scylla_sim.acceptance.trees import chain
    >>> round(expected_tokens(chain(2), [0.5]), 3)
    1.75
    """
    reached: list[float] = []
    for parent, rank in zip(tree.parents, tree.ranks):
        reached.append(rates[rank] * (1.0 if parent == ROOT else reached[parent]))
    return 1.0 + sum(reached)


def loop_at_rates(
    pair: tuple[Decoder, Decoder],
    tree: DraftTree,
    batch: int,
    context: int,
    given: Sequence[Sequence[float]],
    *,
    static: bool = False,
    room: int = 0,
) -> SpeculativeLoop:
    """Return a loop in the middle of a generation that accepts at given rates.

    Parameters
    ----------
    pair
        Target and draft.
    tree
        Draft tree.
    batch, context
        Sequences, and random tokens of each in both caches.
    given
        Conditional acceptance ``[depth][rank]``.
    static
        Whether the loop fits into a CUDA graph. Without ``room``, every cycle then begins at the same context.
    room
        Room in the caches beyond what one cycle needs, in tokens.
    """
    target, draft = pair
    device = target.norm.device
    capacity = context + room + tree.num_nodes + 2 * (tree.draft_len + 1)
    lengths = torch.full((batch,), context, device=device)
    target_cache, draft_cache = random_caches((target.spec, draft.spec), batch, capacity, target.norm)
    return SpeculativeLoop(
        target=target,
        draft=draft,
        tables=TreeTables.of(tree, device),
        policy=SamplingPolicy(rates=torch.tensor(given, device=device)),
        batch=Sequences(torch.randint(target.spec.vocab_size, (batch, capacity), device=device), lengths),
        target_cache=target_cache,
        draft_cache=draft_cache,
        draft_lengths=lengths.clone(),
        generator=torch.Generator(device=device).manual_seed(0),
        static=static,
        context=context if static and not room else None,
    )


def rewind(loop: SpeculativeLoop, context: int) -> None:
    """Reset a loop to its context, with as many tokens left for the draft to read as after the last cycle."""
    behind = (loop.batch.lengths - loop.draft_lengths).clamp(min=0)
    loop.batch.lengths.fill_(context)
    loop.draft_lengths = loop.batch.lengths - behind


def part_call(loop: SpeculativeLoop, part: str, context: int) -> Call:
    """Return the call that is timed: a whole cycle, its drafting or its verification."""
    if part == "cycle":

        def cycle() -> None:
            rewind(loop, context)
            loop.cycle()

        return cycle
    if part == "draft":

        def draft() -> Proposal:
            loop.draft_lengths = loop.batch.lengths.clone()
            return loop.propose()

        return draft
    proposal = loop.propose()
    return lambda: loop.score(proposal)


def plain_call(target: Decoder, batch: int, context: int) -> Call:
    """Return a plain step that chooses a token and writes it after the context."""
    device = target.norm.device
    tokens = torch.randint(target.spec.vocab_size, (batch, context + 2), device=device)
    (store,) = random_caches((target.spec,), batch, context + 1, target.norm)
    known = Sequences(tokens, torch.full((batch,), context, device=device))
    one = torch.ones_like(known.lengths)

    def step() -> None:
        known.lengths.fill_(context)
        place = causal_placement(known.lengths, 1, target.spec, bound=context + 1, context=context)
        logits = target(known.root(), store, place)
        known.extend(logits[:, -1].argmax(-1)[:, None], one)

    return step
