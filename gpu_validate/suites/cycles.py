"""Suite ``specdecode``: whole draft-verify cycles at given acceptance, their parts, and the plain step.

Every call starts from the same context, so its samples have one distribution. Accepted tokens are drawn at the
given rates. The contexts are random numbers in the caches, and no prompt is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from typing import Any

import torch

from gpu_validate.decoding.loop import SpeculativeLoop
from gpu_validate.device.clocks import Call
from gpu_validate.device.facts import Device, torch_dtype
from gpu_validate.models.attention import decoder_kernel
from gpu_validate.models.decoder import Decoder
from gpu_validate.suites.case import ELEMENT_BYTES, Case
from gpu_validate.suites.costs import cycle_cost, model_bytes
from gpu_validate.suites.loops_at_rates import ASSUMED_RATES, expected_tokens, loop_at_rates, part_call, plain_call
from gpu_validate.suites.random_models import random_pair
from scylla_sim.acceptance.trees import DraftTree, chain, full_tree
from scylla_sim.specs import catalog
from scylla_sim.specs.model import Model

_CHAINS = {"ci": (1, 2, 4), "small": (1, 2, 3, 5, 8), "full": (1, 2, 3, 4, 5, 6, 8, 10)}
"""Draft lengths of the chains by scale."""
_BRANCHINGS = {"ci": ((2, 2),), "small": ((2, 2), (4, 4)), "full": ((2, 2), (3, 3), (4, 4), (2, 2, 2))}
"""Children of each level of the trees by scale."""


@dataclass(frozen=True)
class Grid:
    """Target, draft, and the batches and contexts at which every tree is timed."""

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
"""Grids by kind of device and scale. Models of a pair share a vocabulary. One target has drafts of several sizes,
up to its own size.
"""


PARTS = ("draft", "verify", "cycle")
"""Parts of a cycle that are timed."""


def _columns(device: Device, names: tuple[str, str], batch: int, context: int, *, graph: bool) -> dict[str, Any]:
    """Return the columns that all cases of the suite have."""
    return {
        **{"device": device.hardware, "dtype": device.dtype, "model": names[0], "draft": names[1]},
        **{"batch": batch, "context": context, "graph": int(graph)},
        **{"framework": "torch", "version": device.versions["torch"]},
        "kernel_source": decoder_kernel(device.kind),
    }


def uses_graphs(device: Device) -> bool:
    """Return whether cycles are captured into CUDA graphs by default, as in engines."""
    return device.kind == "cuda"


def _suffix(device: Device, graph: bool) -> str:
    """Return the suffix that distinguishes an eager case from a graph."""
    return "-eager" if uses_graphs(device) and not graph else ""


Make = Callable[[], tuple[Decoder, Decoder]]
"""Function that returns target and draft."""


@dataclass(frozen=True)
class Acceptance:
    """Acceptance at which a cycle is timed.

    Attributes
    ----------
    rates
        Conditional acceptance ``[depth][rank]``.
    tokens_per_cycle
        Mean number of emitted tokens per cycle.
    facts
        Further columns of the row.
    """

    rates: Sequence[Sequence[float]]
    tokens_per_cycle: float
    facts: Mapping[str, Any] = field(default_factory=dict)

    @staticmethod
    def assumed(tree: DraftTree) -> Acceptance:
        """Return the same rates at every depth."""
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
    """Return the plain step that speed-ups refer to.

    Parameters
    ----------
    device
        Device under test.
    specs
        Target and draft.
    make
        Function that returns the two models.
    batch, context
        Shape.
    names
        Names of the models in the row; those of the specs by default.
    graph
        Whether to capture a graph; `uses_graphs` by default.
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
        build=lambda: [plain_call(make()[0], batch, context)],
        graph=graph,
    )


def _names(specs: tuple[Model, Model]) -> tuple[str, str]:
    """Return the names of the two specs."""
    return specs[0].name, specs[1].name


@dataclass(frozen=True)
class _PartRun:
    """The run of one part of a cycle: builds the loop, and reports its acceptance afterwards."""

    make: Make
    shape: tuple[int, int]
    tree: DraftTree
    part: str
    accept: Callable[[], Acceptance]
    graph: bool
    timed: list[tuple[SpeculativeLoop, Acceptance]] = field(default_factory=list)

    def build(self) -> Sequence[Call]:
        """Return the timed call. Only a whole cycle needs the measured acceptance."""
        found = self.accept() if self.part == "cycle" else Acceptance.assumed(self.tree)
        loop = loop_at_rates(self.make(), self.tree, *self.shape, found.rates, static=self.graph)
        self.timed[:] = [(loop, found)]
        return [part_call(loop, self.part, self.shape[1])]

    def facts(self) -> Mapping[str, Any]:
        """Return the columns that are known after the measurement."""
        if self.part != "cycle":
            return {}
        loop, found = self.timed[0]
        return {
            "tokens_per_cycle": found.tokens_per_cycle,
            **found.facts,
            "tokens_per_cycle_seen": loop.tokens_per_cycle,
        }

    def generators(self) -> list[torch.Generator]:
        """Return the random generators of the loop."""
        return [loop.generator for loop, _ in self.timed]


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
    """Return one part of a cycle.

    Parameters
    ----------
    device
        Device under test.
    specs
        Target and draft.
    make
        Function that returns the two models.
    shape
        ``(batch, context)``.
    tree
        Draft tree.
    part
        One of `PARTS`.
    names
        Names of the models in the row; those of the specs by default.
    accept
        Function that measures the acceptance, called when a whole cycle is about to be timed.
    graph
        Whether to capture a graph; `uses_graphs` by default.
    """
    graph = uses_graphs(device) if graph is None else graph
    batch, context = shape
    cost = cycle_cost(specs, tree, shape, device.dtype, verify=part != "draft", draft=part != "verify")
    assumed = Acceptance.assumed(tree)
    run = _PartRun(make, shape, tree, part, accept or (lambda: assumed), graph)
    width = max(tree.ranks) + 1
    return Case(
        id=f"{part}-{specs[0].name}-{specs[1].name}-b{batch}-s{context}-l{tree.draft_len}-k{width}"
        f"{_suffix(device, graph)}",
        shape={
            "op": part,
            **_columns(device, names or _names(specs), batch, context, graph=graph),
            "draft_len": tree.draft_len,
            "top_k": width,
            "verify_tokens": tree.verify_tokens,
            "tokens_per_cycle": assumed.tokens_per_cycle,
        },
        flop=cost.flop,
        bytes=cost.bytes,
        memory_bytes=model_bytes(
            specs, batch * (context + tree.num_nodes + 2 * (tree.draft_len + 1)), device.dtype
        ),
        build=run.build,
        facts=run.facts,
        graph=graph,
        generators=run.generators,
        release=run.timed.clear,
    )


def trees(scale: str) -> list[DraftTree]:
    """Return the chains and full trees that are timed at a scale."""
    return [chain(length) for length in _CHAINS[scale]] + [full_tree(widths) for widths in _BRANCHINGS[scale]]


def cases(device: Device, scale: str) -> Iterator[Case]:
    """Yield all cases of the suite. A target's plain step is timed once at each batch and context."""
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
