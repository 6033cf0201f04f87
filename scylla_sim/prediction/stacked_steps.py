"""Steps of several widths at once: one array with a new first axis, evaluated together and taken apart.

Most of the time of a small grid goes into calls, not into numbers. Verifications of several lengths, and first
passes of a draft, differ by their tokens only. The seconds are the same to the last bit as one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields
from functools import cache

import numpy as np

from scylla_sim.acceptance.speculative_config import SpeculativeConfig
from scylla_sim.checks import FloatArray
from scylla_sim.prediction.expert_overlap import with_overlap
from scylla_sim.prediction.step_time import NAMED, ErrorSource, OpTime, Step
from scylla_sim.prediction.steps import Deployment, draft_pass, target_step
from scylla_sim.specs.draft import Draft
from scylla_sim.specs.model import Model
from scylla_sim.stats.estimate import Deviation, Estimate, exact

Passes = Callable[[Draft, int, int | None], Step]
"""Function from a draft, the tokens of a pass and the scored tokens (``None``: all) to the step of the pass."""
MAX_STACKED = 65_536
"""Most elements of a stacked grid; larger ones are evaluated one by one, so that memory stays bounded.

A grid of one element is evaluated alone too: numpy rounds powers of a scalar otherwise than those of an array.
"""


def steps_of_widths(
    step: Callable[[FloatArray], Step], widths: Sequence[int], deployment: Deployment, *, batch: FloatArray
) -> dict[int, Step]:
    """Return the steps of several widths.

    Parameters
    ----------
    step
        Function from the tokens of each sequence, shape (widths, 1, ...), to a step.
    widths
        Tokens of each sequence, each above 1.
    deployment
        Where the step runs. Steps of one array all run as a CUDA graph, or partly, or not at all, because
        the evidence of a kernel differs inside and outside a graph.
    batch
        Sequences, in the shape of the grid.
    """
    groups: dict[tuple[bool, bool], list[int]] = {}
    for width in dict.fromkeys(widths):
        eager = deployment.eager(width * batch, batch)
        groups.setdefault((bool(eager.any()), bool(eager.all())), []).append(width)
    found: dict[int, Step] = {}
    for members in groups.values():
        if len(members) == 1 or batch.size == 1 or len(members) * batch.size > MAX_STACKED:
            found |= {width: step(np.asarray(float(width))) for width in members}
        else:
            together = step(np.array(members, dtype=np.float64).reshape(-1, *[1] * batch.ndim))
            found |= dict(zip(members, _taken_apart(together, len(members), batch.ndim + 1)))
    return found


def _taken_apart(step: Step, count: int, ndim: int) -> list[Step]:
    """Return the steps along the first axis of ``ndim``, which has ``count`` entries."""

    def take(values: FloatArray, at: int) -> FloatArray:
        if np.ndim(values) < ndim:
            return values
        return np.asarray(values[at if values.shape[0] == count else 0, ...])

    def part_of(part: OpTime, at: int) -> OpTime:
        return OpTime(
            part.name,
            part.kind,
            part.count,
            _estimate(part.time, at),
            take(part.memory_s, at),
            take(part.compute_s, at),
            part.evidence,
            {name: Deviation(take(one.down, at), take(one.up, at)) for name, one in part.sources.items()},
            part.backend,
        )

    def _estimate(time: Estimate, at: int) -> Estimate:
        if time.is_exact:
            return exact(take(time.value, at))
        return Estimate(*(take(getattr(time, item.name), at) for item in fields(Estimate)))

    def moves(one: ErrorSource) -> bool:
        return one.kind != NAMED or bool(np.any(one.down > 0.0) or np.any(one.up > 0.0))

    found = []
    for at in range(count):
        errors = {
            name: ErrorSource(one.kind, take(one.down, at), take(one.up, at)) for name, one in step.errors.items()
        }
        kept = {name: one for name, one in errors.items() if moves(one)}
        found.append(Step(tuple(part_of(part, at) for part in step.parts), _estimate(step.time, at), kept))
    return found


def verifications(
    target: Model,
    configs: Iterable[SpeculativeConfig],
    deployment: Deployment,
    *,
    batch: FloatArray,
    context: FloatArray,
) -> Callable[[SpeculativeConfig], Step]:
    """Return the verification of each configuration that verifies several tokens.

    Parameters
    ----------
    batch, context
        Sequences, and tokens in the KV cache of each; they broadcast.
    """
    shape = np.broadcast(batch, context).shape
    found: dict[tuple[int, bool], Step] = {}
    each = [(config.verify_tokens, _shares_experts(target, config)) for config in configs]
    for tree in (False, True):
        model = with_overlap(target, tree=tree)

        def step(tokens: FloatArray, model: Model = model) -> Step:
            return target_step(model, deployment, batch=batch, context=context, tokens=tokens)

        widths = [width for width, of in each if of == tree and width > 1]
        steps = steps_of_widths(step, widths, deployment, batch=np.broadcast_to(batch, shape))
        found |= {(width, tree): one for width, one in steps.items()}
    return lambda config: found[config.verify_tokens, _shares_experts(target, config)]


def _shares_experts(target: Model, config: SpeculativeConfig) -> bool:
    """Return whether the tokens of a verification share experts as those of a tree do."""
    return target.moe is not None and config.top_k > 1


@dataclass(frozen=True)
class TargetSteps:
    """Steps of the target over one grid.

    Attributes
    ----------
    plain
        Step of the autoregressive baseline.
    verified
        Function from a configuration that verifies several tokens to its verification.
    """

    plain: Step
    verified: Callable[[SpeculativeConfig], Step]


def target_steps(
    target: Model,
    configs: Iterable[SpeculativeConfig],
    deployment: Deployment,
    *,
    batch: FloatArray,
    context: FloatArray,
) -> TargetSteps:
    """Return the steps of the target that some configurations need, each estimated once.

    Parameters
    ----------
    batch, context
        Sequences, and tokens in the KV cache of each; they broadcast.
    """
    plain = target_step(target, deployment, batch=batch, context=context)
    return TargetSteps(plain, verifications(target, configs, deployment, batch=batch, context=context))


def draft_passes(
    target: Model,
    configs: Iterable[SpeculativeConfig],
    deployment: Deployment,
    *,
    batch: FloatArray,
    context: FloatArray,
) -> Passes:
    """Return the passes of the drafts of some configurations, each estimated once.

    Parameters
    ----------
    deployment
        Deployment of the drafts.
    batch, context
        Sequences, and tokens in the KV cache of each; they broadcast.
    """
    model = with_overlap(target, tree=False)
    whole = np.broadcast_to(batch, np.broadcast(batch, context).shape)
    first: dict[tuple[Draft, int], Step] = {}
    drafts: dict[Draft, list[int]] = {}
    for config in configs:
        if config.draft.kind in ("head", "model") and config.draft_len:
            drafts.setdefault(config.draft, []).append(config.draft.first_width(config.draft_len))
    for draft, widths in drafts.items():

        def step(tokens: FloatArray, draft: Draft = draft) -> Step:
            return draft_pass(draft, model, deployment, batch=batch, context=context, width=tokens, scored=1)

        steps = steps_of_widths(step, widths, deployment, batch=whole)
        first |= {(draft, width): one for width, one in steps.items()}

    @cache
    def one_pass(draft: Draft, width: int, scored: int | None) -> Step:
        if scored == 1 and (draft, width) in first:
            return first[draft, width]
        shape = {"batch": batch, "context": context}
        return draft_pass(draft, model, deployment, **shape, width=width, scored=scored, first=scored is not None)

    return one_pass
