"""The time of a step: its operations, their sum and its sources of error.

An operation has the error of its kernel fit (`OpTime.time`) and any number of named sources (`OpTime.sources`).
An example is the power limit of the device. A named source is one unknown of the deployment. It moves all
operations of a cycle together, and those of the baseline too. It therefore cancels in a speed-up as far as both
sides move alike. To add a source, use the first of these that applies:

* **An assumption about the work**, such as how many experts a pass reads: set ``Op.assumed[NAME]`` to the columns
  at the ends of its range. The operation is then estimated at both ends.
* **An uncertain parameter of a kernel**: put a `Deviation` of one execution into ``OpEstimate.sources[NAME]``, for
  example ``Deviation.between(seconds, seconds_at_the_ends)``. The step multiplies it by the executions.
* **A fact of the device or engine**: add it in ``_sources`` of `scylla_sim.prediction.steps`, as the power limit.

Sources of different names are independent. Deviations of one name add, and a source is assumed to move all
operations in the same direction.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from scylla_sim.checks import FloatArray
from scylla_sim.kernels.registry import op_kind
from scylla_sim.specs.attention_backend import AttentionBackend
from scylla_sim.stats.estimate import Deviation, Estimate, Sources, add_sources, exact, with_deviations

LAUNCH = "launch"
"""Kind of the part of a step in which the device waits for kernel launches."""
POWER = "power"
"""Name of the error source for the power limit of a GPU."""
NAMED = "named"
"""Kind of the error sources that all operations and steps share."""

NOT_FITTED_HERE = ("theory", "transferred")
"""Evidence levels of kernels whose errors are shared by all shapes.

Notes
-----
Source: training rows of aiconfigurator-core. The first table gives the correlation between the errors of two GEMM
shapes at the same m, for the bf16 fit of H100.

==============================  ===========
Fit                             Correlation
==============================  ===========
transferred to A100             0.7-0.8
transferred to H200             0.2-0.5
fitted on the same device       0-0.14
==============================  ===========

The second table gives the share of measured sums of four shapes on A100 that lie in the interval.

==============================  ===========
Errors of the four shapes       Inside
==============================  ===========
taken as independent            60-87 %
added                           92-100 %
==============================  ===========
"""


@dataclass(frozen=True)
class OpTime:
    """The time of one operation of a step, with its datasheet roofline.

    Attributes
    ----------
    name, kind
        Name and kind of the operation, as in `scylla_sim.ops.op.Op`.
    count
        Number of executions in the step.
    time
        Seconds of all executions, with their interval.
    memory_s, compute_s
        Bytes over the datasheet bandwidth and FLOPs over the datasheet peak, in seconds.
    evidence
        Evidence level of the kernel's fit.
    sources
        Named sources of error beside the kernel fit, in seconds of all executions.
    backend
        Backend of attention with several query tokens; ``None`` for the fitted kernel.
    """

    name: str
    kind: str
    count: int
    time: Estimate
    memory_s: FloatArray
    compute_s: FloatArray
    evidence: str
    sources: Sources = field(default_factory=dict)
    backend: AttentionBackend | None = None

    @property
    def seconds(self) -> FloatArray:
        """Estimated seconds of all executions."""
        return self.time.value

    def followed_by(self, other: OpTime, times: int) -> OpTime:
        """Return this operation plus ``times`` repetitions of ``other``."""
        return OpTime(
            name=self.name,
            kind=self.kind,
            count=self.count + times * other.count,
            time=self.time.plus(other.time.scaled(times)),
            memory_s=self.memory_s + times * other.memory_s,
            compute_s=self.compute_s + times * other.compute_s,
            evidence=other.evidence,
            sources=add_sources(self.sources, {name: one.scaled(times) for name, one in other.sources.items()}),
            backend=self.backend or other.backend,
        )


@dataclass(frozen=True)
class ErrorSource:
    """Seconds by which one source of error may shorten or lengthen a step, and the kind of its operations.

    The kind is `NAMED` for a source that all operations share.
    """

    kind: str
    down: FloatArray
    up: FloatArray


@dataclass(frozen=True)
class Step:
    """Device seconds of a step with their 90 % interval, and the operations of the step.

    The interval adds the deviations of ``errors`` in quadrature. There are these sources of error:

    * A kernel fitted on its own device has one source per operation. The errors of its executions in all layers are
      fully correlated.
    * A kernel that is transferred or was never fitted has one source for all operations of its kind. So have the
      two GEMMs of an MoE layer, which were measured as one.
    * A named source is one source for all operations that it moves.

    Attributes
    ----------
    parts
        Operations, in the order of the forward pass.
    time
        Device seconds, with their interval.
    errors
        Name of each source of error -> its deviations.
    """

    parts: tuple[OpTime, ...]
    time: Estimate
    errors: Mapping[str, ErrorSource] = field(default_factory=dict)

    @property
    def seconds(self) -> FloatArray:
        """Estimated device seconds."""
        return self.time.value

    @property
    def datasheet_s(self) -> FloatArray:
        """Roofline seconds: the larger of memory and compute time, summed over the operations."""
        return sum((np.maximum(part.memory_s, part.compute_s) for part in self.parts), np.zeros_like(self.seconds))

    @property
    def attention_backend(self) -> AttentionBackend | None:
        """Backend of attention with several query tokens; ``None`` for the fitted kernel."""
        return next((part.backend for part in self.parts if part.backend is not None), None)


EMPTY = Step((), exact(0.0))
"""A step without operations."""


def _errors(parts: Sequence[OpTime]) -> dict[str, ErrorSource]:
    """Return the sources of error of some operations; deviations of one source add up."""
    found: dict[str, ErrorSource] = {}
    for part in parts:
        together = part.evidence in NOT_FITTED_HERE or (part.kind != LAUNCH and op_kind(part.kind).fitted_together)
        source = part.kind if together else part.name
        down, up = part.time.down, part.time.up
        if source in found:
            down, up = down + found[source].down, up + found[source].up
        found[source] = ErrorSource(part.kind, down, up)
    named: Sources = {}
    for part in parts:
        named = add_sources(named, part.sources)
    return found | {name: ErrorSource(NAMED, one.down, one.up) for name, one in named.items() if _moves(one)}


def _moves(one: Deviation) -> bool:
    """Return whether a deviation is above 0 anywhere."""
    return bool(np.any(one.down > 0.0) or np.any(one.up > 0.0))


def step_of(parts: tuple[OpTime, ...]) -> Step:
    """Return the step made of some operations, with its sources of error and its interval."""
    if not parts:
        return EMPTY
    seconds = sum((part.seconds for part in parts), np.asarray(0.0))
    if all(part.time.is_exact and not part.sources for part in parts):
        return Step(parts, exact(seconds))
    errors = _errors(parts)
    time = with_deviations(
        seconds, (error.down for error in errors.values()), (error.up for error in errors.values())
    )
    return Step(parts, time, errors)
