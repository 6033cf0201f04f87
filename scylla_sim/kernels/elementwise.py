"""Seconds of kernels that only move data: norms, rotary embedding, activations, sampling."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scylla_sim.checks import FloatArray
from scylla_sim.kernels.device_rates import Rates, smooth_max
from scylla_sim.kernels.model import KernelModel, evaluate, parameter
from scylla_sim.kernels.operation import (
    MEMORY,
    Execution,
    FitSettings,
    KernelQuery,
    Labels,
    Operation,
    OpKind,
    TableColumns,
)
from scylla_sim.ops.op import Columns
from scylla_sim.specs.hardware import Hardware

_SPILL_ORDER = 4.0
"""Sharpness of the step between data that fits in L2 and data that does not."""


@dataclass(frozen=True)
class ElementwiseCopy:
    """Parameters of `elementwise_copy_seconds`; the priors are assumptions where no copy was measured."""

    bandwidth_fraction: float = parameter(0.8, 0.5, "Achieved fraction of the memory bandwidth.")
    launch_s: float = parameter(1.5e-6, 1.5, "Launch latency.")


def elementwise_copy_seconds(p: ElementwiseCopy, c: Columns, r: Rates) -> FloatArray:
    """Return the seconds of a copy: launch, and bytes at the achieved bandwidth."""
    return p.launch_s + c["bytes"] / (p.bandwidth_fraction * r.bytes_per_s)


@dataclass(frozen=True)
class ElementwiseCached:
    """Parameters of `elementwise_cached_seconds`."""

    bandwidth_fraction: float = parameter(0.83, 0.2, "Achieved fraction of the memory bandwidth.")
    launch_s: float = parameter(1.85e-6, 0.4, "Launch latency.")
    l2_ratio: float = parameter(2.0, 1.0, "Speed of L2 over memory.")
    l2_fill: float = parameter(0.9, 0.5, "Fraction of L2 that holds the data.")
    overlap_norm: float = parameter(1.6, 0.4, "Norm that combines memory, one row and starting CTAs.")
    row_bytes_per_s: float = parameter(4e10, 0.7, "Rate at which one CTA moves its row.")
    row_s: float = parameter(6e-10, 0.7, "Seconds to start the CTA of one row.")


def elementwise_cached_seconds(p: ElementwiseCached, c: Columns, r: Rates) -> FloatArray:
    """Return the seconds of a data-moving kernel on a GPU, whose L2 holds the output of the previous kernel.

    Notes
    -----
    - Up to ``l2_fill`` of the size of L2, bytes move ``l2_ratio`` times as fast. This also holds in serving:
      activations come from the previous kernel, although weights stream through L2 in between.
    - A kernel may give each of its ``rows`` to one CTA. Its time is then at least that of one row at
      ``row_bytes_per_s``, and that of starting all CTAs, ``row_s`` each.
    - The work of a kernel with ``rows`` 0 can be divided anywhere.
    """
    spilled = 1.0 / (1.0 + (p.l2_fill * r.l2_bytes / c["bytes"]) ** _SPILL_ORDER)
    slowed = c["bytes"] * (spilled + (1.0 - spilled) / p.l2_ratio)
    memory: FloatArray = slowed / (p.bandwidth_fraction * r.bytes_per_s)
    rows = c["rows"]
    if not rows.any():  # true of most operations in a step
        return p.launch_s + memory
    row = np.where(rows > 0.0, c["bytes"] / np.maximum(rows, 1.0) / p.row_bytes_per_s, 0.0)
    return p.launch_s + smooth_max(p.overlap_norm, memory, row, p.row_s * rows)


ELEMENTWISE_COPY = KernelModel("elementwise_copy", ElementwiseCopy(), ("bytes",), elementwise_copy_seconds)
ELEMENTWISE_CACHED = KernelModel(
    "elementwise_cached", ElementwiseCached(), ("bytes", "rows"), elementwise_cached_seconds
)


def _models_for(dtype: str, hardware: Hardware, library: str) -> tuple[KernelModel, ...]:
    return (ELEMENTWISE_COPY,) if hardware.sm_count == 0 else (ELEMENTWISE_CACHED,)


def _roofline_seconds(c: Columns, r: Rates) -> FloatArray:
    return c["bytes"] / r.bytes_per_s


def _group_names(labels: Labels, numbers: Columns) -> NDArray[np.str_]:
    return np.full(len(labels["op"]), "copy")


def _lookup(query: KernelQuery, fitted: Collection[str]) -> tuple[str, ...]:
    return ("copy",)


def _state_columns(c: Columns) -> Columns:
    return {"bytes": c["bytes"], "rows": np.zeros_like(c["bytes"])}


def _without_l2(model: KernelModel, parameters: Any, c: Columns, r: Rates) -> FloatArray:
    """Return the seconds of data that comes from memory, as states do: weights pass through L2 in between."""
    return evaluate(model, parameters, c, replace(r, l2_bytes=1.0))


STATE_UPDATE = Execution("elementwise", _state_columns, seconds=_without_l2, fallback=True)
"""State of linear attention, estimated as a copy of its bytes. No kernel of this kind was measured."""

ELEMENTWISE = Operation(
    name="elementwise",
    models=(ELEMENTWISE_COPY, ELEMENTWISE_CACHED),
    models_for=_models_for,
    roofline_seconds=_roofline_seconds,
    table=TableColumns(
        required=("bytes",),
        optional={"rows": 0.0, "calls_per_graph": 0.0},
        fractional=("bytes",),
        needs_dtype=False,
    ),
    fit=FitSettings(min_rows=3, residual_scale=0.04, size_columns=("bytes",), cv_groups=("bytes",)),
    kinds=(
        OpKind("elementwise", (Execution("elementwise"),), resource=MEMORY),
        OpKind("state_update", (STATE_UPDATE,)),
    ),
    group_names=_group_names,
    lookup=_lookup,
    per_library=False,
    l2_reuse_in_serving=True,
)
"""Kernel that moves ``bytes``; a norm reduces ``rows`` rows with one CTA per row."""
