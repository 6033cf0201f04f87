"""Suite ``specdecode``: whole draft-verify cycles at given acceptance, their parts, and the plain step beside.

Every call starts from the same context, so its samples are of one distribution; which tokens are accepted is drawn
at the given rates. The contexts are random numbers in the caches: no prompt is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from typing import Any

import torch

from gpu_validate.decoding.loop import SpeculativeLoop
from gpu_validate.decoding.sequences import Proposal, SamplingPolicy, Sequences
from gpu_validate.decoding.tree_layout import TreeTables, causal_placement
from gpu_validate.device.clocks import Call
from gpu_validate.device.facts import Device, torch_dtype
from gpu_validate.models.attention import decoder_kernel
from gpu_validate.models.decoder import Decoder
from gpu_validate.suites.case import ELEMENT_BYTES, Case
from gpu_validate.suites.costs import cycle_cost
from gpu_validate.suites.random_models import random_caches, random_pair
from scylla_sim.acceptance.trees import ROOT, DraftTree, chain, full_tree
from scylla_sim.specs import catalog
from scylla_sim.specs.model import Model

_CHAINS = {"ci": (1, 2, 4), "small": (1, 2, 3, 5, 8), "full": (1, 2, 3, 4, 5, 6, 8, 10)}
_BRANCHINGS = {"ci": ((2, 2),), "small": ((2, 2), (4, 4)), "full": ((2, 2), (3, 3), (4, 4), (2, 2, 2))}


@dataclass(frozen=True)
class Grid:
    """A target, a draft of some size, and the batches and contexts they are timed at with every tree."""

    target: str
    draft: str
    batches: tuple[int, ...]
    contexts: tuple[int, ...]


_LLAMA, _OLD_LLAMA = "llama-3.1-8b", "llama-2-7b"
GRIDS = {
    ("cuda", "ci"): (
        Grid(_LLAMA, "llama-3.2-1b", (1, 16), (1024,)),
        Grid(_OLD_LLAMA, "llama-68m", (1,), (1024,)),
    ),
    ("cuda", "small"): (
        Grid(_LLAMA, "llama-3.2-1b", (1, 16), (1024, 8192)),
        Grid(_OLD_LLAMA, "llama-68m", (1, 16), (1024,)),
        Grid(_OLD_LLAMA, "tinyllama-1.1b", (1,), (1024,)),
    ),
    ("cuda", "full"): (
        Grid(_LLAMA, "llama-3.2-1b", (1, 2, 4, 8, 16, 32, 64), (1024, 8192, 32768)),
        Grid(_OLD_LLAMA, "llama-68m", (1, 4, 16), (1024, 4096)),
        Grid(_OLD_LLAMA, "llama-160m", (1, 4, 16), (1024, 4096)),
        Grid(_OLD_LLAMA, "tinyllama-1.1b", (1, 4, 16), (1024, 4096)),
    ),
    ("cpu", "ci"): (
        Grid("llama-160m", "llama-68m", (1, 4), (256,)),
        Grid("llama-160m", "llama-160m", (1,), (256,)),
    ),
    ("cpu", "small"): (
        Grid("llama-160m", "llama-68m", (1, 4, 8), (256, 1024)),
        Grid("llama-160m", "llama-160m", (1, 4), (256,)),
    ),
    ("cpu", "full"): (
        Grid("tinyllama-1.1b", "llama-68m", (1, 2, 4, 8), (256, 1024)),
        Grid("tinyllama-1.1b", "llama-160m", (1, 2, 4, 8), (256, 1024)),
    ),
}
"""Pairs share a vocabulary; drafts of several sizes for one target, a draft as large as its target the extreme."""

ASSUMED_RATES = (0.7, 0.15, 0.05, 0.02)
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
    """A loop in the middle of a generation, accepting at ``given`` rates ``[depth][rank]``.

    Both caches hold ``context`` random tokens a sequence, and have room for ``room`` more than one cycle needs. A
    ``static`` one fits into a CUDA graph; without room it is known to begin every cycle at the same context.
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
    """Back to the context, the draft as many tokens behind as the last cycle left it."""
    behind = (loop.batch.lengths - loop.draft_lengths).clamp(min=0)
    loop.batch.lengths.fill_(context)
    loop.draft_lengths = loop.batch.lengths - behind


def _part(loop: SpeculativeLoop, part: str, context: int) -> Call:
    """The call that is timed: a whole cycle, or its drafting, or its verification."""
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


def _plain_call(target: Decoder, batch: int, context: int) -> Call:
    """A plain step with the choice of its token, written after the context each time."""
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


def _columns(device: Device, names: tuple[str, str], batch: int, context: int, *, graph: bool) -> dict[str, Any]:
    return {
        **{"device": device.hardware, "dtype": device.dtype, "model": names[0], "draft": names[1]},
        **{"batch": batch, "context": context, "graph": int(graph)},
        **{"framework": "torch", "version": device.versions["torch"]},
        "kernel_source": decoder_kernel(device.kind),
    }


def uses_graphs(device: Device) -> bool:
    """Whether cycles are captured into CUDA graphs, as engines do it, where nothing else is asked for."""
    return device.kind == "cuda"


def _suffix(device: Device, graph: bool) -> str:
    """Tells an eager case from its graph where there are graphs."""
    return "-eager" if uses_graphs(device) and not graph else ""


Make = Callable[[], tuple[Decoder, Decoder]]


@dataclass(frozen=True)
class Acceptance:
    """Rates ``[depth][rank]`` at which a cycle's tokens are accepted, what they give, and what else is known."""

    rates: Sequence[Sequence[float]]
    tokens_per_cycle: float
    facts: Mapping[str, Any] = field(default_factory=dict)

    @staticmethod
    def assumed(tree: DraftTree) -> Acceptance:
        """The same rates at every depth, whatever the models say."""
        return Acceptance([ASSUMED_RATES] * tree.draft_len, expected_tokens(tree, ASSUMED_RATES))


def plain_case(
    device: Device,
    specs: tuple[Model, Model],
    make: Make,
    batch: int,
    context: int,
    *,
    names: tuple[str, str] | None = None,
    graph: bool | None = None,
) -> Case:
    """The plain step that speed-ups are relative to.

    ``names`` of the models where they are not their specs'; ``graph`` where it is not `uses_graphs`.
    """
    graph = uses_graphs(device) if graph is None else graph
    element = ELEMENT_BYTES[device.dtype]
    cost = cycle_cost(specs, None, (batch, context), device.dtype)
    return Case(
        id=f"plain-{specs[0].name}-b{batch}-s{context}{_suffix(device, graph)}",
        shape={"op": "plain", **_columns(device, names or _names(specs), batch, context, graph=graph)},
        flop=cost.flop,
        bytes=cost.bytes,
        memory_bytes=element * sum(spec.parameters for spec in specs)
        + element * (specs[0].kv_elements_per_token * batch * (context + 2) + 2 * batch * specs[0].vocab_size),
        build=lambda: [_plain_call(make()[0], batch, context)],
        graph=graph,
    )


def _names(specs: tuple[Model, Model]) -> tuple[str, str]:
    return specs[0].name, specs[1].name


def part_case(
    device: Device,
    specs: tuple[Model, Model],
    make: Make,
    shape: tuple[int, int],
    tree: DraftTree,
    part: str,
    *,
    names: tuple[str, str] | None = None,
    accept: Callable[[], Acceptance] | None = None,
    graph: bool | None = None,
) -> Case:
    """One part of a cycle of ``tree`` at ``shape``, ``(batch, context)``.

    ``accept`` is asked when a whole cycle is about to be timed, so that it can be measured then. ``graph`` is given
    where it is not `uses_graphs`.
    """
    graph = uses_graphs(device) if graph is None else graph
    batch, context = shape
    element = ELEMENT_BYTES[device.dtype]
    cost = cycle_cost(specs, tree, shape, device.dtype, verify=part != "draft", draft=part != "verify")
    given = Acceptance.assumed(tree)
    timed: list[tuple[SpeculativeLoop, Acceptance]] = []

    def build() -> Sequence[Call]:
        found = accept() if accept is not None and part == "cycle" else given
        timed[:] = [(loop_at_rates(make(), tree, batch, context, found.rates, static=graph), found)]
        return [_part(timed[0][0], part, context)]

    def facts() -> Mapping[str, Any]:
        loop, found = timed[0]
        if part != "cycle":
            return {}
        said = {"tokens_per_cycle": found.tokens_per_cycle, **found.facts}
        return {**said, "tokens_per_cycle_seen": loop.tokens_per_cycle}

    width = max(tree.ranks) + 1
    tokens = batch * (context + tree.num_nodes + 2 * (tree.draft_len + 1))
    return Case(
        id=f"{part}-{specs[0].name}-{specs[1].name}-b{batch}-s{context}-l{tree.draft_len}-k{width}"
        f"{_suffix(device, graph)}",
        shape={
            "op": part,
            **_columns(device, names or _names(specs), batch, context, graph=graph),
            "draft_len": tree.draft_len,
            "top_k": width,
            "verify_tokens": tree.verify_tokens,
            "tokens_per_cycle": given.tokens_per_cycle,
        },
        flop=cost.flop,
        bytes=cost.bytes,
        memory_bytes=element * sum(spec.parameters + spec.kv_elements_per_token * tokens for spec in specs),
        build=build,
        facts=facts,
        graph=graph,
        generators=lambda: [loop.generator for loop, _ in timed],
        release=timed.clear,
    )


def trees(scale: str) -> list[DraftTree]:
    """Chains and full trees that are timed at a scale."""
    return [chain(length) for length in _CHAINS[scale]] + [full_tree(widths) for widths in _BRANCHINGS[scale]]


def cases(device: Device, scale: str) -> Iterator[Case]:
    """All cases of the suite; a target's plain step is timed once at each batch and context."""
    plain: set[str] = set()
    for grid in GRIDS[device.kind, scale]:
        specs = (catalog.model(grid.target), catalog.model(grid.draft))
        make = partial(random_pair, specs, device.kind, torch_dtype(device))
        for batch, context in product(grid.batches, grid.contexts):
            step = plain_case(device, specs, make, batch, context)
            if step.id not in plain:
                plain.add(step.id)
                yield step
            for tree in trees(scale):
                for part in PARTS:
                    yield part_case(device, specs, make, (batch, context), tree, part)
