"""Seconds of cycles on a grid of batch and context, for every draft shape of one deployment.

Kernels that do not depend on the context jump where a GEMM tile fills, so their seconds are kept at every batch.
Attention, launches that a step waits for, and the ends of the interval change smoothly. They are kept at fewer
batches and contexts, and the page interpolates them linearly in both.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from scylla_sim.acceptance.draft_shape import DraftShape
from scylla_sim.acceptance.speculative_config import SpeculativeConfig
from scylla_sim.checks import FloatArray
from scylla_sim.prediction.scenario import Scenario
from scylla_sim.prediction.step_time import LAUNCH, OpTime, Step
from scylla_sim.prediction.throughput import Prediction, predict_each
from scylla_sim.prediction.uncertainty import with_interval
from scylla_sim.specs.engine import Engine
from scylla_sim.specs.engine_support import no_trees

MAX_DRAFT_LEN = 8
"""Longest chain of the page."""
TREES = ((5, 4, 8), (3, 4, 16), (5, 8, 32), (6, 10, 61))
"""Trees of the page: passes, top-k and verified tokens, root included.

Source: SGLang chooses 5, 4, 8 for Llama (``auto_choose_speculative_params`` in python/sglang/srt/server_args.py);
the last one is the tree of EAGLE-2, arXiv 2406.16858. Those between them are a choice of this package.
"""
BATCHES = np.array([*range(1, 513), *range(516, 1025, 4)], dtype=np.float64)
"""Batches at which seconds without context are kept."""
CONTEXT_RANGE = (128, 65536)
"""Shortest and longest context of the page."""
CONTEXTS = 19
"""Number of contexts at first, evenly spaced in the logarithm."""

_COARSE = (
    *range(1, 9),
    *range(10, 33, 2),
    *range(36, 65, 4),
    *range(72, 129, 8),
    *range(144, 257, 16),
    *range(288, 513, 32),
    *(576, 640, 768, 896, 1024),
)
DENSE = ("gemm", "other", "draft_dense", "overhead")
"""Arrays over draft shape and `Grid.batches`."""
SMOOTH = (
    *("attention", "draft_attention", "waiting", "verify_waiting", "memory", "compute"),
    *("below", "above"),
)
"""Arrays over draft shape, `Grid.nodes` and `Grid.contexts`."""
GEMM_KINDS = ("gemm", "grouped_gemm", "expert_gemm")
"""Kinds of operation in the group GEMM of the page."""


@dataclass(frozen=True)
class Grid:
    """Seconds of the cycles of one deployment; index 0 of a draft shape is decoding without a draft.

    Attributes
    ----------
    batches
        Batches of the arrays in `DENSE`, shape (batches,).
    nodes, contexts
        Batches and contexts of the arrays in `SMOOTH`, shapes (nodes,) and (contexts,).
    shapes
        Draft shapes: decoding without a draft, chains of length 1, 2 and so on, then trees.
    values
        Name -> array. Names of `DENSE` have the shape (shapes, batches), those of `SMOOTH` (shapes, nodes,
        contexts). All are seconds, but for ``below`` and ``above``: the relative distances to the ends of the 90 %
        interval of the speed-up, without the part of the tokens per cycle.
    most, most_upper
        Sequences that fit in memory by draft shape and context, at both ends of the engine's range, shape (shapes,
        contexts).
    evidence
        Level of evidence of the kernels that take most of the time.
    undecided
        For each draft shape, whether no published row describes the attention that verifies, so no speed-up counts
        as sure.
    """

    batches: FloatArray
    nodes: FloatArray
    contexts: FloatArray
    shapes: tuple[DraftShape, ...]
    values: dict[str, FloatArray]
    most: FloatArray
    most_upper: FloatArray
    evidence: str
    undecided: tuple[bool, ...]


def draft_lengths(scenario: Scenario) -> list[int]:
    """Return the draft lengths of the page: those that the draft can propose, at most `MAX_DRAFT_LEN`."""
    draft = scenario.draft_model()
    longest = min(draft.max_len or MAX_DRAFT_LEN, MAX_DRAFT_LEN)
    return [] if draft.kind == "none" else list(range(1, longest + 1))


def why_no_trees(scenario: Scenario) -> str:
    """Return why the page has no trees of a draft; empty if it has."""
    draft = scenario.draft_model()
    if draft.kind != "head":
        return "the page has trees of draft heads only"
    return no_trees(scenario.deployments()[0].engine, draft, scenario.target_model())


def configs_of(scenario: Scenario) -> list[SpeculativeConfig]:
    """Return decoding without a draft, then every chain and tree of the page, each with one token per cycle."""
    plain = replace(scenario, draft="none", acceptance=None, tokens_per_cycle=None, draft_len=None)
    shapes = [DraftShape(length, 1, length + 1) for length in draft_lengths(scenario)]
    if shapes and not why_no_trees(scenario):
        shapes += [DraftShape(*tree) for tree in TREES]
    given = replace(scenario, acceptance=None, tokens_per_cycle=1.0, task=None)
    drafting = [given.speculative_configs([shape])[0][0] for shape in shapes]
    return [*plain.speculative_configs()[0], *drafting]


def _first_nodes(engine: Engine, verified: set[int]) -> FloatArray:
    """Return batches for smooth arrays, with two at each limit of the engine's CUDA graphs."""
    limits = {engine.max_graph_batch or 0}
    limits |= {(engine.max_graph_tokens or 0) // tokens for tokens in verified}
    last = _COARSE[-1]
    ends = {limit + step for limit in limits for step in (0, 1) if 1 < limit < last}
    return np.array(sorted({*_COARSE, *ends}), dtype=np.float64)


def first_contexts(scenario: Scenario) -> FloatArray:
    """Return the contexts of the first grid, up to the positions of the model."""
    longest = min(CONTEXT_RANGE[1], scenario.target_model().max_context or CONTEXT_RANGE[1])
    return np.unique(np.round(np.geomspace(CONTEXT_RANGE[0], longest, CONTEXTS)))


def predictions(
    scenario: Scenario, batch: FloatArray, context: FloatArray, *, intervals: bool = True
) -> Iterator[Prediction]:
    """Yield the predictions of the page's configurations; batch and context broadcast.

    Without intervals, predictions have seconds only, and take less time.
    """
    target, of_draft = (replace(one, intervals=intervals) for one in scenario.deployments())
    return predict_each(
        scenario.target_model(),
        configs_of(scenario),
        target,
        batch=batch,
        context=context,
        draft_deployment=of_draft,
    )


def _varies(part: OpTime) -> bool:
    """Return whether the seconds of an operation depend on the context, the last axis of its arrays."""
    seconds = part.seconds
    return part.kind == LAUNCH or bool(seconds.ndim > 1 and np.any(seconds != seconds[..., :1]))


def _total(parts: Sequence[FloatArray], shape: tuple[int, ...]) -> FloatArray:
    return np.broadcast_to(sum(parts, np.zeros(shape)), shape)


def _dense_values(out: Prediction, names: set[str]) -> dict[str, FloatArray]:
    """Return the arrays of `DENSE` of one configuration; ``names`` are the operations that know the context."""
    shape = out.batch.shape
    verify = [part for part in out.verify.parts if part.name not in names]
    draft = [part for part in out.draft.parts if part.name not in names]
    return {
        "gemm": _total([part.seconds for part in verify if part.kind in GEMM_KINDS], shape),
        "other": _total([part.seconds for part in verify if part.kind not in GEMM_KINDS], shape),
        "draft_dense": _total([part.seconds for part in draft], shape),
        "overhead": np.broadcast_to(out.overhead_s, shape),
    }


def _smooth_values(out: Prediction, names: set[str]) -> dict[str, FloatArray]:
    """Return the arrays of `SMOOTH` of one configuration."""
    shape = out.batch.shape

    def those(step: Step, *, launch: bool) -> list[OpTime]:
        return [part for part in step.parts if part.name in names and (part.kind == LAUNCH) == launch]

    waits = [part.seconds for part in those(out.verify, launch=True)]
    waiting = waits + [part.seconds for part in those(out.draft, launch=True)]
    verify = those(out.verify, launch=False)
    found = {
        "attention": _total([part.seconds for part in verify], shape),
        "draft_attention": _total([part.seconds for part in those(out.draft, launch=False)], shape),
        "waiting": _total(waiting, shape),
        "verify_waiting": _total(waits, shape),
        "memory": _total([part.memory_s for part in out.verify.parts], shape),
        "compute": _total([part.compute_s for part in out.verify.parts], shape),
        "below": np.zeros(shape),
        "above": np.zeros(shape),
    }
    if out.config.draft_len:
        interval = with_interval(out.speedup, out.cycle, out.engine, out.plain_cycle)
        found["below"] = np.broadcast_to(interval.value / interval.lower - 1.0, shape)
        found["above"] = np.broadcast_to(interval.upper / interval.value - 1.0, shape)
    return found


def _evidence(step: Step) -> str:
    """Return the level of evidence of most seconds of a step."""
    seconds: dict[str, float] = {}
    for part in step.parts:
        seconds[part.evidence] = seconds.get(part.evidence, 0.0) + float(np.mean(part.seconds))
    return max(seconds, key=lambda level: seconds[level])


def build(scenario: Scenario, *, nodes: FloatArray | None = None, contexts: FloatArray | None = None) -> Grid:
    """Return the grid of a scenario, whose batch, context, draft shape and acceptance are not used.

    Parameters
    ----------
    nodes, contexts
        Batches and contexts of the smooth arrays; default: about 60 and `CONTEXTS`.
    """
    configs = configs_of(scenario)
    if contexts is None:
        contexts = first_contexts(scenario)
    if nodes is None:
        nodes = _first_nodes(scenario.deployments()[0].engine, {config.verify_tokens for config in configs})
    smooth = list(predictions(scenario, nodes[:, None], contexts[None, :]))
    names = {
        part.name for out in smooth for step in (out.verify, out.draft) for part in step.parts if _varies(part)
    }
    dense = list(predictions(scenario, BATCHES, contexts[len(contexts) // 2], intervals=False))
    by_shape = [{**_dense_values(one, names), **_smooth_values(other, names)} for one, other in zip(dense, smooth)]
    backends = [out.verify.attention_backend for out in smooth]

    def fits(end: int) -> FloatArray:
        return np.stack([np.broadcast_to(out.max_sequences[end], out.batch.shape)[0] for out in smooth])

    return Grid(
        BATCHES,
        nodes,
        contexts,
        tuple(DraftShape(one.draft_len, one.top_k, one.verify_tokens) for one in configs),
        {name: np.stack([values[name] for values in by_shape]) for name in (*DENSE, *SMOOTH)},
        fits(0),
        fits(1),
        _evidence(smooth[-1].verify),
        tuple(backend is not None and backend.undecided for backend in backends),
    )
