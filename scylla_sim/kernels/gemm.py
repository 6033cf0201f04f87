"""Seconds of a GEMM: library GEMMs in 16 and 32 bits, GEMMs on a CPU, and the choice of a model.

Models of GEMMs whose input is quantized first are in `scylla_sim.kernels.quantized_gemm`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scylla_sim.checks import FloatArray
from scylla_sim.kernels.device_rates import Rates, smooth_max
from scylla_sim.kernels.gemm_parts import TILES, gemm_moved_bytes, throttled_math_seconds, tile_waves
from scylla_sim.kernels.model import KernelModel, parameter
from scylla_sim.kernels.operation import Execution, FitSettings, Operation, OpKind, TableColumns
from scylla_sim.kernels.quantized_gemm import DISPATCH, GEMM_DISPATCHED, GEMM_QUANTIZED
from scylla_sim.ops.op import Columns, gemm_bytes, gemm_flops
from scylla_sim.specs.dtypes import DTYPES
from scylla_sim.specs.hardware import Hardware

_SPLITS = (1, 2, 8)
"""Split-K factors that a plan may use."""
_CROWD_ROWS = 16.0
"""Rows at which half of ``crowding`` applies. Fits that leave it free give 16 (H100) and 18 (H200)."""


# -- Library GEMM ----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class GemmTiles:
    """Parameters of `gemm_tiles_seconds`."""

    bandwidth_fraction: float = parameter(0.89, 0.15, "Achieved fraction of the memory bandwidth.")
    compute_fraction: float = parameter(1.9, 0.25, "Speed of one tile relative to its SM's share of the peak.")
    launch_s: float = parameter(1.8e-6, 0.5, "Launch latency.")
    overlap_norm: float = parameter(
        4.2, 0.4, "Norm that combines the streams of a plan with its sustained rate; large: maximum."
    )
    intensity: float = parameter(78.0, 0.5, "FLOPs that an SM could do while it reads one operand element.")
    split_s: float = parameter(2.8e-6, 0.5, "Fixed seconds of a split-K plan.")
    stage_s: float = parameter(53e-9, 0.7, "Latency of one pipeline stage of 64 units of k.")
    wave_weight: float = parameter(0.11, 1.0, "Weight of a partial wave; see `tile_waves`.")
    l2_ratio: float = parameter(0.89, 0.4, "Speed of L2 over memory for weights that stay in L2.")
    weight_copies: float = parameter(
        4.8, 0.15, "Number of copies of the weights that the benchmark cycles through."
    )
    fill_depth: float = parameter(350.0, 0.7, "Units of k that take as long as filling and draining a tile.")
    sustained_fraction: float = parameter(0.8, 0.3, "Fraction of the peak that all SMs together sustain.")
    crowding: float = parameter(0.047, 1.0, "Relative slowdown of weight reads with many rows.")
    throttle: float = parameter(0.032, 1.0, "Relative slowdown of the sustained rate in long GEMMs.")
    stream_norm: float = parameter(1.9, 0.4, "Norm that combines tiles and memory; large: maximum.")


def gemm_tiles_seconds(p: GemmTiles, c: Columns, r: Rates) -> FloatArray:
    """Return the seconds of a library GEMM (cuBLAS): the fastest of four tiles and three split-K factors.

    Notes
    -----
    - The time of a plan is a smooth maximum of its streams and its FLOPs at the sustained rate. The streams are a
      smooth maximum of their own, of tiles and memory traffic. Few rows wait for streams, and many rows for FLOPs.
    - Except for its tiles, the cost of a plan depends on the split only. The best tile of a split is therefore the
      least busy one, and one p-norm per split is exact.
    - Filling a tile's pipeline and writing its output takes as long as ``fill_depth`` units of k.
    - The sustained rate is that of `throttled_math_seconds`.
    - Weights stream fastest for a single row, and up to ``crowding`` more slowly for many rows.
    - Every plan takes longer for a larger m, n or k, and so does the fastest plan.
    """
    m, n, k = c["m"], c["n"], c["k"]
    crowd = 1.0 + p.crowding * m / (m + _CROWD_ROWS)
    memory = crowd * gemm_moved_bytes(c, r, p.weight_copies, p.l2_ratio) / (p.bandwidth_fraction * r.bytes_per_s)
    math = throttled_math_seconds(c, r, sustained_fraction=p.sustained_fraction, throttle=p.throttle)
    sm_flop = r.flop_per_s / r.sm_count
    steps = [
        np.maximum(
            2.0 * rows * cols / (p.compute_fraction * sm_flop) + p.stage_s / 64.0,
            p.intensity * (np.minimum(rows, m) + cols) / sm_flop,
        )
        for rows, cols in TILES
    ]
    counts = [np.ceil(m / rows) * np.ceil(n / cols) / r.sm_count for rows, cols in TILES]
    best = np.full(np.shape(memory), np.inf)
    for split in _SPLITS:
        least: FloatArray = np.full(np.shape(memory), np.inf)
        for count, step in zip(counts, steps):
            tiles_per_sm = count * split
            least = np.minimum(least, tile_waves(p.wave_weight, tiles_per_sm) * step)
        streams = smooth_max(p.stream_norm, least * (k / split + p.fill_depth), memory)
        plan = smooth_max(p.overlap_norm, streams, math)
        if split > 1:  # partial sums in float32 are written and read again
            plan += p.split_s + 4.0 * split * m * n * p.intensity / (r.size.activation * r.flop_per_s)
        best = np.minimum(best, plan)
    return p.launch_s + best


# -- GEMM on a CPU ---------------------------------------------------------------------------------------------

CPU_ROWS = 4.0
"""Rows that a CPU library multiplies at a time.

Source: gpu-validate on an AVX-512 core, torch 2.13 with oneMKL, weights (6144, 768). Five and six rows take as long
as eight within 5 %; nine and ten take as long as twelve. `gpu_validate` fills two and three rows up to four.
"""


@dataclass(frozen=True)
class GemmRoofline:
    """Parameters of `gemm_achieved_roofline_seconds`."""

    bandwidth_fraction: float = parameter(0.8, 0.5, "Achieved fraction of the memory bandwidth.")
    compute_fraction: float = parameter(0.8, 0.5, "Achieved fraction of the peak with many rows.")
    launch_s: float = parameter(5e-6, 1.5, "Launch latency.")
    overlap_norm: float = parameter(3.0, 0.5, "Norm that combines memory and arithmetic; large: maximum.")
    half_rows: float = parameter(2.0, 1.5, "Rows that reach half of the achieved compute rate.")


def gemm_achieved_roofline_seconds(p: GemmRoofline, c: Columns, r: Rates) -> FloatArray:
    """Return the seconds of a GEMM on a CPU, which has no tiles or SMs: a roofline with achieved fractions.

    Few rows reach the fraction ``m / (m + half_rows)`` of the compute rate, with ``m`` rounded up to `CPU_ROWS`.
    One row is a matrix-vector product. Libraries have a kernel for it that waits for memory only.
    """
    filled = {**c, "m": CPU_ROWS * np.ceil(c["m"] / CPU_ROWS)}
    rate = p.compute_fraction * r.flop_per_s * filled["m"] / (filled["m"] + p.half_rows)
    arithmetic = np.where(c["m"] < 2.0, 0.0, gemm_flops(filled) / rate)
    memory = gemm_bytes(c, r.size) / (p.bandwidth_fraction * r.bytes_per_s)
    return p.launch_s + smooth_max(p.overlap_norm, arithmetic, memory)


# -- The operation ---------------------------------------------------------------------------------------------

_COLUMNS = ("m", "n", "k")

GEMM_TILES = KernelModel("gemm_tiles", GemmTiles(), _COLUMNS, gemm_tiles_seconds)
GEMM_ROOFLINE = KernelModel("gemm_roofline", GemmRoofline(), _COLUMNS, gemm_achieved_roofline_seconds)


def _models_for(dtype: str, hardware: Hardware, library: str) -> tuple[KernelModel, ...]:
    """Return the GEMM models of a device; libraries differ in how they choose tiles for 8-bit GEMMs."""
    if hardware.sm_count == 0:
        return (GEMM_ROOFLINE,)
    if not DTYPES[dtype].quantizes_input:
        return (GEMM_TILES,)
    if hardware.family not in DISPATCH:
        return (GEMM_QUANTIZED,)
    return (GEMM_DISPATCHED, GEMM_QUANTIZED) if dtype == "fp8" else (GEMM_QUANTIZED, GEMM_DISPATCHED)


def gemm_roofline_seconds(c: Columns, r: Rates) -> FloatArray:
    """Return the datasheet roofline of a GEMM: the larger of FLOPs / peak and bytes / bandwidth."""
    return np.maximum(gemm_flops(c) / r.flop_per_s, gemm_bytes(c, r.size) / r.bytes_per_s)


def _as_one_gemm(c: Columns) -> Columns:
    """Return a grouped GEMM as one GEMM: the mean rows of a group against the weights of all groups.

    A grouped GEMM multiplies ``m`` rows by ``groups`` weights of n x k. It becomes ``m / groups`` rows against
    ``groups n`` columns. Weight bytes, FLOPs, output and tiles are the same, in one launch.
    """
    return {"m": c["m"] / c["groups"], "n": c["groups"] * c["n"], "k": c["k"]}


def _other_groups_input_seconds(c: Columns, r: Rates) -> FloatArray:
    """Return the seconds of reading the input rows that `_as_one_gemm` does not count."""
    seconds: FloatArray = r.size.activation * (c["m"] - _as_one_gemm(c)["m"]) * c["k"] / r.bytes_per_s
    return seconds


AS_ONE_GEMM = Execution("gemm", _as_one_gemm, extra_seconds=_other_groups_input_seconds, fallback=True)
"""Estimate of a grouped GEMM from the fitted GEMM kernels, where no grouped kernel was fitted.

Source: measured MoE layers of aiconfigurator-core, up to 512 tokens and 8 slices, models held out.

=====================  ============  ============================
Rows                   Median error  Rows in the widened interval
=====================  ============  ============================
bf16, even loads       3-12 %        96-100 %
bf16, uneven loads     6-13 %        96-100 %
8 bits, B200 and L40S  10-11 %       not stated
=====================  ============  ============================

On Hopper, rows in 8 bits take 2.5-3.4 times as long as rows in bf16 and lie outside the interval.

Notes
-----
The two GEMMs around MLA (bf16, up to 512 tokens) differ from measured rows by 13-32 % on Hopper, A100 and B200, and
are mostly too fast. These measurements include launch overhead and keep weights in L2, unlike serving, so they are
not fitted. Each row is one GEMM in a CUDA graph. It takes 1-2.5 us longer than the same GEMM in the GEMM tables,
which repeat it five times in a graph. Without that difference the error is 9-16 % of about 3 us on Hopper and B200.
"""

GEMM_CORRELATION_EXPONENT = 1.0
"""Exponent of the correlation between errors at two numbers of query rows.

Notes
-----
Source: chosen on the training rows of five GPUs (aiconfigurator-core). A GEMM is compared at m and r m rows of one
weight, up to 512 rows. The measured correlation is 0.3-0.7 at r = 2 and 0.1-0.6 at r = 4. It is highest while
reading weights dominates, and lowest once tiles are full. About nine of ten measured ratios lie in their interval.
"""

GEMM = Operation(
    name="gemm",
    models=(GEMM_TILES, GEMM_QUANTIZED, GEMM_DISPATCHED, GEMM_ROOFLINE),
    models_for=_models_for,
    roofline_seconds=gemm_roofline_seconds,
    table=TableColumns(required=_COLUMNS, optional={"calls_per_graph": 0.0}),
    # GEMMs of 1 to 17 rows with one weight take the same time, yet some rows of aiconfigurator-core's tables are
    # slower, at random over shapes and on different shapes for vLLM and SGLang: on H100 a fifth of the rows by
    # 12-18 %, on H200 and L40S by 8-14 %, on A100 by 6-12 %, on Blackwell hardly any. Cross-validated over training
    # shapes, symmetric residuals raise the median error of bf16 GEMMs by 0.2 points (H100: 0.5). For attention they
    # lower it (4.0 instead of 4.8 %, mean of the dense groups); for MoE and all-reduce they make no difference.
    # Beyond 512 rows a row more than a full tile takes up to 40 % longer, which is no disturbance. Symmetric
    # residuals there halve the bias of fp8 on Hopper (from -7 to -4 %, cross-validated).
    fit=FitSettings(
        min_rows=16, residual_scale=0.03, size_columns=_COLUMNS, cv_groups=("n", "k"), outlier_rows=512
    ),
    kinds=(
        OpKind("gemm", (Execution("gemm"),), power_limited=True, correlation_exponent=GEMM_CORRELATION_EXPONENT),
        OpKind("grouped_gemm", (AS_ONE_GEMM,), power_limited=True),
    ),
)
"""GEMM: ``m`` rows times a weight of ``n`` x ``k``."""
