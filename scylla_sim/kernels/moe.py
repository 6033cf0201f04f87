"""Seconds of an MoE layer: two grouped GEMMs over experts, and the kernels that move rows around them.

Frameworks measure a whole layer. In a forward pass the two GEMMs and the moving kernels are separate operations.
`expert_gemm_seconds` returns one GEMM, with the parameters that were fitted to layers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from scylla_sim.checks import FloatArray
from scylla_sim.kernels.device_rates import Rates, smooth_max
from scylla_sim.kernels.elementwise import ElementwiseCopy
from scylla_sim.kernels.gemm import AS_ONE_GEMM
from scylla_sim.kernels.gemm_parts import QUANTIZER_BYTES, tile_waves
from scylla_sim.kernels.model import KernelModel, parameter
from scylla_sim.kernels.operation import ColumnRule, Execution, FitSettings, Operation, OpKind, TableColumns
from scylla_sim.ops.expert_routing import LOADS, even_loads
from scylla_sim.ops.op import Columns, grouped_gemm_bytes
from scylla_sim.specs.hardware import Hardware

_TILES = ((16, 64), (64, 64), (64, 128), (128, 256))
"""Rows and columns of the tiles that grouped kernels choose among."""
_MOVING_KERNELS = 3.0
"""Kernels between and around the two GEMMs of a layer: sorting, activation and weighted sum."""
_RESIDENCY_ORDER = 12.0
"""Sharpness of the step between experts that stay in L2 and experts that do not.

A benchmark routes the same rows again and again. The experts that they use are in L2 if all of them fit.
"""


# -- One grouped GEMM ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MoeTiles:
    """Parameters of `tiled_expert_gemm_seconds`."""

    bandwidth_fraction: float = parameter(0.75, 0.4, "Achieved fraction of the memory bandwidth.")
    compute_fraction: float = parameter(0.6, 0.4, "Speed of one tile relative to its SM's share of the peak.")
    launch_s: float = parameter(8e-6, 0.7, "Launch latency of one GEMM.")
    overlap_norm: float = parameter(3.0, 0.4, "Norm that combines tiles and memory; large: maximum.")
    intensity: float = parameter(110.0, 0.5, "FLOPs that an SM could do while it reads one operand element.")
    stage_s: float = parameter(60e-9, 0.7, "Latency of one pipeline stage of 64 units of k.")
    wave_weight: float = parameter(0.3, 1.0, "Weight of a partial wave; see `tile_waves`.")
    quantiser_ratio: float = parameter(0.4, 0.8, "Achieved fraction of the memory bandwidth in the quantizer.")
    l2_ratio: float = parameter(3.0, 0.7, "Speed of L2 over memory for experts that stay in L2.")


@dataclass(frozen=True)
class MoePadded:
    """Parameters of `padded_expert_gemm_seconds`."""

    bandwidth_fraction: float = parameter(0.75, 0.4, "Achieved fraction of the memory bandwidth.")
    compute_fraction: float = parameter(0.2, 0.7, "Achieved fraction of the peak with full tiles.")
    launch_s: float = parameter(15e-6, 0.7, "Launch latency of one GEMM.")
    overlap_norm: float = parameter(3.0, 0.4, "Norm that combines tiles and memory; large: maximum.")
    tile_s: float = parameter(8e-6, 0.7, "Minimum seconds of one tile.")
    first_tile: float = parameter(0.2, 1.0, "Tiles that take as long as filling the pipeline of an SM.")
    quantiser_ratio: float = parameter(0.4, 0.8, "Achieved fraction of the memory bandwidth in the quantizer.")
    padding: float = parameter(0.8, 0.7, "Relative extra time of a partly filled tile.")


def _input_seconds(ratio: float, c: Columns, r: Rates) -> FloatArray | float:
    """Return the seconds of quantizing the input rows of an 8-bit GEMM; 0 in 16 bits."""
    quantized = r.size.activation < r.size.output
    return QUANTIZER_BYTES * c["m"] * c["k"] / (ratio * r.bytes_per_s) if quantized else 0.0


def tiled_expert_gemm_seconds(p: MoeTiles, c: Columns, r: Rates) -> FloatArray:
    """Return the seconds of one grouped GEMM in the best of four tiles.

    ``m`` rows in all are multiplied by ``groups`` weights of ``n`` x ``k``. Each weight has tiles of its own. The
    column ``tiles_h`` counts them for tiles of h rows: uneven rows, and few rows per weight, fill tiles badly. The
    optional column ``warm`` is the fraction of the weights that is read from L2.
    """
    m, n, k = c["m"], c["n"], c["k"]
    found = c.get("warm", 0.0) * r.size.stored * c["groups"] * n * k
    moved = grouped_gemm_bytes(c, r.size) - found * (1.0 - 1.0 / p.l2_ratio)
    memory = moved / (p.bandwidth_fraction * r.bytes_per_s)
    sm_flop, rows = r.flop_per_s / r.sm_count, m / c["groups"]
    busy = np.full(np.shape(memory), np.inf)
    for tile_rows, cols in _TILES:
        tiles_per_sm = c[f"tiles_{tile_rows}"] * np.ceil(n / cols) / r.sm_count
        step = np.maximum(
            2.0 * tile_rows * cols / (p.compute_fraction * sm_flop) + p.stage_s / 64.0,
            p.intensity * (np.minimum(tile_rows, rows) + cols) / sm_flop,
        )
        busy = np.minimum(busy, tile_waves(p.wave_weight, tiles_per_sm) * k * step)
    return p.launch_s + smooth_max(p.overlap_norm, busy, memory) + _input_seconds(p.quantiser_ratio, c, r)


def padded_expert_gemm_seconds(p: MoePadded, c: Columns, r: Rates) -> FloatArray:
    """Return the seconds of one grouped GEMM in tiles of 128 x 128 for any number of rows.

    This is the CUTLASS grouped GEMM that FlashInfer provides to vLLM.

    Notes
    -----
    - A tile takes at least ``tile_s``. A partly filled tile takes longer than a full one, by ``padding``. Measured
      8-bit MoE layers on Hopper take half as long with 128 rows per expert as with 8. With 192 rows they take as
      long as with 128 and with 64 together.
    - An SM takes tiles one by one. Its pipeline is filled before the first tile.
    """
    n, k, tiles = c["n"], c["k"], c["tiles_128"]
    memory = grouped_gemm_bytes(c, r.size) / (p.bandwidth_fraction * r.bytes_per_s)
    side = 128.0
    full = 2.0 * side * side * k * r.sm_count / (p.compute_fraction * r.flop_per_s)
    each = np.hypot(p.tile_s, full * (1.0 + p.padding * c["ragged"] / tiles))
    busy = (tiles * np.ceil(n / side) / r.sm_count + p.first_tile) * each
    return p.launch_s + smooth_max(p.overlap_norm, busy, memory) + _input_seconds(p.quantiser_ratio, c, r)


# -- A whole layer ---------------------------------------------------------------------------------------------

ExpertGemm = Callable[[Any, Columns, Rates], FloatArray]


def _layer_seconds(expert_gemm: ExpertGemm, p: Any, c: Columns, r: Rates) -> FloatArray:
    """Return the seconds of an MoE layer as frameworks measure it: both GEMMs and the kernels that move rows."""
    tokens, hidden, inter = c["num_tokens"], c["hidden_size"], c["inter_size"]
    routed = tokens * c["experts_per_token"]
    touched = r.size.stored * c["groups"] * 3.0 * hidden * inter
    warm = 1.0 / (1.0 + (touched / r.l2_bytes) ** _RESIDENCY_ORDER)
    shared = {"m": routed, "warm": warm, **{name: c[name] for name in LOADS}}
    moved = r.size.output * (3.0 * inter * routed + hidden * (routed + tokens)) + 8.0 * routed
    copy = ElementwiseCopy()
    return (
        expert_gemm(p, {"n": 2.0 * inter, "k": hidden, **shared}, r)
        + expert_gemm(p, {"n": hidden, "k": inter, **shared}, r)
        + _MOVING_KERNELS * copy.launch_s
        + moved / (copy.bandwidth_fraction * r.bytes_per_s)
    )


_COLUMNS = ("num_tokens", "experts_per_token", "hidden_size", "inter_size", *LOADS)

MOE_TILES = KernelModel("experts_layer", MoeTiles(), _COLUMNS, partial(_layer_seconds, tiled_expert_gemm_seconds))
MOE_PADDED = KernelModel(
    "experts_padded", MoePadded(), _COLUMNS, partial(_layer_seconds, padded_expert_gemm_seconds)
)

_EXPERT_GEMMS: dict[str, ExpertGemm] = {
    MOE_TILES.name: tiled_expert_gemm_seconds,
    MOE_PADDED.name: padded_expert_gemm_seconds,
}


def expert_gemm_seconds(model: KernelModel, p: Any, c: Columns, r: Rates) -> FloatArray:
    """Return the seconds of one of the two GEMMs of an MoE layer.

    Parameters
    ----------
    model
        `MOE_TILES` or `MOE_PADDED`.
    p
        Parameters that were fitted to whole layers.
    c
        Columns ``m``, ``n``, ``k`` and those of `scylla_sim.ops.expert_routing.LOADS`.
    """
    return _EXPERT_GEMMS[model.name](p, c, r)


# -- The operation ---------------------------------------------------------------------------------------------


def _models_for(dtype: str, hardware: Hardware, library: str) -> tuple[KernelModel, ...]:
    """Return the models of a library: CUTLASS has one tile, Triton and TensorRT-LLM choose theirs by the rows."""
    fixed = not library or "cutlass" in library
    return (MOE_TILES, MOE_PADDED) if fixed else (MOE_TILES,)


def _roofline_seconds(c: Columns, r: Rates) -> FloatArray:
    weights = 3.0 * c["hidden_size"] * c["inter_size"]
    flops = 2.0 * weights * c["num_tokens"] * c["experts_per_token"]
    return np.maximum(flops / r.flop_per_s, r.size.stored * c["groups"] * weights / r.bytes_per_s)


def _even_loads(c: Columns) -> Mapping[str, FloatArray]:
    """Return the loads of rows that are spread evenly over the experts in use; NaN for rows of other operations."""
    used = np.isfinite(c["groups"])
    routed = c["num_tokens"][used] * c["experts_per_token"][used]
    found = {name: np.full(used.shape, np.nan) for name in LOADS}
    for name, values in even_loads(routed, c["groups"][used]).items():
        found[name][used] = values
    return found


def _routed(c: Columns) -> FloatArray:
    return c["num_tokens"] * c["experts_per_token"]


_GROUPS = ColumnRule(
    column="groups",
    broken=lambda c: np.isfinite(_routed(c)) & (c["groups"] > _routed(c)),
    text=lambda c, at: f"must be at most num_tokens x experts_per_token = {_routed(c)[at]:g}",
)

MOE_CORRELATION_EXPONENT = 0.7
"""Exponent of the correlation between errors at two numbers of query rows.

Notes
-----
Source: training rows of five GPUs (aiconfigurator-core), bf16 and fp8, up to 1,024 tokens. A layer is compared at t
and r t tokens of one router. The correlation of the log errors is the mean of the GPUs, with their range. An
exponent of 0.5 is closest to it, but the intervals of H100 are narrow: the measured ratios of held-out layers
lie in their interval in 83-87 % with 0.5 and in 86-89 % with 0.7 (H200 and B200: 89-96 %).

==  ====================  ==================
r   Measured correlation  With this exponent
==  ====================  ==================
2   0.68 (0.50-0.83)      0.62
4   0.54 (0.45-0.67)      0.38
8   0.49 (0.27-0.77)      0.23
==  ====================  ==================
"""

MOE = Operation(
    name="experts",
    models=(MOE_TILES, MOE_PADDED),
    models_for=_models_for,
    roofline_seconds=_roofline_seconds,
    table=TableColumns(
        required=("num_tokens", "experts_per_token", "hidden_size", "inter_size", "groups"),
        together=LOADS,
        fractional=LOADS,
        may_be_zero=("ragged",),
        derived=_even_loads,
        rules=(_GROUPS,),
    ),
    fit=FitSettings(
        min_rows=16,
        residual_scale=0.04,
        size_columns=("num_tokens", "groups", "hidden_size", "inter_size"),
        # errors of one model's slices are correlated: holding out only some slices would make the intervals for
        # new models too narrow
        cv_groups=("hidden_size", "experts_per_token"),
        min_cv_groups=3,
        slice_columns=("inter_size",),
        leave_one_group_out=True,
    ),
    kinds=(
        OpKind(
            "expert_gemm",
            (Execution("experts", seconds=expert_gemm_seconds, parts=2.0), AS_ONE_GEMM),
            power_limited=True,
            correlation_exponent=MOE_CORRELATION_EXPONENT,
        ),
    ),
)
"""MoE layer: ``num_tokens`` tokens, each routed to ``experts_per_token`` experts; ``groups`` experts are in use."""
