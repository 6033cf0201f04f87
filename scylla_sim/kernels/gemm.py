"""Seconds of matrix products: library GEMMs, layers of experts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from scylla_sim.checks import FloatArray
from scylla_sim.kernels.device_rates import Rates, smooth_max
from scylla_sim.ops.expert_routing import LOADS
from scylla_sim.ops.op import Columns, gemm_bytes, gemm_flops, grouped_gemm_bytes

COPY_PRIOR = (0.8, 1.5e-6)
"""Achieved bandwidth and launch of a kernel that only moves data, where none was measured: an assumption."""

TILES = ((64, 64), (64, 128), (128, 128), (128, 256))
"""Rows and columns of the tiles that a library may choose among, where its table is not known."""
_SPLITS = (1, 2, 8)
_CROWD_ROWS = 16.0
"""Rows with which half of ``crowding`` is there. Left free, fits to H100's and H200's rows give 16 and 18."""
_RESIDENCY_ORDER = 6.0


def gemm_moved_bytes(c: Columns, r: Rates, copies: float, l2_ratio: float) -> FloatArray:
    """Bytes of a GEMM, those of weights that stay in L2 divided by how much faster it is.

    A benchmark that rotates few copies of small weights finds them there; serving does not (``l2_ratio`` 1).
    """
    weights = r.size.stored * c["n"] * c["k"]
    warm = 1.0 / (1.0 + (copies * weights / r.l2_bytes) ** _RESIDENCY_ORDER)
    moved: FloatArray = gemm_bytes(c, r.size) - weights * warm * (1.0 - 1.0 / l2_ratio)
    return moved


def _waves(weight: float, tiles_a_sm: FloatArray) -> FloatArray:
    """Waves that tiles take: a started one counts whole by ``weight``, at most 1, else by its tiles, at least one.

    A weight above 1 would make a fuller wave cheaper.
    """
    whole = min(weight, 1.0)
    waves: FloatArray = whole * np.ceil(tiles_a_sm) + (1.0 - whole) * np.maximum(tiles_a_sm, 1.0)
    return waves


def gemm_tiles_seconds(p: Sequence[float], c: Columns, r: Rates) -> FloatArray:
    """Library GEMM (cuBLAS), the least over four tiles and split-K by 1, 2 or 8: tiles, memory, sustained rate.

    What a plan costs beyond its tiles depends on the split alone, so the best tile of a split is the least busy
    one, and one p-norm a split is exact. Filling a tile's pipeline and writing its output takes as long as
    ``fill_depth`` units of k. Few tiles run at the full clock; a device that computes on all its SMs is held back
    by its power limit, to ``sustained_fraction`` of its peak. Weights stream fastest past a single row, past
    many slower by up to ``crowding``. Every plan grows with every size, and so does the least of them.
    """
    bandwidth, compute, launch_s, overlap, intensity, split_s, stage_s, wave, l2_ratio, copies = p[:10]
    fill, sustained, crowding = p[10:]
    m, n, k = c["m"], c["n"], c["k"]
    crowd = 1.0 + crowding * m / (m + _CROWD_ROWS)
    memory = crowd * gemm_moved_bytes(c, r, copies, l2_ratio) / (bandwidth * r.bytes_per_s)
    math = gemm_flops(c) / (sustained * r.flop_per_s)
    sm_flop = r.flop_per_s / r.sm_count
    steps = [
        np.maximum(
            2.0 * rows * cols / (compute * sm_flop) + stage_s / 64.0,
            intensity * (np.minimum(rows, m) + cols) / sm_flop,
        )
        for rows, cols in TILES
    ]
    counts = [np.ceil(m / rows) * np.ceil(n / cols) / r.sm_count for rows, cols in TILES]
    whole_device = smooth_max(overlap, memory, math)
    best = np.full(np.shape(memory), np.inf)
    for split in _SPLITS:
        least: FloatArray = np.full(np.shape(memory), np.inf)
        for count, step in zip(counts, steps):
            tiles_a_sm = count * split
            least = np.minimum(least, _waves(wave, tiles_a_sm) * step)
        plan = smooth_max(overlap, least * (k / split + fill), whole_device)
        if split > 1:  # partial sums in float32, written and read again
            plan += split_s + 4.0 * split * m * n * intensity / (r.size.activation * r.flop_per_s)
        best = np.minimum(best, plan)
    return launch_s + best


CPU_ROWS = 4.0
"""Rows that a CPU library multiplies at a time. Source: gpu-validate on an AVX-512 core, torch 2.13 with oneMKL: of
the weights (6144, 768) five and six rows take as long as eight within 5 %, nine and ten as long as twelve; two and
three are filled up to four by `gpu_validate.models.decoder.linear`."""


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


_EXPERT_TILES = ((16, 64), (64, 64), (64, 128), (128, 256))
_MOVING_KERNELS = 3.0
"""Sorting, activation and weighted sum between and around the two products of a layer of experts."""
_LAYER_RESIDENCY_ORDER = 12.0
"""A benchmark routes the same rows again and again: the experts they touch are in L2 if all of them fit."""


QUANTIZER_BYTES = 5.0
"""Of each input value: 2 read for the scale, 2 read and 1 written to quantize it."""


def _input_seconds(ratio: float, c: Columns, r: Rates) -> FloatArray | float:
    """Seconds of quantizing the rows of an 8-bit product first."""
    quantized = r.size.activation < r.size.output
    return QUANTIZER_BYTES * c["m"] * c["k"] / (ratio * r.bytes_per_s) if quantized else 0.0


def expert_product(p: Sequence[float], c: Columns, r: Rates) -> FloatArray:
    """One grouped product: ``m`` rows in all over ``groups`` weights of ``n`` x ``k``, in the best of four tiles.

    Each weight has tiles of its own, ``tiles_h`` of them in all where a tile has h rows: uneven rows, and few rows
    a weight, fill theirs badly. ``warm`` is the share of the weights that is read from L2, none where it is absent.
    """
    bandwidth, compute, launch_s, overlap, intensity, stage_s, wave, quantizer, l2_ratio = p
    m, n, k = c["m"], c["n"], c["k"]
    found = c.get("warm", 0.0) * r.size.stored * c["groups"] * n * k
    moved = grouped_gemm_bytes(c, r.size) - found * (1.0 - 1.0 / l2_ratio)
    memory = moved / (bandwidth * r.bytes_per_s)
    sm_flop, rows = r.flop_per_s / r.sm_count, m / c["groups"]
    busy = np.full(np.shape(memory), np.inf)
    for tile_rows, cols in _EXPERT_TILES:
        tiles_a_sm = c[f"tiles_{tile_rows}"] * np.ceil(n / cols) / r.sm_count
        step = np.maximum(
            2.0 * tile_rows * cols / (compute * sm_flop) + stage_s / 64.0,
            intensity * (np.minimum(tile_rows, rows) + cols) / sm_flop,
        )
        busy = np.minimum(busy, _waves(wave, tiles_a_sm) * k * step)
    return launch_s + smooth_max(overlap, busy, memory) + _input_seconds(quantizer, c, r)


def padded_expert_product(p: Sequence[float], c: Columns, r: Rates) -> FloatArray:
    """The same in tiles of 128 x 128 whatever the rows (CUTLASS grouped GEMM, as FlashInfer gives it to vLLM).

    A tile takes at least ``tile_s`` and one that is part-filled longer than a full one, by ``padding``: measured
    layers of 8-bit experts on Hopper take half as long with 128 rows an expert as with 8, and with 192 as long as
    with 128 and with 64 together. An SM takes tiles one by one, the first of them behind a fill of its pipeline.
    """
    bandwidth, compute, launch_s, overlap, tile_s, first, quantizer, padding = p
    n, k, tiles = c["n"], c["k"], c["tiles_128"]
    memory = grouped_gemm_bytes(c, r.size) / (bandwidth * r.bytes_per_s)
    side = 128.0
    full = 2.0 * side * side * k * r.sm_count / (compute * r.flop_per_s)
    each = np.hypot(tile_s, full * (1.0 + padding * c["ragged"] / tiles))
    busy = (tiles * np.ceil(n / side) / r.sm_count + first) * each
    return launch_s + smooth_max(overlap, busy, memory) + _input_seconds(quantizer, c, r)


Product = Callable[[Sequence[float], Columns, Rates], FloatArray]


def _layer_seconds(product: Product, p: Sequence[float], c: Columns, r: Rates) -> FloatArray:
    """Both products of a layer of experts and the kernels that move rows, as frameworks measure them: in one."""
    tokens, hidden, inter = c["num_tokens"], c["hidden_size"], c["inter_size"]
    routed = tokens * c["experts_per_token"]
    touched = r.size.stored * c["groups"] * 3.0 * hidden * inter
    warm = 1.0 / (1.0 + (touched / r.l2_bytes) ** _LAYER_RESIDENCY_ORDER)
    shared = {"m": routed, "warm": warm, **{name: c[name] for name in LOADS}}
    moved = r.size.output * (3.0 * inter * routed + hidden * (routed + tokens)) + 8.0 * routed
    fraction, launch_s = COPY_PRIOR
    return (
        product(p, {"n": 2.0 * inter, "k": hidden, **shared}, r)
        + product(p, {"n": hidden, "k": inter, **shared}, r)
        + _MOVING_KERNELS * launch_s
        + moved / (fraction * r.bytes_per_s)
    )


EXPERT_PRODUCTS: dict[str, Product] = {
    "experts_layer": expert_product,
    "experts_padded": padded_expert_product,
}
"""Form of a layer of experts -> seconds of one of its two products."""
experts_layer_seconds = partial(_layer_seconds, expert_product)
experts_padded_seconds = partial(_layer_seconds, padded_expert_product)
