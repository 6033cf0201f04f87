"""Closed forms for the seconds of one kernel: what is fitted, and nothing else.

A `Form` is a function of shape columns, device rates and a few positive parameters, with a prior for each. The
priors are medians over the devices with silicon data and let 16 rows calibrate what 16 rows can tell. The
datasheet roofline (`naive_seconds`) is 25-75 % too fast on these kernels; every form here starts from it and adds
what real kernels do: achieved fractions, launch latency, tiles and split-K plans, waves, caches.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from scylla_sim.checks import FloatArray
from scylla_sim.costs import (
    Columns,
    ElementBytes,
    all_reduce_bytes,
    attention_flops,
    element_bytes,
    gemm_bytes,
    gemm_flops,
    kv_bytes,
    query_bytes,
)
from scylla_sim.specs import Hardware
from scylla_sim.units import MEBI

_PEAK = {
    "float32": "fp32",
    "bfloat16": "bf16",
    "fp8": "fp8",
    "fp8_block": "fp8",
    "int8_wo": "bf16",
    "int4_wo": "bf16",
    "sq": "int8",
    "nvfp4": "fp4",
}
QUANTISED = ("fp8", "fp8_block", "sq", "nvfp4")
"""Dtypes whose linear layer quantises its input first."""

BLOCK = 16384
"""Rows evaluated at once: the intermediates of one block stay in the L2 cache of a CPU core."""


@dataclass(frozen=True)
class Rates:
    """Datasheet rates that a form scales, for one precision: FLOP/s, bytes/s, units of parallelism, cache."""

    flop_per_s: float
    bytes_per_s: float
    sm_count: int
    l2_bytes: float
    link_bytes_per_s: float
    size: ElementBytes


def rates(hardware: Hardware, dtype: str, kv_dtype: str = "") -> Rates:
    """Rates of a device for kernels of a dtype; for attention ``kv_dtype`` sets the bytes of the cache."""
    size = element_bytes(dtype, kv_dtype)
    return Rates(
        flop_per_s=hardware.peak(_PEAK[dtype]),
        bytes_per_s=hardware.memory_bytes_per_s,
        sm_count=hardware.sm_count,
        l2_bytes=hardware.l2_bytes,
        link_bytes_per_s=hardware.link_bytes_per_s,
        size=size,
    )


def smooth_max(norm: float, *parts: FloatArray) -> FloatArray:
    """The ``norm``-norm of positive arrays: their maximum when one dominates, more where they compete."""
    top = parts[0]
    for part in parts[1:]:
        top = np.maximum(top, part)
    return top * sum((part / top) ** norm for part in parts) ** (1.0 / norm)


def naive_seconds(op: str, c: Columns, r: Rates) -> FloatArray:
    """Datasheet roofline ``max(FLOPs / peak, bytes / bandwidth)``, the baseline beside every error."""
    if op == "gemm":
        return np.maximum(gemm_flops(c) / r.flop_per_s, gemm_bytes(c, r.size) / r.bytes_per_s)
    if op == "decode_attention":
        moved = kv_bytes(c, r.size) + query_bytes(c, r.size)
        return np.maximum(attention_flops(c) / r.flop_per_s, moved / r.bytes_per_s)
    if op == "elementwise":
        return c["bytes"] / r.bytes_per_s
    return all_reduce_bytes(c) / r.link_bytes_per_s


# -- GEMM ------------------------------------------------------------------------------------------------------

_TILES = ((64, 64), (64, 128), (128, 256))
_SPLITS = (1, 2, 8)
_RESIDENCY_ORDER = 6.0


def _tiled_gemm(
    p: Sequence[float], c: Columns, r: Rates, tiles: Sequence[tuple[int, int]], splits: Sequence[int]
) -> FloatArray:
    """Best plan over tiles and split-K: waves of tiles against memory, plus launch and split cost.

    A plan is chosen by ``max``, its cost is the p-norm: 10 times faster than a p-norm a plan, and the fit uses
    the same choice.
    """
    bandwidth, compute, launch_s, overlap, operand, split_s, stage_s, wave, l2_ratio, copies = p[:10]
    m, n, k = c["m"], c["n"], c["k"]
    weights = r.size.stored * n * k
    # A benchmark that rotates few weight copies finds small ones in L2; serving does not (copies = inf).
    warm = 1.0 / (1.0 + (copies * weights / r.l2_bytes) ** _RESIDENCY_ORDER)
    moved = weights * (1.0 - warm + warm / l2_ratio) + (gemm_bytes(c, r.size) - weights)
    memory = moved / (bandwidth * r.bytes_per_s)
    sm_flop = compute * r.flop_per_s / r.sm_count
    sm_bytes = operand * r.bytes_per_s / r.sm_count
    best = np.full(np.shape(memory), np.inf)
    best_sm, best_extra = np.zeros_like(best), np.zeros_like(best)
    for rows, cols in tiles:
        count = np.ceil(m / rows) * np.ceil(n / cols) / r.sm_count
        step = np.maximum(
            2.0 * rows * cols / sm_flop + stage_s / 64.0,
            r.size.activation * (np.minimum(rows, m) + cols) / sm_bytes,
        )
        for split in splits:
            tiles_a_sm = count * split
            waves = wave * np.ceil(tiles_a_sm) + (1.0 - wave) * np.maximum(tiles_a_sm, 1.0)
            busy = waves * np.maximum(k / split, 64.0) * step
            extra = split_s + 4.0 * split * m * n / (operand * r.bytes_per_s) if split > 1 else 0.0
            bound = np.maximum(busy, memory) + extra
            better = bound < best
            best = np.where(better, bound, best)
            best_sm = np.where(better, busy, best_sm)
            best_extra = np.where(better, extra, best_extra)
    return launch_s + smooth_max(overlap, best_sm, memory) + best_extra


def _gemm_tiles(p: Sequence[float], c: Columns, r: Rates) -> FloatArray:
    """Library GEMM (cuBLAS): three tile shapes, split-K by 1, 2 or 8."""
    return _tiled_gemm(p, c, r, _TILES, _SPLITS)


def _gemm_quantised(p: Sequence[float], c: Columns, r: Rates) -> FloatArray:
    """8-bit linear layer with dynamic quantisation of its input: no split-K, the quantiser's traffic on top."""
    quantiser = 5.0 * c["m"] * c["k"] / (p[10] * r.bytes_per_s)
    return _tiled_gemm(p, c, r, (*_TILES, (128, 128)), (1,)) + quantiser


_DISPATCH = ((64.0, (64, 64)), (128.0, (64, 128)), (np.inf, (128, 128)))
"""Rows up to which a library picks a tile by the number of rows alone (CUTLASS in vLLM on Hopper)."""


def _gemm_dispatched(p: Sequence[float], c: Columns, r: Rates) -> FloatArray:
    """As `_gemm_quantised`, with the tile given by the rows: latency jumps at 65 and 129 rows."""
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


def _gemm_roofline(p: Sequence[float], c: Columns, r: Rates) -> FloatArray:
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


# -- Attention -------------------------------------------------------------------------------------------------

ROWS_PER_TILE = 64.0
"""Query rows (tokens times heads per KV head) that share one pass over the keys in packed-GQA kernels."""


def _passes(c: Columns, reread: float) -> FloatArray:
    """How often the KV cache is read: 1 when all query rows fit one tile, up to once a tile (``reread`` = 1)."""
    tiles = np.ceil(c["q_len"] * c["num_heads"] / c["num_kv_heads"] / ROWS_PER_TILE)
    return 1.0 + reread * (tiles - 1.0)


def _attention_waves(p: Sequence[float], c: Columns, r: Rates) -> FloatArray:
    """Decode and verify attention: launch, then the slowest of memory, one head's stream, CTA waves, compute.

    KV beyond the L2 is read at the achieved bandwidth and costs ``cold_s`` once; KV that stays in it is read
    ``l2_ratio`` times as fast.
    """
    bandwidth, launch_s, wave_s, l2_ratio, cold_s, head, overlap, l2_fill, compute, reread = p
    kv = kv_bytes(c, r.size)
    cold = 1.0 / (1.0 + (l2_fill * r.l2_bytes / kv) ** 8)
    achieved = bandwidth * r.bytes_per_s
    memory = (
        kv * _passes(c, reread) * (cold + (1.0 - cold) / l2_ratio) / achieved + query_bytes(c, r.size) / achieved
    )
    heads = c["batch"] * c["num_kv_heads"]
    stream = kv / heads / (head * r.bytes_per_s)
    tiles = np.ceil(c["q_len"] * c["num_heads"] / c["num_kv_heads"] / ROWS_PER_TILE)
    waves = wave_s * np.ceil(heads * tiles / r.sm_count)
    padded = np.maximum(1.0, tiles * ROWS_PER_TILE * c["num_kv_heads"] / (c["q_len"] * c["num_heads"]))
    math = attention_flops(c) * np.where(c["q_len"] > 1, padded, 1.0) / (compute * r.flop_per_s)
    return launch_s + cold_s * cold + smooth_max(overlap, memory, stream, waves, math)


def _attention_roofline(p: Sequence[float], c: Columns, r: Rates) -> FloatArray:
    """Achieved fractions, latency and overlap, with the KV read once a query tile of ``reread``."""
    bandwidth, compute, launch_s, overlap, reread = p
    passes = 1.0 + reread * (c["q_len"] - 1.0)
    memory = (kv_bytes(c, r.size) * passes + query_bytes(c, r.size)) / (bandwidth * r.bytes_per_s)
    return launch_s + smooth_max(overlap, memory, attention_flops(c) / (compute * r.flop_per_s))


# -- All-reduce ------------------------------------------------------------------------------------------------


def _all_reduce_shots(p: Sequence[float], c: Columns, r: Rates) -> FloatArray:
    """Up to a cut-off the better of one-shot (every GPU reads all others) and two-shot; beyond it NCCL.

    Engines keep their own kernels for small messages and hand large ones to NCCL: latency jumps two- to threefold
    where they do (8 MiB in vLLM on A100 and Hopper; less with more GPUs on B200).
    """
    launch_s, one_shot, sync_s, two_shot, gpu_s, large_s, large, cutoff_bytes, cutoff_order = p
    gpus, size, link = c["num_gpus"], c["bytes"], r.link_bytes_per_s
    start = launch_s + gpu_s * (gpus - 2.0)
    one = start + (gpus - 1.0) * size / (one_shot * link)
    two = start + sync_s + all_reduce_bytes(c) / (two_shot * link)
    cutoff = cutoff_bytes / (gpus / 2.0) ** cutoff_order
    return np.where(size < cutoff, np.minimum(one, two), large_s + all_reduce_bytes(c) / (large * link))


# -- Everything else -------------------------------------------------------------------------------------------


def _elementwise_copy(p: Sequence[float], c: Columns, r: Rates) -> FloatArray:
    """Norms, rotary embedding, activations, sampling: launch and bytes at the achieved bandwidth."""
    bandwidth, launch_s = p
    return launch_s + c["bytes"] / (bandwidth * r.bytes_per_s)


# -- The table of forms ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Form:
    """A closed form with its parameters, their prior medians and the spread (standard deviation of the log).

    ``starts`` lists alternatives for parameters in which the form jumps: no gradient finds those, a fit tries each.
    """

    op: str
    parameters: tuple[str, ...]
    prior: tuple[float, ...]
    spread: tuple[float, ...]
    columns: tuple[str, ...]
    seconds: Callable[[Sequence[float], Columns, Rates], FloatArray]
    starts: tuple[Mapping[str, float], ...] = ()

    def __post_init__(self) -> None:
        if not len(self.parameters) == len(self.prior) == len(self.spread):
            raise ValueError("a form needs one prior and one spread for each parameter")

    def priors(self) -> list[FloatArray]:
        """Prior medians to start from: one set, or one for each of ``starts``."""
        sets = [{**dict(zip(self.parameters, self.prior)), **start} for start in self.starts or ({},)]
        return [np.array([values[name] for name in self.parameters]) for values in sets]


_GEMM = ("m", "n", "k")
_ATTENTION = ("batch", "kv_len", "q_len", "num_heads", "num_kv_heads", "head_dim", "window")
_TILED = (
    *("bandwidth_fraction", "compute_fraction", "launch_s", "overlap_norm", "operand_ratio"),
    *("split_s", "stage_s", "wave_weight", "l2_ratio", "weight_copies"),
)

FORMS = {
    "gemm_tiles": Form(
        op="gemm",
        parameters=_TILED,
        prior=(0.85, 0.87, 2.8e-6, 3.5, 4.2, 1.9e-6, 40e-9, 0.1, 1.8, 6.0),
        spread=(0.15, 0.25, 0.5, 0.4, 0.5, 0.5, 0.7, 1.0, 0.4, 0.15),
        columns=_GEMM,
        seconds=_gemm_tiles,
    ),
    "gemm_quantised": Form(
        op="gemm",
        parameters=(*_TILED, "quantiser_ratio"),
        prior=(0.82, 0.70, 5.3e-6, 2.5, 3.5, 1.9e-6, 5e-9, 0.5, 1.8, 6.0, 0.4),
        spread=(0.15, 0.30, 0.5, 0.4, 0.5, 0.01, 0.7, 1.0, 0.4, 0.15, 0.8),
        columns=_GEMM,
        seconds=_gemm_quantised,
    ),
    "gemm_dispatched": Form(
        op="gemm",
        parameters=(*_TILED, "quantiser_ratio"),
        prior=(0.82, 0.70, 5.3e-6, 2.5, 3.5, 1.9e-6, 5e-9, 1.0, 1.8, 6.0, 0.4),
        spread=(0.15, 0.30, 0.5, 0.4, 0.5, 0.01, 0.7, 1.0, 0.4, 0.15, 0.8),
        columns=_GEMM,
        seconds=_gemm_dispatched,
    ),
    "gemm_roofline": Form(
        op="gemm",
        parameters=("bandwidth_fraction", "compute_fraction", "launch_s", "overlap_norm", "half_rows"),
        prior=(0.8, 0.8, 5e-6, 3.0, 2.0),
        spread=(0.5, 0.5, 1.5, 0.5, 1.5),
        columns=_GEMM,
        seconds=_gemm_roofline,
    ),
    "attention_waves": Form(
        op="decode_attention",
        parameters=(
            *("bandwidth_fraction", "launch_s", "wave_s", "l2_ratio", "cold_s", "head_ratio", "overlap_norm"),
            *("l2_fill", "compute_fraction", "reread_fraction"),
        ),
        prior=(0.93, 9e-6, 2.5e-6, 1.6, 5e-6, 0.5, 3.0, 0.9, 0.6, 0.1),
        spread=(0.15, 0.4, 0.7, 0.5, 0.7, 0.7, 0.4, 0.15, 0.3, 1.0),
        columns=_ATTENTION,
        seconds=_attention_waves,
    ),
    "attention_roofline": Form(
        op="decode_attention",
        parameters=("bandwidth_fraction", "compute_fraction", "launch_s", "overlap_norm", "reread_fraction"),
        prior=(0.5, 0.3, 2e-5, 3.0, 0.1),
        spread=(1.0, 1.0, 1.5, 0.5, 1.5),
        columns=_ATTENTION,
        seconds=_attention_roofline,
    ),
    "all_reduce_shots": Form(
        op="all_reduce",
        parameters=(
            *("launch_s", "one_shot_fraction", "sync_s", "two_shot_fraction", "gpu_s"),
            *("large_s", "large_fraction", "cutoff_bytes", "cutoff_order"),
        ),
        prior=(4.5e-6, 0.5, 5e-6, 0.7, 2e-7, 2e-5, 0.8, 5.7 * MEBI, 1e-9),
        spread=(0.7, 1.0, 1.0, 0.7, 1.5, 0.7, 0.4, 1e-3, 1e-3),
        columns=("num_gpus", "bytes"),
        seconds=_all_reduce_shots,
        starts=tuple(
            {"cutoff_bytes": 2.0**power * 1.41, "cutoff_order": order}
            for order in (1e-9, 1.0)
            for power in range(17, 25)
        ),
    ),
    "elementwise_copy": Form(
        op="elementwise",
        parameters=("bandwidth_fraction", "launch_s"),
        # Nobody published elementwise kernels of these devices: 1.5 us inside a CUDA graph is an assumption.
        prior=(0.8, 1.5e-6),
        spread=(0.5, 1.5),
        columns=("bytes",),
        seconds=_elementwise_copy,
    ),
}


def forms_for(op: str, dtype: str, hardware: Hardware) -> tuple[str, ...]:
    """Forms that may describe an operation on a device, the likeliest first; a fit keeps the one that fits best.

    A CPU has no SMs, and libraries differ in how they pick tiles for 8-bit products.
    """
    if op == "all_reduce":
        return ("all_reduce_shots",)
    if op == "elementwise":
        return ("elementwise_copy",)
    if hardware.sm_count == 0:
        return ("gemm_roofline",) if op == "gemm" else ("attention_roofline",)
    if op == "gemm":
        return ("gemm_quantised", "gemm_dispatched") if dtype in QUANTISED else ("gemm_tiles",)
    return ("attention_waves",)


def evaluate(form: Form, p: Sequence[float], c: Columns, r: Rates) -> FloatArray:
    """Seconds of many shapes, in blocks, so that memory stays bounded however many are asked for.

    Parameters
    ----------
    c
        Columns that broadcast against each other; the result has their common shape.
    """
    arrays = np.broadcast_arrays(*(np.asarray(c[name], dtype=np.float64) for name in form.columns))
    shape = arrays[0].shape
    flat = [array.reshape(-1) for array in arrays]
    out = np.empty(flat[0].size)
    for start in range(0, out.size, BLOCK):
        part = {name: column[start : start + BLOCK] for name, column in zip(form.columns, flat)}
        out[start : start + BLOCK] = form.seconds(p, part, r)
    return out.reshape(shape)
