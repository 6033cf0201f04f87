"""Seconds of an all-reduce between the GPUs of one node."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scylla_sim.checks import FloatArray
from scylla_sim.kernels.device_rates import Rates, smooth_max
from scylla_sim.kernels.model import KernelModel, parameter
from scylla_sim.kernels.operation import (
    LINK,
    Execution,
    FitSettings,
    KernelQuery,
    Labels,
    Operation,
    OpKind,
    TableColumns,
    with_sources,
)
from scylla_sim.ops.op import Columns, all_reduce_bytes
from scylla_sim.specs.hardware import Hardware
from scylla_sim.units import MEBI

_FLOOR_NORM = 8.0
"""Norm of kernel time and launch floor, close to a maximum: the host's launch overlaps the kernel."""


@dataclass(frozen=True)
class AllReduceShots:
    """Parameters of `all_reduce_shots_seconds`."""

    launch_s: float = parameter(4.5e-6, 0.7, "Launch latency of the engine's own kernels with two GPUs.")
    one_shot_fraction: float = parameter(0.5, 1.0, "Achieved fraction of the link in the one-shot kernel.")
    sync_s: float = parameter(5e-6, 1.0, "Seconds of the extra synchronization in the two-shot kernel.")
    two_shot_fraction: float = parameter(0.7, 0.7, "Achieved fraction of the link in the two-shot kernel.")
    gpu_s: float = parameter(2e-7, 1.5, "Extra latency per GPU beyond two.")
    large_s: float = parameter(2e-5, 0.7, "Latency of NCCL with two GPUs.")
    large_fraction: float = parameter(0.8, 0.4, "Achieved fraction of the link in NCCL.")
    cutoff_bytes: float = parameter(5.7 * MEBI, 1e-3, "Message size from which two GPUs use NCCL.")
    cutoff_order: float = parameter(1e-9, 1e-3, "Exponent with which the cut-off falls with the number of GPUs.")
    link_order: float = parameter(0.15, 0.7, "Exponent of the used share of the links in the number of GPUs.")
    large_order: float = parameter(
        0.2, 1.0, "Exponent with which the latency of NCCL falls with the number of GPUs."
    )
    floor_s: float = parameter(8e-6, 1.5, "Minimum seconds of an eager launch.")


def all_reduce_shots_seconds(p: AllReduceShots, c: Columns, r: Rates) -> FloatArray:
    """Return the seconds of an all-reduce over NVLink: engine kernels for small messages, NCCL for large ones.

    Notes
    -----
    - Up to the cut-off, the engine runs the faster of two kernels: one-shot, in which every GPU reads from all
      others, and two-shot.
    - At the cut-off the latency rises two- to threefold. It is 8 MiB in vLLM on A100 and Hopper, and smaller with
      more GPUs on B200.
    - More GPUs use a larger share of their links in both kernels and have a lower cut-off.
    - An eager all-reduce takes at least ``floor_s``.
    """
    gpus, size, link = c["num_gpus"], c["bytes"], r.link_bytes_per_s
    start = p.launch_s + p.gpu_s * (gpus - 2.0)
    shared = all_reduce_bytes(c) / (link * (gpus / 2.0) ** p.link_order)
    one = start + (gpus - 1.0) * size / (p.one_shot_fraction * link)
    two = start + p.sync_s + shared / p.two_shot_fraction
    cutoff = p.cutoff_bytes / (gpus / 2.0) ** p.cutoff_order
    nccl = p.large_s * (gpus / 2.0) ** -p.large_order + shared / p.large_fraction
    kernel = np.where(size < cutoff, np.minimum(one, two), nccl)
    return smooth_max(_FLOOR_NORM, kernel, np.full_like(kernel, p.floor_s))


@dataclass(frozen=True)
class AllReduceBridge:
    """Parameters of `all_reduce_bridge_seconds`."""

    launch_s: float = parameter(5e-6, 0.7, "Launch latency with two GPUs.")
    gpu_s: float = parameter(2e-6, 1.0, "Extra latency per GPU beyond two.")
    pair_fraction: float = parameter(1.2, 0.5, "Achieved fraction of the link for two GPUs.")
    shared_fraction: float = parameter(
        0.5, 0.5, "Achieved fraction of one link for all GPUs of the bridge together."
    )
    floor_s: float = parameter(8e-6, 1.5, "Minimum seconds of an eager launch.")


def all_reduce_bridge_seconds(p: AllReduceBridge, c: Columns, r: Rates) -> FloatArray:
    """Return the seconds of an all-reduce over PCIe.

    Two GPUs have a switch to themselves; more GPUs share the bridge of the host. The bridge transfers the data of
    all GPUs, 2 (P - 1) messages. On L40S, 4 and 8 GPUs reach the same total rate.
    """
    gpus, size = c["num_gpus"], c["bytes"]
    rate = np.where(gpus > 2.0, p.shared_fraction, p.pair_fraction) * r.link_bytes_per_s
    kernel = p.launch_s + p.gpu_s * (gpus - 2.0) + 2.0 * (gpus - 1.0) * size / rate
    return smooth_max(_FLOOR_NORM, kernel, np.full_like(kernel, p.floor_s))


ALL_REDUCE_SHOTS = KernelModel(
    "all_reduce_shots",
    AllReduceShots(),
    ("num_gpus", "bytes"),
    all_reduce_shots_seconds,
    starts=tuple(
        {"cutoff_bytes": 2.0**power * 1.41, "cutoff_order": order}
        for order in (1e-9, 1.0)
        for power in range(17, 25)
    ),
)
ALL_REDUCE_BRIDGE = KernelModel(
    "all_reduce_bridge", AllReduceBridge(), ("num_gpus", "bytes"), all_reduce_bridge_seconds
)


def _models_for(dtype: str, hardware: Hardware, library: str) -> tuple[KernelModel, ...]:
    return (ALL_REDUCE_BRIDGE,) if hardware.link == "pcie" else (ALL_REDUCE_SHOTS,)


def _roofline_seconds(c: Columns, r: Rates) -> FloatArray:
    return all_reduce_bytes(c) / r.link_bytes_per_s


def _group_names(labels: Labels, numbers: Columns) -> NDArray[np.str_]:
    return np.where(numbers["graph"] > 0, "graph", "eager")


def _lookup(query: KernelQuery, fitted: Collection[str]) -> tuple[str, ...]:
    return with_sources(query.sources, "graph" if query.values.get("graph", 1.0) else "eager")


ALL_REDUCE = Operation(
    name="all_reduce",
    models=(ALL_REDUCE_SHOTS, ALL_REDUCE_BRIDGE),
    models_for=_models_for,
    roofline_seconds=_roofline_seconds,
    table=TableColumns(
        required=("num_gpus", "bytes"),
        optional={"graph": 1.0},
        fractional=("bytes",),
        may_be_zero=("graph",),
        needs_dtype=False,
    ),
    fit=FitSettings(
        min_rows=8,
        residual_scale=0.04,
        size_columns=("bytes",),
        cv_groups=("bytes",),
        leave_one_group_out=True,  # few sizes, each a factor of 4 from the next
    ),
    kinds=(OpKind("all_reduce", (Execution("all_reduce"),), resource=LINK, depends_on_graph=True),),
    group_names=_group_names,
    lookup=_lookup,
    group_columns=("graph",),
    per_library=False,  # the column `graph` determines the library
)
"""Sum of a message of ``bytes`` over ``num_gpus`` GPUs, in a CUDA graph or launched eagerly."""
