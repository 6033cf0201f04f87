"""Seconds of one step of a serving engine, operation by operation.

A step is a forward pass of the target (autoregressive decoding, verification) or of the draft. Start at
`target_step`, `draft_pass` and `draft_step`. The time of one operation in a step, such as the attention of a
verification, is an `OpTime` in `Step.parts` (`scylla_sim.prediction.step_time`). Seconds are those of the device;
host work of the engine is in `scylla_sim.prediction.overheads`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import compress, islice

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scylla_sim.calibration.device_calibration import Calibration
from scylla_sim.calibration.op_batches import Asked, batch_seconds
from scylla_sim.calibration.op_time import OpEstimate
from scylla_sim.checks import FloatArray, positive
from scylla_sim.kernels.device_rates import rates
from scylla_sim.kernels.registry import op_kind
from scylla_sim.ops.draft import draft_ops
from scylla_sim.ops.forward import forward_ops
from scylla_sim.ops.op import Columns, Op
from scylla_sim.ops.weights import base_name
from scylla_sim.prediction import fused_quantizer, power_limit, weight_only
from scylla_sim.prediction.step_time import EMPTY, LAUNCH, POWER, OpTime, Step, step_of
from scylla_sim.specs.draft import Draft
from scylla_sim.specs.engine import Engine
from scylla_sim.specs.model import Model
from scylla_sim.stats.estimate import Deviation, Estimate, Sources, add_sources, exact

_NOT_ASKED = np.asarray(np.nan)
"""Roofline seconds of an operation of a deployment without intervals."""


@dataclass(frozen=True)
class Deployment:
    """The device, engine and precisions with which a model runs.

    Attributes
    ----------
    calibration
        Kernel fits of the device.
    engine
        Serving engine and its overheads.
    dtype, kv_dtype
        Data types of the weights and of the KV cache.
    tp
        TP ranks.
    op_dtypes
        Operation -> data type of its weights, where it differs from ``dtype``.
    intervals
        Whether steps have intervals, sources of error and roofline seconds. Without them, seconds are the same.
    """

    calibration: Calibration
    engine: Engine
    dtype: str = "bfloat16"
    kv_dtype: str = "bfloat16"
    tp: int = 1
    op_dtypes: Mapping[str, str] = field(default_factory=dict)
    intervals: bool = True

    def dtype_of(self, op: Op) -> str:
        """Return the data type of the weights of an operation, whose layers may have a prefix in its name."""
        if not self.op_dtypes:
            return self.dtype
        return self.op_dtypes.get(base_name(op.name), self.dtype)

    @property
    def launches_add(self) -> bool:
        """Whether launches add to the time of a step: true on a CPU, which is both host and device."""
        return self.calibration.hardware.sm_count == 0

    def eager(self, tokens: FloatArray, batch: FloatArray) -> NDArray[np.bool_]:
        """Return whether steps are launched kernel by kernel instead of as a CUDA graph.

        Parameters
        ----------
        tokens, batch
            Tokens and sequences of each step; they broadcast.
        """
        engine = self.engine
        past = np.full(np.shape(tokens), engine.eager)
        for size, limit in ((tokens, engine.max_graph_tokens), (batch, engine.max_graph_batch)):
            past = past | (size > limit) if limit else past
        return past


def step_of_ops(ops: Sequence[Op], deployment: Deployment, tokens: FloatArray, batch: FloatArray) -> Step:
    """Estimate a list of operations, and the launches that an eager step waits for.

    Parameters
    ----------
    tokens, batch
        Tokens and sequences of the step, which decide whether it is eager.
    """
    eager = deployment.eager(tokens, batch)
    launch_s = exact(np.where(eager, deployment.engine.launch_s if deployment.launches_add else 0.0, 0.0))
    parts = [
        _op_time(op, found, deployment, launch_s=launch_s)
        for op, found in zip(ops, _estimates(ops, deployment, eager=eager))
    ]
    if deployment.engine.launch_s > 0.0 and not deployment.launches_add:
        waiting = _waiting(parts, deployment, eager)
        behind = waiting.seconds > 0.0
        parts = [*([hidden(part, behind) for part in parts] if behind.any() else parts), waiting]
    return step_of(tuple(_with_unknown_backend(parts) if deployment.intervals else parts))


def _op_time(op: Op, found: Sequence[OpEstimate], deployment: Deployment, *, launch_s: Estimate) -> OpTime:
    """Return the time of an operation, from one execution as it is and at each end of its assumptions."""
    one = _by_engine(op, found[0], deployment)
    time = one.seconds.plus(launch_s).scaled(op.count)
    if not deployment.intervals:
        return OpTime(op.name, op.kind, op.count, time, _NOT_ASKED, _NOT_ASKED, one.evidence, backend=one.backend)
    moved = op.memory_bytes(deployment.dtype_of(op), deployment.kv_dtype)
    memory_s = moved / deployment.calibration.hardware.memory_bytes_per_s
    compute_s = op.flops() / _peak(deployment, op)
    sources = _sources(op, deployment, one, ends=found[1:], bounds=(compute_s, memory_s))
    return OpTime(
        op.name, op.kind, op.count, time, memory_s, compute_s, one.evidence, sources=sources, backend=one.backend
    )


def _with_unknown_backend(parts: Sequence[OpTime]) -> Sequence[OpTime]:
    """Return the operations of a step, which may take twice as long if no published row describes its attention.

    The source of error is that of attention, the operation whose backend is unknown.
    """
    unknown = next((part for part in parts if part.backend is not None and part.backend.undecided), None)
    if unknown is None or unknown.backend is None:
        return parts
    added = sum((part.seconds for part in parts), np.zeros_like(unknown.seconds))
    source = {f"{unknown.backend.name} without published rows": Deviation(np.zeros_like(added), added)}
    return [replace(part, sources=add_sources(part.sources, source)) if part is unknown else part for part in parts]


def hidden(part: OpTime, behind: NDArray[np.bool_]) -> OpTime:
    """Return an operation with an interval of zero width where launches determine the time of the step."""
    if part.time.is_exact and not part.sources:
        return part
    value = part.time.value
    lower, upper = (np.where(behind, value, end) for end in (part.time.lower, part.time.upper))
    sources = {name: one.where(~behind) for name, one in part.sources.items()}
    return replace(part, time=Estimate(value, lower, upper), sources=sources)


def _by_engine(op: Op, fitted: OpEstimate, deployment: Deployment) -> OpEstimate:
    """Return the estimate of one execution by the kernel that the engine runs for 4-bit weights."""
    if op.kind != "gemm" or not weight_only.applies(deployment.dtype_of(op), deployment.engine.framework):
        return fitted
    ratio = weight_only.kernel_ratio(op.columns["m"], deployment.calibration.hardware)
    seconds = fitted.seconds.scaled(ratio.value)
    if not deployment.intervals:
        return replace(fitted, seconds=seconds)
    error = {weight_only.MARLIN: Deviation(fitted.seconds.value * ratio.down, fitted.seconds.value * ratio.up)}
    sources = {name: one.scaled(ratio.value) for name, one in fitted.sources.items()}
    return replace(fitted, seconds=seconds, sources={**sources, **error})


def _waiting(parts: Sequence[OpTime], deployment: Deployment, eager: NDArray[np.bool_]) -> OpTime:
    """Return the time by which the launches of an eager step outlast its operations."""
    launches = sum(part.count for part in parts)
    none = np.zeros(eager.shape)
    time = exact(none)
    if eager.any():
        busy = sum((part.seconds for part in parts), none)
        each = deployment.engine.overhead("launch_s")
        ends = (each.value, each.lower, each.upper) if deployment.intervals else (each.value,)
        waiting = [np.where(eager, np.maximum(launches * one - busy, 0.0), none) for one in ends]
        time = Estimate(*waiting) if deployment.intervals else exact(waiting[0])
    return OpTime("waiting_for_launches", LAUNCH, launches, time, none, none, "published")


def _estimates(ops: Sequence[Op], deployment: Deployment, *, eager: NDArray[np.bool_]) -> list[list[OpEstimate]]:
    """Estimate one execution of each operation, first as it is, then at each end of its assumptions."""
    asked = [
        [op, *(replace(op, columns={**op.columns, **end}) for _, end in _ends(op) if deployment.intervals)]
        for op in ops
    ]
    whole, hardware = [op for group in asked for op in group], deployment.calibration.hardware
    some_eager = bool(eager.any() and not eager.all())
    mixed = [some_eager and op_kind(op.kind).depends_on_graph for op in whole]

    def question(op: Op, graph: bool) -> Asked:
        dtype = deployment.dtype_of(op)
        return Asked(op, dtype, graph, fused_quantizer.applies(op, dtype, deployment.engine, hardware))

    def estimates(graph: bool, some: Iterable[Op]) -> Iterator[OpEstimate]:
        return iter(
            batch_seconds(
                [question(op, graph) for op in some],
                deployment.calibration,
                kv_dtype=deployment.kv_dtype,
                framework=deployment.engine.framework,
                intervals=deployment.intervals,
            )
        )

    inside, found = estimates(True, compress(whole, mixed)), estimates(not eager.any(), whole)
    each = (_either(next(inside), one, eager) if both else one for both, one in zip(mixed, found))
    return [list(islice(each, len(group))) for group in asked]


def _ends(op: Op) -> Iterator[tuple[str, Columns]]:
    """Yield the columns at the ends of each assumption of an operation, with the name of the assumption."""
    return ((name, end) for name, columns in op.assumed.items() for end in columns)


def _either(inside: OpEstimate, outside: OpEstimate, eager: NDArray[np.bool_]) -> OpEstimate:
    """Return the estimate of a kernel that differs inside and outside a CUDA graph."""
    seconds = inside.seconds.or_where(eager, outside.seconds)
    sources = add_sources(
        {name: one.where(~eager) for name, one in inside.sources.items()},
        {name: one.where(eager) for name, one in outside.sources.items()},
    )
    return OpEstimate(seconds, outside.evidence, sources)


def _peak(deployment: Deployment, op: Op) -> float:
    """Return the datasheet peak of the data type that an operation computes in."""
    return rates(
        deployment.calibration.hardware, op_kind(op.kind).compute_dtype(deployment.dtype_of(op))
    ).flop_per_s


def _sources(
    op: Op,
    deployment: Deployment,
    one: OpEstimate,
    *,
    ends: Sequence[OpEstimate],
    bounds: tuple[FloatArray, FloatArray],
) -> Sources:
    """Return the named sources of error of all executions.

    Parameters
    ----------
    one, ends
        Estimates of one execution, and of those at the ends of its assumptions.
    bounds
        Compute and memory seconds.
    """
    found = dict(one.sources)
    for name in op.assumed:
        values = [end.seconds.value for (of, _), end in zip(_ends(op), ends) if of == name]
        found[name] = Deviation.between(one.seconds.value, values)
    if op_kind(op.kind).power_limited and deployment.calibration.hardware.sm_count > 0:
        added = one.seconds.value * power_limit.extra_share(*bounds)
        found[POWER] = Deviation(np.zeros_like(added), added)
    return {name: deviation.scaled(op.count) for name, deviation in found.items()}


def target_step(
    model: Model, deployment: Deployment, *, batch: ArrayLike, context: ArrayLike, tokens: ArrayLike = 1
) -> Step:
    """Estimate a forward pass of the target over ``tokens`` tokens of each sequence.

    One token is autoregressive decoding, more tokens are a verification.

    Parameters
    ----------
    batch
        Sequences that run together.
    context
        Tokens in the KV cache of each sequence.
    tokens
        Tokens scored per sequence. All three broadcast, and the result has their common shape.

    Examples
    --------
    >>> from scylla_sim.calibration import device_calibration
    >>> from scylla_sim.specs import catalog
    >>> deployment = Deployment(device_calibration.shipped("h100-sxm"), catalog.engine("ideal"))
    >>> step = target_step(catalog.model("llama-3.1-8b"), deployment, batch=1, context=1024)
    >>> 0.005 < float(step.seconds) < 0.007
    True
    """
    b, s, n = positive("batch", batch), positive("context", context), positive("tokens", tokens)
    ops = forward_ops(model, batch=b, context=s, tokens=n, tp=deployment.tp, dtype=deployment.dtype)
    return step_of_ops(ops, deployment, b * n, b)


def draft_pass(
    draft: Draft,
    target: Model,
    deployment: Deployment,
    *,
    batch: ArrayLike,
    context: ArrayLike,
    width: ArrayLike = 1,
    scored: int | None = None,
    first: bool = True,
) -> Step:
    """Estimate one pass of a draft over ``width`` tokens of each sequence, with logits for ``scored`` of them.

    ``first`` is whether it is the first pass of a cycle, which reads the target's features.
    """
    b, s = positive("batch", batch), positive("context", context)
    ops = draft_ops(
        draft,
        target,
        batch=b,
        context=s,
        width=width,
        scored=scored,
        tp=deployment.tp,
        dtype=deployment.dtype,
        first=first,
    )
    positions = np.asarray(width) if draft.block is None else draft.block.positions(int(np.asarray(width)))
    return step_of_ops(ops, deployment, b * positions, b)


def draft_step(
    draft: Draft, one_pass: Callable[[int, int | None], Step], *, draft_len: int, width: int = 1
) -> Step:
    """Return all draft passes of one cycle.

    The first pass reads `Draft.first_width` tokens per sequence and scores the last of them. Each later pass reads
    and scores ``width`` candidates. Medusa, block drafters and MLP speculators draft all depths in one pass. An
    n-gram draft costs the device nothing.

    Parameters
    ----------
    one_pass
        Function from the tokens of a pass and the scored tokens (``None``: all) to its step, such as a cached
        `draft_pass`.
    draft_len
        Drafted tokens of a chain, or depth of a tree; 0 if the draft is loaded and drafts nothing.
    """
    if draft.kind in ("none", "ngram") or draft_len == 0:
        return EMPTY
    if draft.kind in ("block", "mlp"):
        return one_pass(draft_len, None)
    if draft.kind == "medusa":
        return one_pass(1, None)
    first = one_pass(draft.first_width(draft_len), 1)
    if draft_len == 1:
        return first
    later = one_pass(width, None)
    return step_of(tuple(a.followed_by(b, draft_len - 1) for a, b in zip(first.parts, later.parts)))
