"""Draft design: which layers, pretraining tokens, tree and draft length serve a load fastest for a training budget.

Theorems 1.1 and 1.2 say what a draft of D layers trained on T tokens is worth at the reference tree; the step costs
say what drafting and verifying it takes. Deeper drafts accept more and draft slower, larger trees accept more and
verify slower, and both trade-offs move with the batch: this is the search over all of them at once. The same search
under SDSL's law, the rival, shows which part of a design rests on the theorems.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from scylla_sim.acceptance import drafting
from scylla_sim.acceptance.profiles import iid_tokens_per_cycle
from scylla_sim.acceptance.speculative_config import SpeculativeConfig
from scylla_sim.checks import FloatArray, one_of, positive
from scylla_sim.laws import sdsl, theorems
from scylla_sim.laws.sdsl import draft_rate
from scylla_sim.ops import memory
from scylla_sim.prediction.steps import Deployment
from scylla_sim.prediction.throughput import predict_each
from scylla_sim.specs.draft import Draft
from scylla_sim.specs.model import Model

LAYERS = tuple(range(1, 11))
DRAFT_LENGTHS = (1, 2, 3, 4, 5, 6, 8)
WIDTHS = (1, 4, 10)
TREE_SIZES = (8, 16, 32, 61)
"""The grid of the search: layers in the range of Theorem 1.2, chains, and trees up to the paper's 61 tokens."""

MAX_TOKENS = 100e9
"""Upper end of Theorem 1.1's range; a larger budget is not spent, the law is flat above 50 billion anyway."""
LAWS = ("theorems", "sdsl")
"""Where acceptance comes from: Theorems 1.1 and 1.2 refitted to Fig. 1, or SDSL's published plane over
perplexities, which takes the head for an independent model of its weights."""

FLAT = 0.02
"""Designs within this share of the best are called equally good: the intervals of tau are wider than that."""


@dataclass(frozen=True)
class Budget:
    """What may be spent on training: tokens, or FLOPs, or both (the tighter one counts)."""

    tokens: float = MAX_TOKENS
    flop: float = float("inf")

    def __post_init__(self) -> None:
        positive("train_tokens", self.tokens)
        if not self.flop > 0:
            positive("train_flop", self.flop)


def training_flop_per_token(draft: Draft, target: Model) -> float:
    """FLOPs to train a head on one token: 6 per weight of the draft, 2 per weight of the target for its features.

    Examples
    --------
    >>> from scylla_sim.specs import catalog
    >>> llama = catalog.model("llama-3.1-8b")
    >>> f"{training_flop_per_token(catalog.draft('scylla-1l'), llama):.2e}"
    '1.76e+10'
    """
    return 6.0 * memory.draft_parameters(draft, target) + 2.0 * target.active_parameters


def affordable_tokens(draft: Draft, target: Model, budget: Budget) -> float:
    """Pretraining tokens that a budget allows for a draft."""
    return min(budget.tokens, budget.flop / training_flop_per_token(draft, target), MAX_TOKENS)


@dataclass(frozen=True)
class Design:
    """The best design of one batch, its interval, and what else is as good.

    ``layers_range``, ``draft_len_range`` and ``verify_tokens_range`` span the designs within `FLAT` of the best.
    ``optimum_layers``, ``optimum_draft_len`` and ``optimum_verify_tokens`` are the best at the lower and upper end
    of the law's interval.
    """

    law: str
    batch_size: int
    layers: int
    train_tokens: float
    draft_len: int
    top_k: int
    verify_tokens: int
    tokens_per_cycle: float
    tokens_per_s: float
    speedup: float
    speedup_lower: float
    speedup_upper: float
    optimum_layers: tuple[int, int]
    optimum_draft_len: tuple[int, int]
    optimum_verify_tokens: tuple[int, int]
    layers_range: tuple[int, int]
    draft_len_range: tuple[int, int]
    verify_tokens_range: tuple[int, int]
    designs_as_good: int


def shapes() -> list[drafting.DraftShape]:
    """Every chain and tree of the grid that its draft length can fill."""
    found = []
    for length, width in product(DRAFT_LENGTHS, WIDTHS):
        if width == 1:
            found.append(drafting.DraftShape(length, 1, length + 1))
            continue
        candidates = 1 + width + (length - 1) * width**2
        found += [drafting.DraftShape(length, width, size) for size in TREE_SIZES if size <= candidates]
    return found


@dataclass(frozen=True)
class _Grid:
    """Everything predicted: axes are (law's lower, value, upper; layers; shapes; batch). ``tau`` has no batch, the
    interval of the speed-up, ``low`` and ``high``, no first axis."""

    speedup: FloatArray
    tokens_per_s: FloatArray
    tau: FloatArray
    low: FloatArray
    high: FloatArray


def _rates(law: str, draft: Draft, target: Model, train_tokens: float) -> list[float]:
    """The top-1 rate of a trained draft by a law: lower end, value, upper end."""
    if law == "sdsl":
        size = memory.draft_parameters(draft, target)
        rate = sdsl.draft_rate(size, train_tokens, float(target.active_parameters))
        return [float(rate.lower), float(rate.value), float(rate.upper)]
    tau = theorems.tokens_per_cycle(layers=draft.num_layers, train_tokens=train_tokens).tau
    return [drafting.reference_rate(float(end)) for end in (tau.lower, tau.value, tau.upper)]


def _predict_grid(
    target: Model,
    head: Draft,
    deployment: Deployment,
    budget: Budget,
    batch: FloatArray,
    context: float,
    grid: Sequence[drafting.DraftShape],
    law: str,
) -> tuple[_Grid, FloatArray]:
    """Every design of the grid."""
    axes = (3, len(LAYERS), len(grid), batch.size)
    out = _Grid(
        speedup=np.empty(axes),
        tokens_per_s=np.empty(axes),
        tau=np.empty(axes[:3]),
        low=np.empty(axes[1:]),
        high=np.empty(axes[1:]),
    )
    trained = np.empty(len(LAYERS))
    items: list[SpeculativeConfig] = []
    for i, layers in enumerate(LAYERS):
        draft = replace(head, num_layers=layers)
        trained[i] = affordable_tokens(draft, target, budget)
        rates = _rates(law, draft, target, trained[i])
        out.tau[:, i, :] = [drafting.tau_at_rate(rate, grid) for rate in rates]
        for j, shape in enumerate(grid):
            low, tau, high = out.tau[:, i, j].tolist()
            items.append(
                SpeculativeConfig(draft, shape.draft_len, shape.top_k, shape.verify_tokens, tau, low, high)
            )
    predicted = predict_each(target, items, deployment, batch=batch, context=context)
    for (i, j), result in zip(np.ndindex(axes[1:3]), predicted):
        factor = (out.tau[:, i, j] / out.tau[1, i, j])[:, None]
        out.speedup[:, i, j] = result.speedup * factor
        out.tokens_per_s[:, i, j] = result.tokens_per_s * factor
        ends = result.speedup_estimate
        out.low[i, j], out.high[i, j] = ends.lower, ends.upper
    return out, trained


def _range(values: Sequence[int]) -> tuple[int, int]:
    return min(values), max(values)


def design(
    target: Model,
    head: Draft,
    deployment: Deployment,
    *,
    batch: Sequence[int],
    context: float,
    budget: Budget,
    law: str = "theorems",
) -> list[Design]:
    """Best design for each batch: layers, tokens, draft length and tree that maximise throughput.

    Parameters
    ----------
    head
        A draft of kind ``head``; its depth is what is searched.
    batch, context
        Serving load; each batch gets its own design.
    law
        One of `LAWS`.

    Notes
    -----
    Source: arXiv 2505.07858 calls the choice of all of them at once Scylla; this search is ours.
    """
    grid = shapes()
    sizes = np.asarray(batch, dtype=np.float64)
    one_of("law", law, LAWS)
    found, trained = _predict_grid(target, head, deployment, budget, sizes, context, grid, law)
    designs = []
    for b, size in enumerate(batch):
        plane = found.tokens_per_s[1, :, :, b]
        i, j = np.unravel_index(int(np.argmax(plane)), plane.shape)
        good = np.argwhere(plane >= (1.0 - FLAT) * plane[i, j])
        ends = [np.unravel_index(int(np.argmax(found.tokens_per_s[end, :, :, b])), plane.shape) for end in (0, 2)]
        at_ends = [grid[int(column)] for _, column in ends]
        shape = grid[int(j)]
        designs.append(
            Design(
                law=law,
                batch_size=int(size),
                layers=LAYERS[int(i)],
                train_tokens=float(trained[i]),
                draft_len=shape.draft_len,
                top_k=shape.top_k,
                verify_tokens=shape.verify_tokens,
                tokens_per_cycle=float(found.tau[1, i, j]),
                tokens_per_s=float(plane[i, j]),
                speedup=float(found.speedup[1, i, j, b]),
                speedup_lower=float(found.low[i, j, b]),
                speedup_upper=float(found.high[i, j, b]),
                optimum_layers=_range([LAYERS[int(row)] for row, _ in ends]),
                optimum_draft_len=_range([shape.draft_len for shape in at_ends]),
                optimum_verify_tokens=_range([shape.verify_tokens for shape in at_ends]),
                layers_range=_range([LAYERS[int(row)] for row, _ in good]),
                draft_len_range=_range([grid[int(column)].draft_len for _, column in good]),
                verify_tokens_range=_range([grid[int(column)].verify_tokens for _, column in good]),
                designs_as_good=len(good),
            )
        )
    return designs


LONGEST_DRAFT = 60
"""Draft lengths searched by `best_draft_parameters`; the best stay below 15."""


def best_draft_parameters(target_parameters: float, *, train_tokens: float = 1e12) -> float:
    """Size of the independent draft of highest throughput under SDSL's plane, at its best draft length.

    A cycle of gamma drafted tokens costs gamma N + M: time proportional to parameters, verification as one pass.

    Examples
    --------
    >>> f"{best_draft_parameters(70e9):.2g}"
    '2.8e+08'
    """
    size = np.geomspace(1e6, target_parameters, 1000)
    rate = draft_rate(size, train_tokens, target_parameters).value
    length = np.arange(1, LONGEST_DRAFT)[:, None]
    speed = iid_tokens_per_cycle(rate, length) / (length * size / target_parameters + 1.0)
    return float(size[np.argmax(speed.max(axis=0))])
