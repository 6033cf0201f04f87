"""Suite ``decode``: decoding of whole texts without a rewind, timed by the clock of the host.

Sequences grow by hundreds of tokens at given acceptance, without and with drafts. After every cycle the host reads
the lengths of the sequences, as an engine must. The sum of cycles that are timed one by one must equal this time.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from gpu_validate.decoding.loop import SpeculativeLoop
from gpu_validate.decoding.sequences import Sequences
from gpu_validate.decoding.tree_layout import causal_placement
from gpu_validate.device.clocks import Call, capture_graph
from gpu_validate.device.facts import Device, torch_dtype
from gpu_validate.models.attention import decoder_kernel
from gpu_validate.models.decoder import Decoder
from gpu_validate.suites.case import Case
from gpu_validate.suites.costs import cycle_cost, model_bytes
from gpu_validate.suites.cycles import Make, uses_graphs
from gpu_validate.suites.loops_at_rates import ASSUMED_RATES, expected_tokens, loop_at_rates
from gpu_validate.suites.random_models import random_caches, random_pair
from scylla_sim.acceptance.trees import DraftTree, chain
from scylla_sim.specs import catalog
from scylla_sim.specs.model import Model


@dataclass(frozen=True)
class Grid:
    """Points of one pair of models at one context.

    Attributes
    ----------
    target, draft
        Names of the models.
    points
        ``(batch, draft length)``; length 0 is autoregressive decoding.
    context
        Tokens of each sequence at the start.
    new_tokens
        Tokens to decode.
    """

    target: str
    draft: str
    points: tuple[tuple[int, int], ...]
    context: int
    new_tokens: int


_LLAMA, _SMALL_LLAMA = "llama-3.1-8b", "llama-3.2-1b"
GRIDS = {
    ("cuda", "ci"): Grid(_LLAMA, _SMALL_LLAMA, ((1, 0), (1, 3)), 512, 64),
    ("cuda", "small"): Grid(
        _LLAMA, _SMALL_LLAMA, tuple((batch, length) for batch in (1, 32, 128) for length in (0, 3)), 512, 256
    ),
    ("cuda", "full"): Grid(
        _LLAMA,
        _SMALL_LLAMA,
        tuple((batch, length) for batch in (1, 8, 32, 128) for length in (0, 1, 3, 5)),
        512,
        512,
    ),
    ("cpu", "ci"): Grid("llama-160m", "llama-68m", ((1, 0), (1, 3)), 256, 16),
    ("cpu", "small"): Grid("llama-160m", "llama-68m", ((1, 0), (1, 3), (4, 0), (4, 3)), 256, 32),
    ("cpu", "full"): Grid("tinyllama-1.1b", "llama-68m", ((1, 0), (1, 3), (4, 0), (4, 3)), 256, 64),
}
"""Grid by kind of device and scale."""


def _cycles(tau: float, new_tokens: int) -> int:
    """Return the number of cycles that emit about ``new_tokens`` tokens."""
    return math.ceil(new_tokens / tau)


def _repeated(step: Call, lengths: torch.Tensor, context: int, cycles: int) -> Call:
    """Return a call that runs ``cycles`` cycles from the same context. The host reads the lengths after each."""

    def run() -> None:
        lengths.fill_(context)
        for _ in range(cycles):
            step()
            lengths.tolist()

    return run


def _speculative(
    pair: tuple[Decoder, Decoder], tree: DraftTree, batch: int, context: int, cycles: int, *, graph: bool
) -> tuple[Call, SpeculativeLoop]:
    """Return a call that decodes speculatively, and its loop."""
    rates = [ASSUMED_RATES] * tree.draft_len
    room = cycles * (tree.draft_len + 1)
    loop = loop_at_rates(pair, tree, batch, context, rates, static=graph, room=room)

    def cycle() -> None:
        loop.cycle()

    step: Call = capture_graph(torch.cuda, [cycle], generators=[loop.generator]) if graph else cycle
    run = _repeated(step, loop.batch.lengths, context, cycles)

    def start() -> None:
        loop.draft_lengths.fill_(context)
        run()

    return start, loop


def _plain(target: Decoder, batch: int, context: int, cycles: int, *, graph: bool) -> Call:
    """Return a call that decodes one token per step."""
    device = target.norm.device
    capacity = context + cycles + 2
    (store,) = random_caches((target.spec,), batch, capacity, target.norm)
    tokens = torch.randint(target.spec.vocab_size, (batch, capacity), device=device)
    known = Sequences(tokens, torch.full((batch,), context, device=device))
    one = torch.ones_like(known.lengths)

    def step() -> None:
        place = causal_placement(known.lengths, 1, target.spec, bound=capacity if graph else None)
        logits = target(known.root(), store, place)
        known.extend(logits[:, -1].argmax(-1)[:, None], one)

    call: Call = capture_graph(torch.cuda, [step]) if graph else step
    return _repeated(call, known.lengths, context, cycles)


def _tokens_per_cycle(tree: DraftTree | None) -> float:
    """Return the expected tokens per cycle at the assumed rates; 1 without a draft."""
    return expected_tokens(tree, ASSUMED_RATES) if tree else 1.0


def _shape(
    device: Device, specs: tuple[Model, Model], grid: Grid, batch: int, tree: DraftTree | None
) -> dict[str, Any]:
    """Return the columns that describe a case."""
    return {
        "op": "decode",
        "device": device.hardware,
        "dtype": device.dtype,
        "model": specs[0].name,
        "draft": specs[1].name if tree else "",
        "batch": batch,
        "context": grid.context,
        "new_tokens": grid.new_tokens,
        "draft_len": tree.draft_len if tree else 0,
        "top_k": int(bool(tree)),
        "verify_tokens": tree.verify_tokens if tree else 1,
        "tokens_per_cycle": _tokens_per_cycle(tree),
        "graph": int(uses_graphs(device)),
        "framework": "torch",
        "version": device.versions["torch"],
        "kernel_source": decoder_kernel(device.kind),
    }


def decode_case(
    device: Device, specs: tuple[Model, Model], make: Make, grid: Grid, batch: int, draft_len: int
) -> Case:
    """Return the case of ``grid.new_tokens`` tokens per sequence, plain or with drafted chains."""
    graph = uses_graphs(device)
    tree = chain(draft_len) if draft_len else None
    cycles = _cycles(_tokens_per_cycle(tree), grid.new_tokens)
    middle = grid.context + grid.new_tokens // 2
    cost = cycle_cost(specs, tree, (batch, middle), device.dtype)
    held: list[SpeculativeLoop] = []

    def build() -> Sequence[Call]:
        pair = make()
        if tree is None:
            return [_plain(pair[0], batch, grid.context, cycles, graph=graph)]
        call, loop = _speculative(pair, tree, batch, grid.context, cycles, graph=graph)
        held[:] = [loop]
        return [call]

    def facts() -> Mapping[str, Any]:
        return {"tokens_per_cycle_seen": held[0].tokens_per_cycle if held else 1.0}

    def rates(seconds: float) -> Mapping[str, Any]:
        return {"tokens_per_s": batch * (held[0].tokens_per_cycle if held else 1.0) / seconds}

    tokens = batch * (grid.context + cycles * (draft_len + 1) + 3 * (draft_len + 1))
    return Case(
        id=f"decode-{specs[0].name}-{specs[1].name}-b{batch}-s{grid.context}-n{grid.new_tokens}-l{draft_len}",
        shape=_shape(device, specs, grid, batch, tree),
        flop=cost.flop,
        bytes=cost.bytes,
        memory_bytes=model_bytes(specs, tokens, device.dtype),
        build=build,
        facts=facts,
        rates=rates,
        release=held.clear,
        work=cycles,
        wall=True,
    )


def grid_cases(device: Device, grid: Grid) -> Iterator[Case]:
    """Yield all points of a grid."""
    specs = (catalog.model(grid.target), catalog.model(grid.draft))
    make: Callable[[], tuple[Decoder, Decoder]] = partial(random_pair, specs, device.kind, torch_dtype(device))
    for batch, draft_len in grid.points:
        yield decode_case(device, specs, make, grid, batch, draft_len)


def cases(device: Device, scale: str) -> Iterator[Case]:
    """Yield all cases of the suite."""
    yield from grid_cases(device, GRIDS[device.kind, scale])
