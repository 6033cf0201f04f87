"""Seconds of a GEMM whose input is quantized first (8 bits and fewer).

The libraries behind such GEMMs (CUTLASS in vLLM and SGLang) do not search for a plan. A table names the tile for a
range of rows and columns, and no plan splits k. The time jumps at the row count where the table changes. The jump
is large if the new tile is slower on these weights, and small if memory traffic hides it.

Notes
-----
On Hopper a cluster with few rows takes longer than a full one. Measured jumps at 129 and 257 rows are therefore
larger, and the time falls again after them. The models of this module grow with every size and lie between these
measurements.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scylla_sim.checks import FloatArray
from scylla_sim.kernels.device_rates import Rates, smooth_max
from scylla_sim.kernels.gemm_parts import QUANTIZER_BYTES, TILES, gemm_moved_bytes, throttled_math_seconds
from scylla_sim.kernels.model import KernelModel, parameter
from scylla_sim.ops.op import Columns


@dataclass(frozen=True)
class Tile:
    """One tile of a library, and the range of GEMMs that use it.

    Attributes
    ----------
    rows, cols
        Size of the tile.
    m_above, m_to, n_above, n_to
        Range of m and n: above the first limit, up to and including the second.
    cluster_tiles
        Tiles along m that start as one cluster. A launch is filled up to whole clusters.
    """

    rows: int
    cols: int
    m_above: int = 0
    m_to: float = np.inf
    n_above: int = 0
    n_to: float = np.inf
    cluster_tiles: int = 1


DISPATCH = {
    "hopper": (
        Tile(16, 64, m_to=16),
        Tile(16, 64, m_above=16, m_to=64, n_to=1280),
        Tile(64, 64, m_above=16, m_to=64, n_above=1280),
        Tile(64, 128, m_above=64, m_to=128, cluster_tiles=2),
        Tile(128, 128, m_above=128, cluster_tiles=2),
    ),
    "ada": (
        Tile(16, 64, m_to=16, n_to=8192),
        Tile(16, 128, m_to=16, n_above=8192, n_to=16384),
        Tile(32, 64, m_to=16, n_above=16384),
        Tile(32, 64, m_above=16, m_to=32, n_to=8192),
        Tile(32, 128, m_above=16, m_to=32, n_above=8192, n_to=16384),
        Tile(32, 64, m_above=16, m_to=32, n_above=16384),
        Tile(64, 64, m_above=32, m_to=64, n_to=8192),
        Tile(64, 128, m_above=32, m_to=64, n_above=8192, n_to=16384),
        Tile(64, 64, m_above=32, m_to=64, n_above=16384),
        Tile(64, 128, m_above=64, m_to=128, n_to=8192),
        Tile(128, 128, m_above=64, m_to=128, n_above=8192, n_to=16384),
        Tile(128, 64, m_above=64, m_to=128, n_above=16384),
        Tile(64, 128, m_above=128, m_to=256, n_to=4096),
        Tile(128, 128, m_above=128, m_to=256, n_above=4096),
        Tile(128, 128, m_above=256, n_to=4096),
        Tile(256, 128, m_above=256, n_above=4096, n_to=8192),
        Tile(128, 128, m_above=256, n_above=8192),
    ),
    "blackwell": (
        Tile(32, 128, m_to=16),
        Tile(64, 128, m_above=16, m_to=64),
        Tile(64, 128, m_above=64, m_to=256, cluster_tiles=2),
        Tile(128, 128, m_above=256, cluster_tiles=2),
    ),
}
"""Tiles of 8-bit GEMMs by GPU family.

Up to 64 rows Hopper and Blackwell swap the operands; the rows of a tile are nevertheless those of the input here. A
tile that two SMs of Blackwell share counts as two tiles.

Source: vLLM, csrc/quantization, scaled_mm_sm90_fp8_dispatch.cuh, scaled_mm_c2x_sm89_fp8_dispatch.cuh and
scaled_mm_sm100_fp8_dispatch.cuh.
"""


_INPUT_BYTES, _INPUT_ORDER = 2.0, 4.0
"""Bytes of an input value before quantization, and sharpness of the step between inputs within and beyond L2."""
_ROW_NORM = 4.0
"""Norm that combines the bytes and the rows of the quantizer."""


@dataclass(frozen=True)
class QuantizedGemm:
    """Parameters of quantized GEMMs; the defaults are the priors of `gemm_dispatched_seconds`."""

    bandwidth_fraction: float = parameter(0.86, 0.15, "Achieved fraction of the memory bandwidth.")
    compute_fraction: float = parameter(1.5, 0.25, "Speed of one tile relative to its SM's share of the peak.")
    launch_s: float = parameter(4.9e-6, 0.5, "Launch latency of GEMM and quantizer.")
    overlap_norm: float = parameter(
        2.0, 0.4, "Norm that combines tiles, memory and sustained rate; large: maximum."
    )
    intensity: float = parameter(49.0, 0.5, "FLOPs that an SM could do while it reads one operand element.")
    stage_s: float = parameter(25e-9, 0.7, "Latency of one pipeline stage of 64 units of k.")
    fill_depth: float = parameter(1100.0, 0.7, "Units of k that take as long as filling and draining a tile.")
    l2_ratio: float = parameter(4.8, 0.4, "Speed of L2 over memory for weights that stay in L2.")
    weight_copies: float = parameter(
        11.0, 0.3, "Number of copies of the weights that the benchmark cycles through."
    )
    quantiser_ratio: float = parameter(0.35, 0.8, "Achieved fraction of the memory bandwidth in the quantizer.")
    sustained_fraction: float = parameter(0.91, 0.3, "Fraction of the peak that all SMs together sustain.")
    row_s: float = parameter(3e-9, 1.5, "Minimum seconds per row in the quantizer.")
    cold_ratio: float = parameter(0.4, 1.0, "Relative slowdown of the quantizer for inputs larger than L2.")
    throttle: float = parameter(0.1, 1.0, "Relative slowdown of the sustained rate in long GEMMs.")


def _tile_step_seconds(
    p: QuantizedGemm, rows: float, cols: int, r: Rates, filled: FloatArray | float
) -> FloatArray:
    """Return the seconds that an SM spends on a tile per unit of k: arithmetic, or reading operands."""
    sm_flop = r.flop_per_s / r.sm_count
    return np.maximum(2.0 * rows * cols / p.compute_fraction, p.intensity * (filled + cols)) / sm_flop


def _quantize_s(p: QuantizedGemm, c: Columns, r: Rates) -> FloatArray:
    """Return the seconds of quantizing the input.

    A kernel with one CTA per row takes ``row_s`` for each of many short rows (vLLM on Hopper: 6-7 ns). Inputs
    larger than L2 (2 bytes a value) are read from memory.
    """
    filled = (_INPUT_BYTES * c["m"] * c["k"] / r.l2_bytes) ** _INPUT_ORDER
    moved = QUANTIZER_BYTES * c["m"] * c["k"] / (p.quantiser_ratio * r.bytes_per_s)
    return smooth_max(_ROW_NORM, moved * (1.0 + p.cold_ratio * filled / (1.0 + filled)), p.row_s * c["m"])


def _with_tile_seconds(p: QuantizedGemm, c: Columns, r: Rates, tile_s: FloatArray) -> FloatArray:
    """Return launch, quantizer, and the smooth maximum of memory, tiles and sustained rate.

    Parameters
    ----------
    tile_s
        Seconds that the busiest SM spends per unit of k.

    Notes
    -----
    The sustained rate is that of `throttled_math_seconds` (L40S: 0.6 of the peak). A fitted fraction above 1 means
    that waves of tiles already explain large GEMMs.
    """
    k = c["k"]
    # a fitted ratio below 1 is not a cache effect but another property of small weights
    moved = gemm_moved_bytes(c, r, p.weight_copies, np.maximum(p.l2_ratio, 1.0))
    memory = moved / (p.bandwidth_fraction * r.bytes_per_s)
    math = throttled_math_seconds(c, r, sustained_fraction=p.sustained_fraction, throttle=p.throttle)
    multiply = smooth_max(p.overlap_norm, memory, tile_s * (k + p.fill_depth), math)
    return p.launch_s + multiply + _quantize_s(p, c, r)


def gemm_quantized_seconds(p: QuantizedGemm, c: Columns, r: Rates) -> FloatArray:
    """Return the seconds of a quantized GEMM whose tile table is not known: the best of four tiles.

    Each tile reads only the rows that exist. Each unit of k adds a latency in every wave.
    """
    m, n = c["m"], c["n"]
    busy: FloatArray = np.full(np.shape(m), np.inf)
    for rows, cols in TILES:
        waves = np.ceil(np.ceil(m / rows) * np.ceil(n / cols) / r.sm_count)
        step = _tile_step_seconds(p, rows, cols, r, np.minimum(rows, m))
        busy = np.minimum(busy, waves * (step + p.stage_s / 64.0))
    return _with_tile_seconds(p, c, r, busy)


def gemm_dispatched_seconds(p: QuantizedGemm, c: Columns, r: Rates) -> FloatArray:
    """Return the seconds of a quantized GEMM with the tile that the table of the GPU family names.

    A family without a table uses `gemm_quantized_seconds`.

    Notes
    -----
    - Each unit of k adds a latency in the first wave only, because later tiles are fetched while earlier ones
      compute. B200 reads 2.5 TB/s with 16 tiles, 5 TB/s with 64 and 6.6 TB/s with 512.
    - A table may name a faster tile for a larger GEMM. In this model, a GEMM is never faster than a smaller one. It
      uses the slowest tile that the table names for GEMMs up to its size.
    """
    if r.family not in DISPATCH:
        return gemm_quantized_seconds(p, c, r)
    m, n = c["m"], c["n"]
    busy: FloatArray = np.zeros(np.shape(m))
    for tile in DISPATCH[r.family]:
        clusters = np.ceil(np.minimum(m, tile.m_to) / (tile.rows * tile.cluster_tiles))
        tiles = tile.cluster_tiles * clusters * np.ceil(np.minimum(n, tile.n_to) / tile.cols)
        here = np.ceil(tiles / r.sm_count) * _tile_step_seconds(p, tile.rows, tile.cols, r, tile.rows)
        busy = np.maximum(busy, np.where((m > tile.m_above) & (n > tile.n_above), here, 0.0))
    return _with_tile_seconds(p, c, r, busy) + p.stage_s / 64.0 * c["k"]


GEMM_QUANTIZED = KernelModel(
    "gemm_quantised",
    QuantizedGemm(
        bandwidth_fraction=0.9,
        compute_fraction=1.1,
        launch_s=5.8e-6,
        overlap_norm=1.9,
        intensity=63.0,
        stage_s=33e-9,
        fill_depth=300.0,
        l2_ratio=1.5,
        weight_copies=6.0,
        quantiser_ratio=1.1,
        sustained_fraction=1.3,
    ),
    ("m", "n", "k"),
    gemm_quantized_seconds,
    # benchmarks cycle through several copies of the weights, or almost none (nvfp4 in vLLM's tables)
    starts=({"weight_copies": 6.0}, {"weight_copies": 1.5}),
)
GEMM_DISPATCHED = KernelModel("gemm_dispatched", QuantizedGemm(), ("m", "n", "k"), gemm_dispatched_seconds)
