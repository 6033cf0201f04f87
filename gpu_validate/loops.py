"""Suite ``specdecode``: whole draft-verify cycles at given acceptance, their parts, and the plain step beside.

Every call starts from the same context, so its samples are of one distribution; which tokens are accepted is drawn
at the given rates. The contexts are random numbers in the caches: no prompt is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from typing import Any

import torch

from gpu_validate.blocks import Cache, Decoder, step_cost
from gpu_validate.cases import ELEMENT_BYTES, Case
from gpu_validate.clocks import Call
from gpu_validate.device import Device, torch_dtype
from gpu_validate.ragged import TreeTables, causal_place
from gpu_validate.specdecode import Loop, Policy, Proposal, Sequences
from scylla_sim import catalog
from scylla_sim.specs import Model
from scylla_sim.trees import ROOT, DraftTree, chain, full_tree

_CHAINS = {"ci": (1, 2, 4), "small": (1, 2, 3, 5, 8), "full": (1, 2, 3, 4, 5, 6, 8, 10)}
_BRANCHINGS = {"ci": ((2, 2),), "small": ((2, 2), (4, 4)), "full": ((2, 2), (3, 3), (4, 4), (2, 2, 2))}

GRIDS = {
    ("cuda", "ci"): ("llama-3.1-8b", "llama-3.2-1b", (1, 16), (1024,)),
    ("cuda", "small"): ("llama-3.1-8b", "llama-3.2-1b", (1, 16), (1024, 8192)),
    ("cuda", "full"): ("llama-3.1-8b", "llama-3.2-1b", (1, 2, 4, 8, 16, 32, 64), (1024, 8192, 32768)),
    ("cpu", "ci"): ("llama-160m", "llama-68m", (1, 4), (256,)),
    ("cpu", "small"): ("llama-160m", "llama-68m", (1, 4, 8), (256, 1024)),
    ("cpu", "full"): ("tinyllama-1.1b", "llama-68m", (1, 2, 4, 8), (256, 1024)),
}
"""Target, draft, and grids of batch and context."""

RATES = (0.7, 0.15, 0.05, 0.02)
"""Given acceptance of the draft's first, second ... choice at every depth: of the order of published ones."""

PARTS = ("draft", "verify", "cycle")


def expected_tokens(tree: DraftTree, rates: Sequence[float]) -> float:
    """Tokens a cycle emits on average at given rates: one, and each node's probability of being accepted.

    Examples
    --------
    >>> round(expected_tokens(chain(2), [0.5]), 3)
    1.75
    """
    reached: list[float] = []
    for parent, rank in zip(tree.parents, tree.ranks):
        reached.append(rates[rank] * (1.0 if parent == ROOT else reached[parent]))
    return 1.0 + sum(reached)


def _loop(target: Decoder, draft: Decoder, tree: DraftTree, batch: int, context: int) -> Loop:
    """A loop in the middle of a generation: ``context`` tokens a sequence in both caches."""
    device = target.norm.device
    capacity = context + tree.num_nodes + tree.draft_len + 3
    tokens = torch.randint(target.spec.vocab_size, (batch, capacity), device=device)
    lengths = torch.full((batch,), context, device=device)
    rates = torch.tensor([RATES] * tree.draft_len, device=device)
    return Loop(
        target=target,
        draft=draft,
        tables=TreeTables.of(tree, device),
        policy=Policy(rates=rates),
        batch=Sequences(tokens, lengths),
        target_cache=Cache.empty(target.spec, batch, capacity, target.norm).fill_randomly(),
        draft_cache=Cache.empty(draft.spec, batch, capacity, draft.norm).fill_randomly(),
        held=lengths.clone(),
        generator=torch.Generator(device=device).manual_seed(0),
    )


def _rewind(loop: Loop, context: int) -> None:
    """Back to the context, the draft as many tokens behind as the last cycle left it."""
    behind = (loop.batch.lengths - loop.held).clamp(min=0)
    loop.batch.lengths = torch.full_like(loop.batch.lengths, context)
    loop.held = loop.batch.lengths - behind


def _part(loop: Loop, part: str, context: int) -> Call:
    """The call that is timed: a whole cycle, or its drafting, or its verification."""
    if part == "cycle":

        def cycle() -> None:
            _rewind(loop, context)
            loop.cycle()

        return cycle
    if part == "draft":

        def draft() -> Proposal:
            loop.held = loop.batch.lengths.clone()
            return loop.propose()

        return draft
    proposal = loop.propose()
    return lambda: loop.score(proposal)


def _plain_call(target: Decoder, batch: int, context: int) -> Call:
    """A plain step with the choice of its token."""
    tokens = torch.randint(target.spec.vocab_size, (batch, context + 2), device=target.norm.device)
    store = Cache.empty(target.spec, batch, context + 1, target.norm).fill_randomly()
    lengths = torch.full((batch,), context, device=target.norm.device)
    one = torch.ones_like(lengths)

    def step() -> None:
        known = Sequences(tokens, lengths)
        logits = target(known.root(), store, causal_place(lengths, 1, target.spec))
        known.extend(logits[:, -1].argmax(-1)[:, None], one)

    return step


def _cost(
    part: str, specs: tuple[Model, Model], tree: DraftTree, batch: int, context: int, element: float
) -> tuple[float, float]:
    """FLOPs and bytes of a part: the target's pass over the tree, the draft's over all levels but the last."""
    target, draft = specs
    total = [0.0, 0.0]
    passes = [(target, tree.verify_tokens)] if part in ("verify", "cycle") else []
    if part in ("draft", "cycle"):
        passes += [(draft, level.rows.numel()) for level in TreeTables.of(tree).levels]
    for spec, tokens in passes:
        for index, value in enumerate(step_cost(spec, batch, context, tokens, element)):
            total[index] += value
    return total[0], total[1]


def _columns(device: Device, specs: tuple[Model, Model], batch: int, context: int) -> dict[str, Any]:
    target, draft = specs
    return {
        **{"device": device.hardware, "dtype": device.dtype, "model": target.name, "draft": draft.name},
        **{"batch": batch, "context": context, "graph": 0},
        **{"framework": "torch", "version": device.versions["torch"]},
    }


Make = Callable[[], tuple[Decoder, Decoder]]


def plain_case(device: Device, specs: tuple[Model, Model], make: Make, batch: int, context: int) -> Case:
    """The plain step that speed-ups are relative to."""
    element = ELEMENT_BYTES[device.dtype]
    flop, size = step_cost(specs[0], batch, context, 1, element)
    return Case(
        id=f"plain-{specs[0].name}-b{batch}-s{context}",
        shape={"op": "plain", **_columns(device, specs, batch, context)},
        flop=flop,
        bytes=size,
        memory_bytes=element * sum(spec.parameters for spec in specs) + size,
        build=lambda: [_plain_call(make()[0], batch, context)],
    )


def part_case(
    device: Device, specs: tuple[Model, Model], make: Make, shape: tuple[int, int], tree: DraftTree, part: str
) -> Case:
    """One part of a cycle of ``tree`` at ``shape``, ``(batch, context)``."""
    batch, context = shape
    element = ELEMENT_BYTES[device.dtype]
    flop, size = _cost(part, specs, tree, batch, context, element)
    loops: list[Loop] = []

    def build() -> Sequence[Call]:
        loops[:] = [_loop(*make(), tree, batch, context)]
        return [_part(loops[0], part, context)]

    def facts() -> Mapping[str, Any]:
        loop = loops.pop()
        return {"tokens_per_cycle_seen": loop.tally.tokens_per_cycle} if part == "cycle" else {}

    width = max(tree.ranks) + 1
    tokens = batch * (context + tree.num_nodes + tree.draft_len + 3)
    return Case(
        id=f"{part}-{specs[0].name}-{specs[1].name}-b{batch}-s{context}-l{tree.draft_len}-k{width}",
        shape={
            "op": part,
            **_columns(device, specs, batch, context),
            "draft_len": tree.draft_len,
            "top_k": width,
            "verify_tokens": tree.verify_tokens,
            "tokens_per_cycle": expected_tokens(tree, RATES),
        },
        flop=flop,
        bytes=size,
        memory_bytes=element * sum(spec.parameters + spec.kv_elements_per_token * tokens for spec in specs),
        build=build,
        facts=facts,
    )


def cases(device: Device, scale: str) -> Iterator[Case]:
    """All cases of the suite; the weights of target and draft are built once, when the first case runs."""
    target_name, draft_name, batches, contexts = GRIDS[device.kind, scale]
    specs = (catalog.model(target_name), catalog.model(draft_name))

    @cache
    def make() -> tuple[Decoder, Decoder]:
        target, draft = (Decoder(spec, device=device.kind, dtype=torch_dtype(device)) for spec in specs)
        return target, draft

    trees = [chain(length) for length in _CHAINS[scale]] + [full_tree(widths) for widths in _BRANCHINGS[scale]]
    for batch in batches:
        for context in contexts:
            yield plain_case(device, specs, make, batch, context)
            for tree in trees:
                for part in PARTS:
                    yield part_case(device, specs, make, (batch, context), tree, part)
