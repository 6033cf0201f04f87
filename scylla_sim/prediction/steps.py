"""Seconds of one step of a serving engine: plain decode, verification, drafting, each part by part.

Device seconds are the sum of calibrated kernels; what the engine adds (host work, launches without a CUDA graph) is
kept apart, because its value decides whether large batches gain from speculation.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scylla_sim.calibration.device_calibration import Calibration
from scylla_sim.calibration.op_time import Seconds, op_seconds
from scylla_sim.checks import FloatArray, positive
from scylla_sim.kernels.device_rates import rates
from scylla_sim.ops.forward import draft_ops, forward_ops
from scylla_sim.ops.op import ATTENTION, Op
from scylla_sim.prediction import power_limit
from scylla_sim.specs.draft import Draft
from scylla_sim.specs.engine import Engine
from scylla_sim.specs.model import Model

BOUNDS = ("memory", "compute", "communication", "overhead")
LAUNCH = "launch"
"""Kind of the part of an eager step in which the device waits for the host."""
POWER = "power"
"""Kind, and name, of the error that the power limit of a GPU makes."""

NOT_FITTED_HERE = ("theory", "transferred")
"""Evidence of kernels whose errors all shapes share.

Of H100's bf16 GEMM carried to A100 the errors of two shapes at one m correlate by 0.7-0.8 (carried to H200 by
0.2-0.5), of those fitted on their own device by 0-0.14. On A100, sums of four carried shapes lay in an interval
that took them as independent in 60-87 % of cases, and in 92-100 % with their deviations added (training rows of
aiconfigurator-core)."""


@dataclass(frozen=True)
class OpTime:
    """One operation of a step: seconds of all its executions, and what the datasheet says of it.

    ``power_s`` are seconds that the power limit of the device may add; see `scylla_sim.prediction.power_limit`.
    """

    name: str
    kind: str
    count: int
    seconds: FloatArray
    lower: FloatArray
    upper: FloatArray
    memory_s: FloatArray
    compute_s: FloatArray
    evidence: str
    power_s: FloatArray = field(default_factory=lambda: np.asarray(0.0))


@dataclass(frozen=True)
class ErrorSource:
    """Seconds by which one source of error may lengthen or shorten a step, and the kind of its operations."""

    kind: str
    down: FloatArray
    up: FloatArray


@dataclass(frozen=True)
class Step:
    """Device seconds of a step with their 90 % interval, and the operations they are made of.

    ``errors`` names the sources of error, whose deviations ``lower`` and ``upper`` add in quadrature. A kernel
    fitted on its device errs by shape: each operation is a source, its executions in all layers err together. One
    that was carried there, or never fitted, errs by its constants: all operations of its kind are one source. The
    power limit is one source for all GEMMs.
    """

    parts: tuple[OpTime, ...]
    seconds: FloatArray
    lower: FloatArray
    upper: FloatArray
    errors: Mapping[str, ErrorSource] = field(default_factory=dict)

    @property
    def datasheet_s(self) -> FloatArray:
        """The naive roofline: the larger of bytes / bandwidth and FLOPs / peak, operation by operation."""
        return sum((np.maximum(part.memory_s, part.compute_s) for part in self.parts), np.zeros_like(self.seconds))

    def evidence(self) -> str:
        """The weakest evidence among the parts that carry weights, KV or messages."""
        found = {part.evidence for part in self.parts if part.kind not in ("elementwise", LAUNCH)}
        for level in ("theory", "transferred", "published"):
            if level in found:
                return level
        return next(iter(sorted(found)), "theory")


@dataclass(frozen=True)
class Deployment:
    """Where a step runs: device and its calibration, engine, precision of weights and cache, ranks."""

    calibration: Calibration
    engine: Engine
    dtype: str = "bfloat16"
    kv_dtype: str = "bfloat16"
    tp: int = 1

    @property
    def launches_add(self) -> bool:
        """Whether the device waits while its host launches: a CPU, which is both. A GPU works on."""
        return self.calibration.hardware.sm_count == 0

    def eager(self, tokens: FloatArray, batch: FloatArray) -> NDArray[np.bool_]:
        """Whether steps of so many tokens, of so many sequences, are launched kernel by kernel, not as a graph."""
        engine = self.engine
        past = np.full(np.shape(tokens), engine.eager)
        for size, limit in ((tokens, engine.max_graph_tokens), (batch, engine.max_graph_batch)):
            past = past | (size > limit) if limit else past
        return past


EMPTY = Step((), np.asarray(0.0), np.asarray(0.0), np.asarray(0.0))


def _step(ops: Sequence[Op], deployment: Deployment, tokens: FloatArray, batch: FloatArray) -> Step:
    """Price a list of operations, and launches that an eager step waits for."""
    hardware = deployment.calibration.hardware
    eager = deployment.eager(tokens, batch)
    launch_s = np.where(eager, deployment.engine.launch_s if deployment.launches_add else 0.0, 0.0)
    parts = []
    for op in ops:
        one = _one(op, deployment, eager)
        memory_s = op.memory_bytes(deployment.dtype, deployment.kv_dtype) / hardware.memory_bytes_per_s
        compute_s = op.flops() / _peak(deployment, op)
        parts.append(
            OpTime(
                name=op.name,
                kind=op.kind,
                count=op.count,
                seconds=op.count * (one.value + launch_s),
                lower=op.count * (one.lower + launch_s),
                upper=op.count * (one.upper + launch_s),
                memory_s=memory_s,
                compute_s=compute_s,
                evidence=one.evidence,
                power_s=_power_s(op, deployment, op.count * one.value, (compute_s, memory_s)),
            )
        )
    if deployment.engine.launch_s > 0.0 and not deployment.launches_add:
        waiting = _waiting(parts, deployment.engine, eager)
        behind = waiting.seconds > 0.0
        parts = [*([_hidden(part, behind) for part in parts] if behind.any() else parts), waiting]
    return _total(tuple(parts))


def _hidden(part: OpTime, behind: NDArray[np.bool_]) -> OpTime:
    """An operation of a step that takes as long as its launches, however wrong its own seconds are."""
    lower, upper = (np.where(behind, part.seconds, end) for end in (part.lower, part.upper))
    return replace(part, lower=lower, upper=upper)


def _waiting(parts: Sequence[OpTime], engine: Engine, eager: NDArray[np.bool_]) -> OpTime:
    """What the device waits for the host in an eager step: by how much its launches outlast its operations."""
    launches = sum(part.count for part in parts)
    none = np.zeros(eager.shape)
    seconds = lower = upper = none
    if eager.any():
        busy = sum((part.seconds for part in parts), none)
        each = (engine.launch_s, *engine.intervals.get("launch_s", (engine.launch_s, engine.launch_s)))
        seconds, lower, upper = (np.where(eager, np.maximum(launches * one - busy, 0.0), none) for one in each)
    return OpTime("waiting_for_launches", LAUNCH, launches, seconds, lower, upper, none, none, "theory")


def _one(op: Op, deployment: Deployment, eager: NDArray[np.bool_]) -> Seconds:
    """One execution of an operation; only messages between GPUs take another time outside a graph."""

    def price(graph: bool) -> Seconds:
        return op_seconds(
            op,
            deployment.calibration,
            dtype=deployment.dtype,
            kv_dtype=deployment.kv_dtype,
            graph=graph,
            framework=deployment.engine.framework,
        )

    if op.kind != "all_reduce" or eager.all() == eager.any():
        return price(not eager.any())
    inside, outside = price(True), price(False)
    return Seconds(
        value=np.where(eager, outside.value, inside.value),
        lower=np.where(eager, outside.lower, inside.lower),
        upper=np.where(eager, outside.upper, inside.upper),
        evidence=outside.evidence,
    )


def _peak(deployment: Deployment, op: Op) -> float:
    """Peak of the precision an operation computes in: attention in 16 bits, GEMMs in the weights' dtype."""
    dtype = "bfloat16" if op.kind in ATTENTION and deployment.dtype != "float32" else deployment.dtype
    return rates(deployment.calibration.hardware, dtype).flop_per_s


def _power_s(
    op: Op, deployment: Deployment, seconds: FloatArray, bounds: tuple[FloatArray, FloatArray]
) -> FloatArray:
    """Seconds that the power limit may add to an operation; ``bounds`` are its compute and memory time."""
    if not op.kind.endswith("gemm") or deployment.calibration.hardware.sm_count == 0:
        return np.zeros_like(seconds)
    return seconds * power_limit.share(*bounds)


def _errors(parts: Sequence[OpTime]) -> dict[str, ErrorSource]:
    """Sources of error of some operations; deviations of one source add up."""
    found: dict[str, ErrorSource] = {}
    for part in parts:
        source = part.kind if part.evidence in NOT_FITTED_HERE else part.name
        down, up = part.seconds - part.lower, part.upper - part.seconds
        if source in found:
            down, up = down + found[source].down, up + found[source].up
        found[source] = ErrorSource(part.kind, down, up)
    power_s = sum((part.power_s for part in parts), np.asarray(0.0))
    if np.any(power_s > 0.0):
        found[POWER] = ErrorSource(POWER, np.zeros_like(power_s), power_s)
    return found


def _total(parts: tuple[OpTime, ...]) -> Step:
    if not parts:
        return EMPTY
    errors = _errors(parts)
    seconds = sum((part.seconds for part in parts), np.asarray(0.0))
    down = sum((error.down**2 for error in errors.values()), np.asarray(0.0))
    up = sum((error.up**2 for error in errors.values()), np.asarray(0.0))
    return Step(parts, seconds, seconds - np.sqrt(down), seconds + np.sqrt(up), errors)


def target_step(
    model: Model, deployment: Deployment, *, batch: ArrayLike, context: ArrayLike, tokens: ArrayLike = 1
) -> Step:
    """Device seconds to score ``tokens`` tokens of each sequence: 1 is plain decoding, more is verification.

    Arrays broadcast; the result has their common shape.

    Examples
    --------
    >>> from scylla_sim.calibration import device_calibration
    >>> from scylla_sim.specs import catalog
    >>> deployment = Deployment(device_calibration.shipped("h100-sxm"), catalog.engine("ideal"))
    >>> step = target_step(catalog.model("llama-3.1-8b"), deployment, batch=1, context=1024)
    >>> 0.005 < float(step.seconds) < 0.007
    True
    """
    b, s, n = np.broadcast_arrays(
        positive("batch", batch), positive("context", context), positive("tokens", tokens)
    )
    ops = forward_ops(model, batch=b, context=s, tokens=n, tp=deployment.tp, dtype=deployment.dtype)
    return _step(ops, deployment, b * n, b)


def draft_step(
    draft: Draft,
    target: Model,
    deployment: Deployment,
    *,
    batch: ArrayLike,
    context: ArrayLike,
    draft_len: int,
    width: int = 1,
) -> Step:
    """Device seconds of one cycle's drafting: ``draft_len`` sequential passes over ``width`` candidates each.

    The first pass extends one token a sequence, the others ``width``. Medusa drafts all depths in one pass; an
    n-gram draft costs the device nothing.
    """

    def one_pass(candidates: int) -> Step:
        return draft_pass(draft, target, deployment, batch=batch, context=context, width=candidates)

    return drafted_step(draft, draft_len, width, one_pass)


def draft_pass(
    draft: Draft, target: Model, deployment: Deployment, *, batch: ArrayLike, context: ArrayLike, width: int = 1
) -> Step:
    """Device seconds of one sequential pass of a draft over ``width`` candidates of each sequence."""
    b, s = np.broadcast_arrays(positive("batch", batch), positive("context", context))
    ops = draft_ops(draft, target, batch=b, context=s, width=width, tp=deployment.tp, dtype=deployment.dtype)
    return _step(ops, deployment, b * width, b)


def drafted_step(draft: Draft, draft_len: int, width: int, one_pass: Callable[[int], Step]) -> Step:
    """A cycle's drafting from passes of one candidate and of ``width``, which ``one_pass`` prices."""
    if draft.kind in ("none", "ngram"):
        return EMPTY
    first = one_pass(1)
    if draft.kind == "medusa" or draft_len == 1:
        return first
    rest = one_pass(width)
    times = draft_len - 1
    parts = tuple(
        OpTime(
            name=a.name,
            kind=a.kind,
            count=a.count + times * c.count,
            seconds=a.seconds + times * c.seconds,
            lower=a.lower + times * c.lower,
            upper=a.upper + times * c.upper,
            memory_s=a.memory_s + times * c.memory_s,
            compute_s=a.compute_s + times * c.compute_s,
            evidence=c.evidence,
            power_s=a.power_s + times * c.power_s,
        )
        for a, c in zip(first.parts, rest.parts)
    )
    return _total(parts)


def bound(steps: Sequence[Step], overhead_s: FloatArray) -> list[str]:
    """What takes the largest share of a cycle, element by element: one of `BOUNDS`.

    An operation's seconds go to memory or compute, whichever its datasheet roofline names.
    """
    shape = np.broadcast_shapes(overhead_s.shape, *(step.seconds.shape for step in steps))
    share = {name: np.zeros(shape) for name in BOUNDS}
    share["overhead"] = share["overhead"] + overhead_s
    for part in (part for step in steps for part in step.parts):
        other = {"all_reduce": "communication", LAUNCH: "overhead"}.get(part.kind)
        if other is not None:
            share[other] = share[other] + part.seconds
            continue
        math = part.compute_s > part.memory_s
        share["compute"] = share["compute"] + np.where(math, part.seconds, 0.0)
        share["memory"] = share["memory"] + np.where(math, 0.0, part.seconds)
    most = np.argmax(np.stack([share[name] for name in BOUNDS]), axis=0)
    return [BOUNDS[i] for i in most.reshape(-1).tolist()]
