"""Decoding of a batch of prompts: prompt reading, autoregressive decoding, and speculative decoding."""

from __future__ import annotations

import torch
from torch import Tensor

from gpu_validate.decoding.loop import SpeculativeLoop
from gpu_validate.decoding.sequences import SamplingPolicy, Sequences, Tally, draw
from gpu_validate.decoding.tree_layout import TreeTables, causal_placement
from gpu_validate.models.attention import Placement
from gpu_validate.models.decoder import Decoder, KVCache
from gpu_validate.models.eagle import EagleDraft
from scylla_sim.acceptance.trees import DraftTree
from scylla_sim.checks import fail


def _prompt_place(model: Decoder | EagleDraft, tokens: Tensor) -> Placement:
    """Return the placement of all but the last token of prompts. Padding lies beyond every length."""
    starts = torch.zeros(len(tokens), dtype=torch.int64, device=tokens.device)
    return causal_placement(starts, tokens.shape[1] - 1, model.spec)


def _prefill(model: Decoder, cache: KVCache, tokens: Tensor) -> Tensor | None:
    """Read all but the last token of prompts, if there are any, and return their features."""
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
    """Decode one token per step, the reference for speculative decoding.

    Parameters
    ----------
    target
        Model that decodes.
    prompts
        ``(batch, longest)`` tokens, padded on the right.
    new_tokens
        Tokens to decode after each prompt.
    lengths
        Tokens of each prompt; all have the longest by default.
    policy
        How tokens are chosen; greedy by default.
    generator
        Random generator for sampling.

    Returns
    -------
    Tensor
        ``(batch, new_tokens)``.
    """
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
    """Read the prompts and return a loop with room for ``room`` new tokens.

    Parameters
    ----------
    target, draft
        The two models.
    tree
        Draft tree.
    prompts
        ``(batch, longest)`` tokens, padded on the right.
    room
        New tokens that fit into the caches.
    lengths
        Tokens of each prompt; all have the longest by default.
    policy
        How tokens are chosen; greedy by default.
    seed
        Seed of the random generator.

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
    """Decode ``new_tokens`` after each prompt with drafts.

    A finished sequence waits for the others. Tokens that its last cycle emitted beyond ``new_tokens`` are cut off.
    Parameters are those of `start_loop`.

    Returns
    -------
    tokens
        ``(batch, new_tokens)``.
    tally
        Accepted tokens by depth and rank.
    """
    loop = start_loop(target, draft, tree, prompts, room=new_tokens, lengths=lengths, policy=policy, seed=seed)
    begin = loop.batch.lengths + 1
    while bool((active := loop.batch.lengths + 1 - begin < new_tokens).any()):
        loop.cycle(active)
    return _new_tokens(loop.batch, begin, new_tokens), loop.tally
