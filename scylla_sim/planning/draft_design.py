"""Draft design: layers, pretraining tokens, draft length and tree with the highest throughput for a budget.

Theorems 1.1 and 1.2 give the acceptance of a draft with D layers trained on T tokens. The step costs give the time
to draft and to verify. Deeper drafts are accepted more often but draft slower. Larger trees are accepted more often
but verify slower. Both trade-offs change with the batch, so the search covers all choices at once. The same search
under SDSL's law shows which part of a design depends on the theorems.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from scylla_sim.acceptance import positions, tau_transfer
from scylla_sim.acceptance.draft_shape import DraftShape
from scylla_sim.acceptance.speculative_config import SpeculativeConfig
from scylla_sim.checks import FloatArray, fail, one_of, positive
from scylla_sim.laws import sdsl, theorems
from scylla_sim.ops import memory
from scylla_sim.prediction.steps import Deployment
from scylla_sim.prediction.throughput import predict_each
from scylla_sim.specs.draft import Draft
from scylla_sim.specs.model import Model

LAYERS = tuple(range(1, 11))
"""Decoder layers of the search, the range of Theorem 1.2."""
DRAFT_LENGTHS = (1, 2, 3, 4, 5, 6, 8)
"""Draft lengths of the search."""
WIDTHS = (1, 4, 10)
"""Candidates kept per depth in the search; 1 is a chain."""
TREE_SIZES = (8, 16, 32, 61)
"""Verified tokens of trees in the search, up to the 61 of the paper."""

MAX_TOKENS = 100e9
"""Upper end of the range of Theorem 1.1. Larger budgets are not spent: the law is flat above 50 billion tokens."""
MIN_TOKENS = 1e6
"""Fewest pretraining tokens of a design; chosen, not derived: below it the law says nothing about pretraining."""
LAW_TOKENS = 1e9
"""Lower end of the range of Theorem 1.1. Its point at 0 tokens is a head that was only fine-tuned."""
LAWS = ("theorems", "bounded", "product", "sdsl")
"""Sources of acceptance.

``theorems`` are Theorems 1.1 and 1.2 refitted to Fig. 1, and their effects add. ``bounded`` and ``product`` are
other laws that Fig. 1 allows (`scylla_sim.laws.theorems.ALTERNATIVES`). ``sdsl`` is SDSL's published plane over
perplexities, which treats the head as an independent model with the same number of weights."""

MAX_LOSS = 0.02
"""Designs within this share of the best throughput count as equally good; the intervals of tau are wider."""


@dataclass(frozen=True)
class Budget:
    """Training budget: tokens, FLOPs, or both; the tighter limit counts."""

    tokens: float = MAX_TOKENS
    flop: float = float("inf")

    def __post_init__(self) -> None:
        """Check that both limits are positive, and that the tokens train a head."""
        positive("train_tokens", self.tokens)
        if not self.flop > 0:
            positive("train_flop", self.flop)
        if self.tokens < MIN_TOKENS:
            raise fail("train_tokens", self.tokens, f"must be at least {MIN_TOKENS:g}", "fewer do not train a head")


def training_flop_per_token(draft: Draft, target: Model) -> float:
    """Return the FLOPs to train a head on one token.

    Training takes 6 FLOPs per weight of the draft, and 2 per active weight of the target for its features.

    Examples
    --------
    >>> from scylla_sim.specs import catalog
    >>> llama = catalog.model("llama-3.1-8b")
    >>> f"{training_flop_per_token(catalog.draft('scylla-1l'), llama):.2e}"
    '1.76e+10'
    """
    return 6.0 * memory.draft_parameters(draft, target) + 2.0 * target.active_parameters


def affordable_tokens(draft: Draft, target: Model, budget: Budget) -> float:
    """Return the pretraining tokens that a budget allows for a draft, at most `MAX_TOKENS`.

    Raises
    ------
    InputError
        If they are fewer than `MIN_TOKENS`.
    """
    each = training_flop_per_token(draft, target)
    if budget.flop < MIN_TOKENS * each:
        layers = f"{draft.num_layers} layer{'s' * (draft.num_layers > 1)}"
        rule = f"must be at least {MIN_TOKENS * each:.2g} for {draft.name} with {layers}"
        raise fail("train_flop", budget.flop, rule, f"that is {MIN_TOKENS:g} tokens")
    return min(budget.tokens, budget.flop / each, MAX_TOKENS)


@dataclass(frozen=True)
class Design:
    """Best design of one batch, with its interval and the equally good designs.

    Attributes
    ----------
    law
        Source of acceptance, one of `LAWS`.
    train_tokens
        Pretraining tokens that the budget allows for this draft.
    tokens_per_cycle, tokens_per_s
        Tokens per cycle of one sequence, and throughput of all sequences.
    speedup, speedup_lower, speedup_upper
        Speed-up over the autoregressive baseline, with its 90 % interval.
    optimum_layers, optimum_draft_len, optimum_verify_tokens
        Range of the optimum between the lower and the upper end of the law's interval.
    layers_range, draft_len_range, verify_tokens_range
        Ranges of the designs within `MAX_LOSS` of the best.
    designs_as_good
        Number of designs within `MAX_LOSS` of the best.
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


def shapes(*, trees: bool = True) -> list[DraftShape]:
    """Return every chain of the search, and every tree that its draft length can fill if there are ``trees``."""
    found = []
    for length, width in product(DRAFT_LENGTHS, WIDTHS if trees else (1,)):
        if width == 1:
            found.append(DraftShape(length, 1, length + 1))
            continue
        candidates = 1 + width + (length - 1) * width**2
        found += [DraftShape(length, width, size) for size in TREE_SIZES if size <= candidates]
    return found


@dataclass(frozen=True)
class _Grid:
    """Predictions of all designs.

    Attributes
    ----------
    speedup, tokens_per_s
        Shape (3, layers, shapes, batches); the first axis is lower end, value and upper end of the law.
    tau
        Tokens per cycle, shape (3, layers, shapes).
    speedup_lower, speedup_upper
        Interval of the speed-up, shape (layers, shapes, batches).
    train_tokens
        Affordable pretraining tokens, shape (layers,).
    """

    speedup: FloatArray
    tokens_per_s: FloatArray
    tau: FloatArray
    speedup_lower: FloatArray
    speedup_upper: FloatArray
    train_tokens: FloatArray


def _taus(law: str, draft: Draft, target: Model, train_tokens: float, shapes: Sequence[DraftShape]) -> FloatArray:
    """Return tau of a trained draft by a law, shape (3, shapes): lower end, value and upper end.

    Theorems give tau at the reference tree, and the law over positions of the draft transfers it. SDSL gives one
    rate for all positions, which is its definition.
    """
    if law == "sdsl":
        size = memory.draft_parameters(draft, target)
        rate = sdsl.draft_rate(size, train_tokens, float(target.active_parameters))
        constant = positions.law_of(draft.method_name, exponent=0.0)
        ends = (rate.lower, rate.value, rate.upper)
        return np.array([tau_transfer.tau_at_rate(float(end), shapes, constant) for end in ends])
    at = theorems.tokens_per_cycle(layers=draft.num_layers, train_tokens=train_tokens).tau
    over_positions = positions.law_of(draft.method_name)
    value, lower, upper = (float(end) for end in (at.value, at.lower, at.upper))
    if law != "theorems":
        value = float(theorems.alternatives(draft.num_layers, train_tokens)[law])
    from_fig1 = (min(lower, value), value, max(upper, value))
    return np.array([tau_transfer.tau_from_reference(float(end), shapes, over_positions) for end in from_fig1])


def _predict_grid(
    target: Model,
    head: Draft,
    deployment: Deployment,
    *,
    draft_deployment: Deployment | None,
    budget: Budget,
    batch: FloatArray,
    context: float,
    shapes: Sequence[DraftShape],
    law: str,
) -> _Grid:
    """Predict every depth of the head with every shape."""
    axes = (3, len(LAYERS), len(shapes), batch.size)
    out = _Grid(
        speedup=np.empty(axes),
        tokens_per_s=np.empty(axes),
        tau=np.empty(axes[:3]),
        speedup_lower=np.empty(axes[1:]),
        speedup_upper=np.empty(axes[1:]),
        train_tokens=np.empty(axes[1]),
    )
    configs: list[SpeculativeConfig] = []
    for i, layers in enumerate(LAYERS):
        draft = replace(head, num_layers=layers)
        out.train_tokens[i] = affordable_tokens(draft, target, budget)
        out.tau[:, i, :] = _taus(law, draft, target, out.train_tokens[i], shapes)
        for j, shape in enumerate(shapes):
            low, tau, high = out.tau[:, i, j].tolist()
            configs.append(
                SpeculativeConfig(draft, shape.draft_len, shape.top_k, shape.verify_tokens, tau, low, high)
            )
    predicted = predict_each(
        target, configs, deployment, batch=batch, context=context, draft_deployment=draft_deployment
    )
    for (i, j), result in zip(np.ndindex(axes[1:3]), predicted):
        factor = (out.tau[:, i, j] / out.tau[1, i, j])[:, None]
        out.speedup[:, i, j] = result.speedup * factor
        out.tokens_per_s[:, i, j] = result.tokens_per_s * factor
        speedup = result.speedup_estimate
        out.speedup_lower[i, j], out.speedup_upper[i, j] = speedup.lower, speedup.upper
    return out


def _best_design(found: _Grid, shapes: Sequence[DraftShape], batch: Sequence[int], b: int, law: str) -> Design:
    """Return the design with the highest throughput at the batch of index ``b``."""
    throughput = found.tokens_per_s[:, :, :, b]
    lower_best, (i, j), upper_best = (_argmax(plane) for plane in throughput)
    as_good = np.argwhere(throughput[1] >= (1.0 - MAX_LOSS) * throughput[1, i, j]).tolist()
    at_ends = (lower_best, upper_best)
    shape = shapes[j]
    return Design(
        law=law,
        batch_size=int(batch[b]),
        layers=LAYERS[i],
        train_tokens=float(found.train_tokens[i]),
        draft_len=shape.draft_len,
        top_k=shape.top_k,
        verify_tokens=shape.verify_tokens,
        tokens_per_cycle=float(found.tau[1, i, j]),
        tokens_per_s=float(throughput[1, i, j]),
        speedup=float(found.speedup[1, i, j, b]),
        speedup_lower=float(found.speedup_lower[i, j, b]),
        speedup_upper=float(found.speedup_upper[i, j, b]),
        optimum_layers=_range(LAYERS[row] for row, _ in at_ends),
        optimum_draft_len=_range(shapes[column].draft_len for _, column in at_ends),
        optimum_verify_tokens=_range(shapes[column].verify_tokens for _, column in at_ends),
        layers_range=_range(LAYERS[row] for row, _ in as_good),
        draft_len_range=_range(shapes[column].draft_len for _, column in as_good),
        verify_tokens_range=_range(shapes[column].verify_tokens for _, column in as_good),
        designs_as_good=len(as_good),
    )


def _argmax(plane: FloatArray) -> tuple[int, int]:
    """Return row and column of the largest element."""
    row, column = divmod(int(np.argmax(plane)), plane.shape[1])
    return row, column


def _range(values: Iterable[int]) -> tuple[int, int]:
    """Return the smallest and the largest value."""
    ordered = sorted(values)
    return ordered[0], ordered[-1]


def design(
    target: Model,
    head: Draft,
    deployment: Deployment,
    *,
    batch: Sequence[int],
    context: float,
    budget: Budget,
    law: str = "theorems",
    draft_deployment: Deployment | None = None,
    trees: bool = True,
) -> list[Design]:
    """Find the design with the highest throughput for each batch: layers, tokens, draft length and tree.

    Parameters
    ----------
    target
        Target model.
    head
        Draft of kind ``head``. The search replaces its depth.
    deployment
        Where the target runs.
    batch
        Sequences decoded together. Each batch gets its own design.
    context
        Tokens in the KV cache of each sequence.
    budget
        Training budget.
    law
        Source of acceptance, one of `LAWS`.
    draft_deployment
        Where the draft runs; default: as the target.
    trees
        Whether the engine can verify trees; otherwise the search has chains only.

    Raises
    ------
    InputError
        When the law is not known.

    Notes
    -----
    Source: arXiv 2505.07858 calls the joint choice of all of them Scylla. The search is ours.
    """
    one_of("law", law, LAWS)
    grid, sizes = shapes(trees=trees), np.asarray(batch, dtype=np.float64)
    found = _predict_grid(
        target,
        head,
        deployment,
        draft_deployment=draft_deployment,
        budget=budget,
        batch=sizes,
        context=context,
        shapes=grid,
        law=law,
    )
    return [_best_design(found, grid, batch, b, law) for b in range(sizes.size)]
