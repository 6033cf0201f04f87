"""Seconds of one operation of a forward pass, from the calibration of a device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from scylla_sim.calibration.device_calibration import Calibration
from scylla_sim.calibration.fitted_kernel import FittedKernel
from scylla_sim.checks import fail
from scylla_sim.kernels.device_rates import Rates, rates
from scylla_sim.kernels.operation import LINK, Execution, KernelQuery, OpKind
from scylla_sim.kernels.registry import op_kind, operation
from scylla_sim.kernels.verify_attention import with_backend
from scylla_sim.ops.op import Columns, Op
from scylla_sim.specs.attention_backend import AttentionBackend, dispatched
from scylla_sim.specs.hardware import Hardware
from scylla_sim.stats.estimate import Deviation, Estimate, Sources, exact

QUANTIZER = "fused quantizer"
"""Source of error of a GEMM whose input another kernel quantizes."""


@dataclass(frozen=True)
class OpEstimate:
    """Predicted seconds of one execution with their 90 % interval, and the evidence level.

    Attributes
    ----------
    seconds
        Seconds, with the error of the kernel fit.
    evidence
        Evidence level of the fit.
    sources
        Named sources of error beside the fit, for example an uncertain kernel parameter; see
        `scylla_sim.prediction.step_time`.
    backend
        Backend of attention with several query tokens; ``None`` for the fitted kernel.
    """

    seconds: Estimate
    evidence: str
    sources: Sources = field(default_factory=dict)
    backend: AttentionBackend | None = None


def choose(
    executions: tuple[Execution, ...],
    calibration: Calibration,
    columns: Columns,
    query: KernelQuery,
) -> tuple[Execution, FittedKernel]:
    """Return the first execution whose kernels were fitted, otherwise the last, and its kernel.

    Parameters
    ----------
    columns
        Shape columns of the operation. They give the ``group_columns`` that neither the query nor the execution
        states, for example the head size.
    query
        Data types and sources to look up.
    """
    for execution in executions:
        asked = _with_values(query, execution, columns)
        if execution is executions[-1] or calibration.has(execution.operation, asked):
            break
    kernel = calibration.find(execution.operation, asked)
    return execution, kernel.widened() if execution.fallback else kernel


def _with_values(query: KernelQuery, execution: Execution, columns: Columns) -> KernelQuery:
    values: dict[str, float] = {}
    for name in operation(execution.operation).group_columns:
        given: Mapping[str, float] = {**execution.values, **query.values}
        if name in given:
            values[name] = given[name]
        elif name in columns:
            values[name] = float(np.asarray(columns[name]).flat[0])
    return KernelQuery(query.dtype, query.kv_dtype, query.sources, values)


def estimate(
    execution: Execution, kernel: FittedKernel, columns: Columns, r: Rates, *, intervals: bool = True
) -> OpEstimate:
    """Return the seconds of an execution on a device with these rates.

    Parameters
    ----------
    kernel
        Fitted kernel of the execution's operation.
    columns
        Shape columns of the operation itself; the execution converts them.
    intervals
        Whether the seconds have an interval.
    """
    value = execution.seconds(kernel.model, kernel.parameters, execution.columns(columns), r)
    if execution.extra_seconds is not None:
        value = value + execution.extra_seconds(columns, r)
    if not intervals:
        return OpEstimate(exact(value), kernel.evidence)
    whole = kernel.interval(execution.parts * value)
    return OpEstimate(
        Estimate(value, whole.lower / execution.parts, whole.upper / execution.parts), kernel.evidence
    )


def op_seconds(
    op: Op,
    calibration: Calibration,
    *,
    dtype: str,
    kv_dtype: str,
    graph: bool = True,
    framework: str = "",
    fused_input: bool = False,
    intervals: bool = True,
) -> OpEstimate:
    """Return the seconds of one execution of an operation in serving.

    Weights and KV come from memory, and the kernel is one of many in a CUDA graph.

    Parameters
    ----------
    dtype, kv_dtype
        Data types of the weights and of the KV cache.
    graph
        Whether the step runs as a CUDA graph; otherwise it is launched eagerly.
    framework
        Framework whose own kernels are used where they were fitted apart.
    fused_input
        Whether another kernel quantizes the input of a GEMM. The fits contain the quantizer, which then becomes a
        source of error instead.
    intervals
        Whether the seconds have an interval and sources of error.

    Raises
    ------
    InputError
        The operation needs a link between GPUs and the device has none.

    Examples
    --------
    >>> from scylla_sim.calibration.device_calibration import shipped
    >>> from scylla_sim.ops.op import Op
    >>> shape = {name: np.array(value) for name, value in (("m", [1.0, 512.0]), ("n", 4096.0), ("k", 4096.0))}
    >>> t = op_seconds(Op("x", "gemm", 1, shape), shipped("h100-sxm"), dtype="bfloat16", kv_dtype="bfloat16")
    >>> bool(t.seconds.value[0] < t.seconds.value[1])
    True
    """
    kind, hardware = op_kind(op.kind), calibration.hardware
    if kind.resource == LINK and hardware.link_bytes_per_s <= 0:
        raise fail(
            "tp", int(np.asarray(op.columns["num_gpus"]).flat[0]), f"needs a link, and {hardware.name} has none"
        )
    query = KernelQuery(dtype, kv_dtype, (framework,), {"graph": float(graph)})
    execution, kernel = choose(kind.executions, calibration, op.columns, query)
    if not operation(execution.operation).l2_reuse_in_serving:
        kernel = kernel.without_l2_reuse
    r = rates(hardware, kind.compute_dtype(dtype), kv_dtype if kind.reads_kv else "")
    kernel = kernel.in_cuda_graph
    if fused_input:
        return _without_quantizer(execution, kernel, op.columns, r, intervals=intervals)
    backend = backend_of(kind, op.columns, hardware, framework=framework, kv_dtype=kv_dtype)
    return estimate_by(backend, execution, kernel, columns=op.columns, r=r, intervals=intervals)


def _without_quantizer(
    execution: Execution, kernel: FittedKernel, columns: Columns, r: Rates, *, intervals: bool
) -> OpEstimate:
    """Return the seconds of a GEMM whose input arrives quantized. Its upper end holds the quantizer."""
    found = estimate(execution, kernel.without_quantizer, columns, r, intervals=intervals)
    if not intervals:
        return found
    apart = estimate(execution, kernel, columns, r, intervals=False).seconds.value - found.seconds.value
    return replace(found, sources={**found.sources, QUANTIZER: Deviation(np.zeros_like(apart), apart)})


def several_queries(kind: OpKind, columns: Columns) -> bool:
    """Return whether an operation is attention with several query tokens anywhere."""
    return bool(kind.attention) and bool(np.any(columns["q_len"] > 1.0))


def backend_of(
    kind: OpKind, columns: Columns, hardware: Hardware, *, framework: str, kv_dtype: str
) -> AttentionBackend | None:
    """Return the backend of attention where it differs from the fitted kernel, else ``None``."""
    if not kind.attention:
        return None
    found = dispatched(framework, hardware, kv_dtype=kv_dtype, attention=kind.attention)
    return found if found is not None and (found.one_token or several_queries(kind, columns)) else None


def estimate_by(
    backend: AttentionBackend | None,
    execution: Execution,
    kernel: FittedKernel,
    *,
    columns: Columns,
    r: Rates,
    intervals: bool = True,
) -> OpEstimate:
    """Return the seconds of an execution by a backend, with one source of error for each of its settings."""
    if backend is None:
        return estimate(execution, kernel, columns, r, intervals=intervals)

    def by(one: AttentionBackend) -> OpEstimate:
        with_one = replace(kernel, model=with_backend(kernel.model, one))
        return estimate(execution, with_one, columns, r, intervals=intervals)

    found, settings = by(backend), backend.settings if intervals else ()
    ends = {name: [by(end).seconds.value for end in backend.ends(name)] for name in settings}
    sources = {
        f"{backend.name} {name}": Deviation.between(found.seconds.value, values) for name, values in ends.items()
    }
    evidence = "theory" if backend.undecided else found.evidence
    return OpEstimate(found.seconds, evidence, {**found.sources, **sources}, backend)
