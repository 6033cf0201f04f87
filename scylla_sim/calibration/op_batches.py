"""Seconds of many operations at once: those that one fitted kernel describes are evaluated in one array."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from math import prod

import numpy as np

from scylla_sim.calibration.device_calibration import Calibration
from scylla_sim.calibration.op_time import OpEstimate, op_seconds, several_queries
from scylla_sim.checks import FloatArray
from scylla_sim.kernels.model import BLOCK
from scylla_sim.kernels.registry import op_kind, operation
from scylla_sim.ops.op import Op
from scylla_sim.stats.estimate import Deviation, Estimate, exact


@dataclass(frozen=True)
class Asked:
    """An operation whose seconds are asked for, with the data type of its weights.

    Attributes
    ----------
    op
        Operation.
    dtype
        Data type of the weights.
    graph
        Whether the step runs as a CUDA graph.
    fused_input
        Whether another kernel quantizes the input of a GEMM.
    """

    op: Op
    dtype: str
    graph: bool = True
    fused_input: bool = False


def batch_seconds(
    asked: Sequence[Asked],
    calibration: Calibration,
    *,
    kv_dtype: str,
    framework: str = "",
    intervals: bool = True,
) -> list[OpEstimate]:
    """Return the seconds of one execution of each operation, as `op_seconds` does one by one.

    Operations of one kind, data type and shape of the grid are stacked along a new first axis. Large grids are
    evaluated one by one, so that memory stays bounded.

    Examples
    --------
    >>> from scylla_sim.calibration.device_calibration import shipped
    >>> shapes = [{"m": np.array([1.0, 512.0]), "n": np.array(n), "k": np.array(4096.0)} for n in (4096.0, 8192.0)]
    >>> gemms = [Asked(Op("x", "gemm", 1, shape), "bfloat16") for shape in shapes]
    >>> small, large = batch_seconds(gemms, shipped("h100-sxm"), kv_dtype="bfloat16")
    >>> (small.seconds.value < large.seconds.value).tolist()
    [True, True]
    """
    groups: dict[Hashable, list[int]] = {}
    for place, one in enumerate(asked):
        groups.setdefault(_alike(one), []).append(place)
    found: dict[int, OpEstimate] = {}
    for places in groups.values():
        first = asked[places[0]]
        shape = _shape(first.op)
        step = max(1, BLOCK // max(prod(shape), 1))
        for start in range(0, len(places), step):
            members = places[start : start + step]
            together = op_seconds(
                _stacked([asked[place].op for place in members], shape),
                calibration,
                dtype=first.dtype,
                kv_dtype=kv_dtype,
                graph=first.graph,
                fused_input=first.fused_input,
                framework=framework,
                intervals=intervals,
            )
            found.update(zip(members, [together] if len(members) == 1 else _rows(together, len(members))))
    return [found[place] for place in range(len(asked))]


def _shape(op: Op) -> tuple[int, ...]:
    """Return the common shape of the columns of an operation."""
    return np.broadcast(*op.columns.values()).shape


def _alike(one: Asked) -> Hashable:
    """Return what operations have in common that one kernel describes on one grid."""
    kind, columns = op_kind(one.op.kind), one.op.columns
    names = (name for each in kind.executions for name in operation(each.operation).group_columns)
    selecting = tuple(float(np.asarray(columns[name]).flat[0]) for name in names if name in columns)
    several = several_queries(kind, columns)
    return kind.name, one.dtype, one.graph, one.fused_input, tuple(columns), _shape(one.op), selecting, several


def _stacked(ops: Sequence[Op], shape: tuple[int, ...]) -> Op:
    """Return operations of one shape as one operation with a new first axis; a single one as it is."""
    if len(ops) == 1:
        return ops[0]
    columns: dict[str, FloatArray] = {}
    for name in ops[0].columns:
        columns[name] = np.empty((len(ops), *shape))
        for place, op in enumerate(ops):
            columns[name][place] = op.columns[name]
    return Op(ops[0].name, ops[0].kind, 1, columns)


def _rows(together: OpEstimate, count: int) -> list[OpEstimate]:
    """Return the estimates of the operations that were stacked."""
    time = together.seconds

    def row(at: int) -> Estimate:
        if time.is_exact:
            return exact(time.value[at, ...])
        return Estimate(time.value[at, ...], time.lower[at, ...], time.upper[at, ...])

    return [
        OpEstimate(
            row(at),
            together.evidence,
            {name: Deviation(one.down[at, ...], one.up[at, ...]) for name, one in together.sources.items()},
            together.backend,
        )
        for at in range(count)
    ]
