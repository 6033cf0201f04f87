"""Seconds of linear layers whose input is quantized first (8 bits and fewer).

The libraries behind them (CUTLASS in vLLM and SGLang) do not search for a plan: a table names the tile for a range
of rows and columns, and nothing is split along k. One more row is a step in time where the table changes, as high
as the new tile is slower on these weights, and lower where memory hides it. On Hopper a cluster with few rows takes
longer than a full one, so that measured steps at 129 and 257 rows are higher and time falls again after them: times
here grow with every size, and lie in the middle.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from scylla_sim.checks import FloatArray
from scylla_sim.kernels.device_rates import Rates, smooth_max
from scylla_sim.kernels.gemm import QUANTIZER_BYTES, TILES, gemm_moved_bytes
from scylla_sim.ops.op import Columns, gemm_flops


@dataclass(frozen=True)
class Tile:
    """Tile of a library, and the products that it is for: m and n above the one limit and up to the other.

    ``together`` tiles along m start as one cluster: a launch is filled up to whole clusters.
    """

    rows: int
    cols: int
    m_above: int = 0
    m_to: float = np.inf
    n_above: int = 0
    n_to: float = np.inf
    together: int = 1


DISPATCH = {
    "hopper": (
        Tile(16, 64, m_to=16),
        Tile(16, 64, m_above=16, m_to=64, n_to=1280),
        Tile(64, 64, m_above=16, m_to=64, n_above=1280),
        Tile(64, 128, m_above=64, m_to=128, together=2),
        Tile(128, 128, m_above=128, together=2),
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
        Tile(64, 128, m_above=64, m_to=256, together=2),
        Tile(128, 128, m_above=256, together=2),
    ),
}
"""Tiles of 8-bit products by GPU family. Source: vLLM, csrc/quantization, scaled_mm_sm90_fp8_dispatch.cuh,
scaled_mm_c2x_sm89_fp8_dispatch.cuh and scaled_mm_sm100_fp8_dispatch.cuh. Up to 64 rows Hopper and Blackwell swap
the operands: a tile's rows are here those of the input all the same. One that two SMs of Blackwell share is two."""


def _step_seconds(p: Sequence[float], rows: float, cols: int, r: Rates, filled: FloatArray | float) -> FloatArray:
    """Seconds that an SM spends on a tile for each unit of k: its math, or the operands that it reads."""
    compute, intensity = p[1], p[4]
    sm_flop = r.flop_per_s / r.sm_count
    return np.maximum(2.0 * rows * cols / compute, intensity * (filled + cols)) / sm_flop


def _quantized(p: Sequence[float], c: Columns, r: Rates, tile_s: FloatArray) -> FloatArray:
    """Memory, waves of tiles and the sustained rate of the whole device, and the quantizer's traffic on top.

    ``tile_s`` is what the busiest SM spends on a unit of k. Filling a tile's pipeline and writing its output takes
    as long as ``fill_depth`` units. Few tiles run at the full clock; a device that computes on all its SMs is held
    back by its power limit, and the sustained rate says how far (L40S: 0.6 of the peak). The three add where they
    come near each other, so a sustained fraction above 1 only says that waves of tiles explain large products.
    """
    bandwidth, _, launch_s, overlap, _, _, fill_depth, l2_ratio, copies, quantizer, sustained = p
    k = c["k"]
    # below 1 the ratio would be no cache, but whatever else sets small weights apart
    memory = gemm_moved_bytes(c, r, copies, max(l2_ratio, 1.0)) / (bandwidth * r.bytes_per_s)
    math = gemm_flops(c) / (sustained * r.flop_per_s)
    quantize = QUANTIZER_BYTES * c["m"] * k / (quantizer * r.bytes_per_s)
    return launch_s + smooth_max(overlap, memory, tile_s * (k + fill_depth), math) + quantize


def gemm_quantized_seconds(p: Sequence[float], c: Columns, r: Rates) -> FloatArray:
    """Linear layer of a library whose tiles are not known: the best of four, which read only the rows there are.

    Each unit of k has a latency besides, in every wave.
    """
    m, n, stage_s = c["m"], c["n"], p[5]
    busy: FloatArray = np.full(np.shape(m), np.inf)
    for rows, cols in TILES:
        waves = np.ceil(np.ceil(m / rows) * np.ceil(n / cols) / r.sm_count)
        busy = np.minimum(busy, waves * (_step_seconds(p, rows, cols, r, np.minimum(rows, m)) + stage_s / 64.0))
    return _quantized(p, c, r, busy)


def gemm_dispatched_seconds(p: Sequence[float], c: Columns, r: Rates) -> FloatArray:
    """Linear layer with the tile that the table of the device's family names, read in full.

    Each unit of k has a latency besides, in the first wave, before memory streams at its full rate: B200 reads 2.5
    TB/s with 16 tiles, 5 with 64 and 6.6 with 512. Later tiles are fetched while earlier ones compute.

    A table may name a tile that is faster on a larger product. As a product is never faster than a part of it here,
    the slowest counts of what the table names for products up to this size.
    """
    if r.family not in DISPATCH:
        return gemm_quantized_seconds(p, c, r)
    m, n, stage_s = c["m"], c["n"], p[5]
    busy: FloatArray = np.zeros(np.shape(m))
    for tile in DISPATCH[r.family]:
        clusters = np.ceil(np.minimum(m, tile.m_to) / (tile.rows * tile.together))
        tiles = tile.together * clusters * np.ceil(np.minimum(n, tile.n_to) / tile.cols)
        here = np.ceil(tiles / r.sm_count) * _step_seconds(p, tile.rows, tile.cols, r, tile.rows)
        busy = np.maximum(busy, np.where((m > tile.m_above) & (n > tile.n_above), here, 0.0))
    return _quantized(p, c, r, busy) + stage_s / 64.0 * c["k"]
