"""Seconds of matrix products: library GEMMs, quantised linear layers, layers of experts."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scylla_sim.checks import FloatArray
from scylla_sim.costs import Columns, gemm_bytes, gemm_flops, grouped_gemm_bytes
from scylla_sim.rates import Rates, smooth_max

COPY_PRIOR = (0.8, 1.5e-6)
"""Achieved bandwidth and launch of a kernel that only moves data, where none was measured: an assumption."""

_TILES = ((64, 64), (64, 128), (128, 256))
_SPLITS = (1, 2, 8)
_RESIDENCY_ORDER = 6.0


def _tiled_gemm(
    p: Sequence[float], c: Columns, r: Rates, tiles: Sequence[tuple[int, int]], splits: Sequence[int]
) -> FloatArray:
    """Least over tiles and split-K plans: waves of tiles against memory, plus launch and split cost.

    What a plan costs beyond its tiles depends on the split alone, so the best tile of a split is the least busy
    one, and one p-norm a split is exact. Every plan grows with every size, and so does the least of them.
    """
    bandwidth, compute, launch_s, overlap, intensity, split_s, stage_s, wave, l2_ratio, copies = p[:10]
    m, n, k = c["m"], c["n"], c["k"]
    weights = r.size.stored * n * k
    # A benchmark that rotates few weight copies finds small ones in L2; serving does not (copies = inf).
    warm = 1.0 / (1.0 + (copies * weights / r.l2_bytes) ** _RESIDENCY_ORDER)
    moved = weights * (1.0 - warm + warm / l2_ratio) + (gemm_bytes(c, r.size) - weights)
    memory = moved / (bandwidth * r.bytes_per_s)
    sm_flop = r.flop_per_s / r.sm_count
    steps = [
        np.maximum(
            2.0 * rows * cols / (compute * sm_flop) + stage_s / 64.0,
            intensity * (np.minimum(rows, m) + cols) / sm_flop,
        )
        for rows, cols in tiles
    ]
    counts = [np.ceil(m / rows) * np.ceil(n / cols) / r.sm_count for rows, cols in tiles]
    best = np.full(np.shape(memory), np.inf)
    for split in splits:
        least = None
        for count, step in zip(counts, steps):
            tiles_a_sm = count * split
            waves = wave * np.ceil(tiles_a_sm) + (1.0 - wave) * np.maximum(tiles_a_sm, 1.0)
            busy = waves * step
            least = busy if least is None else np.minimum(least, busy)
        plan = smooth_max(overlap, least * np.maximum(k / split, 64.0), memory)
        if split > 1:  # partial sums in float32, written and read again
            plan += split_s + 4.0 * split * m * n * intensity / (r.size.activation * r.flop_per_s)
        best = np.minimum(best, plan)
    return launch_s + best


def gemm_tiles_seconds(p: Sequence[float], c: Columns, r: Rates) -> FloatArray:
    """Library GEMM (cuBLAS): three tile shapes, split-K by 1, 2 or 8."""
    return _tiled_gemm(p, c, r, _TILES, _SPLITS)


def gemm_quantised_seconds(p: Sequence[float], c: Columns, r: Rates) -> FloatArray:
    """8-bit linear layer with dynamic quantisation of its input: no split-K, the quantiser's traffic on top."""
    quantiser = 5.0 * c["m"] * c["k"] / (p[10] * r.bytes_per_s)
    return _tiled_gemm(p, c, r, (*_TILES, (128, 128)), (1,)) + quantiser


_DISPATCH = ((64.0, (64, 64)), (128.0, (64, 128)), (np.inf, (128, 128)))
"""Rows up to which a library picks a tile by the number of rows alone (CUTLASS in vLLM on Hopper)."""


def gemm_dispatched_seconds(p: Sequence[float], c: Columns, r: Rates) -> FloatArray:
    """As `gemm_quantised_seconds`, with the tile given by the rows: latency jumps at 65 and 129 rows."""
    m, n, k = np.broadcast_arrays(c["m"], c["n"], c["k"])
    out = np.empty(m.shape)
    below = 0.0
    for limit, tile in _DISPATCH:
        here = (m > below) & (m <= limit)
        below = limit
        if here.any():
            out[here] = _tiled_gemm(p, {"m": m[here], "n": n[here], "k": k[here]}, r, (tile,), (1,))
    quantiser: FloatArray = 5.0 * m * k / (p[10] * r.bytes_per_s)
    return out + quantiser


CPU_ROWS = 4.0
"""Rows that a CPU library multiplies at a time. Source: gpu-validate on an AVX-512 core, torch 2.13 with oneMKL: of
the weights (6144, 768) five and six rows take as long as eight within 5 %, nine and ten as long as twelve; two and
three are filled up to four by `gpu_validate.blocks.linear`."""


def gemm_roofline_seconds(p: Sequence[float], c: Columns, r: Rates) -> FloatArray:
    """Achieved fractions, latency and overlap: the form for a CPU, where tiles and SMs mean nothing.

    Few rows reach only a part of the compute peak: ``m / (m + half_rows)`` of it, ``m`` in steps of `CPU_ROWS`. One
    row is a product of a matrix and a vector, for which libraries have a kernel that waits for memory alone: half
    the time of two rows.
    """
    bandwidth, compute, launch_s, overlap, half_rows = p
    filled = {**c, "m": CPU_ROWS * np.ceil(c["m"] / CPU_ROWS)}
    rate = compute * r.flop_per_s * filled["m"] / (filled["m"] + half_rows)
    arithmetic = np.where(c["m"] < 2.0, 0.0, gemm_flops(filled) / rate)
    return launch_s + smooth_max(overlap, arithmetic, gemm_bytes(c, r.size) / (bandwidth * r.bytes_per_s))


_EXPERT_TILES = ((16, 64), *_TILES)
_MOVING_KERNELS = 3.0
"""Sorting, activation and weighted sum between and around the two products of a layer of experts."""


def expert_product(p: Sequence[float], c: Columns, r: Rates) -> FloatArray:
    """One grouped product: ``m`` rows in all, spread evenly over ``groups`` weights of ``n`` x ``k``.

    Each group has tiles of its own, so few rows a group fill theirs badly. 8-bit products quantise their input.
    """
    bandwidth, compute, launch_s, overlap, intensity, stage_s, wave, quantiser = p
    m, n, k, groups = c["m"], c["n"], c["k"], c["groups"]
    memory = grouped_gemm_bytes(c, r.size) / (bandwidth * r.bytes_per_s)
    sm_flop, rows = r.flop_per_s / r.sm_count, m / groups
    busy = np.full(np.shape(memory), np.inf)
    for tile_rows, cols in _EXPERT_TILES:
        tiles_a_sm = groups * np.ceil(rows / tile_rows) * np.ceil(n / cols) / r.sm_count
        waves = wave * np.ceil(tiles_a_sm) + (1.0 - wave) * np.maximum(tiles_a_sm, 1.0)
        step = np.maximum(
            2.0 * tile_rows * cols / (compute * sm_flop) + stage_s / 64.0,
            intensity * (np.minimum(tile_rows, rows) + cols) / sm_flop,
        )
        busy = np.minimum(busy, waves * k * step)
    quantised = r.size.activation < r.size.output
    input_s = 5.0 * m * k / (quantiser * r.bytes_per_s) if quantised else 0.0
    return launch_s + smooth_max(overlap, busy, memory) + input_s


def experts_layer_seconds(p: Sequence[float], c: Columns, r: Rates) -> FloatArray:
    """Both products of a layer of experts and the kernels that move rows, as frameworks measure them: in one."""
    tokens, hidden, inter = c["num_tokens"], c["hidden_size"], c["inter_size"]
    routed = tokens * c["experts_per_token"]
    moved = r.size.output * (3.0 * inter * routed + hidden * (routed + tokens)) + 8.0 * routed
    fraction, launch_s = COPY_PRIOR
    return (
        expert_product(p, {"m": routed, "n": 2.0 * inter, "k": hidden, "groups": c["groups"]}, r)
        + expert_product(p, {"m": routed, "n": hidden, "k": inter, "groups": c["groups"]}, r)
        + _MOVING_KERNELS * launch_s
        + moved / (fraction * r.bytes_per_s)
    )
