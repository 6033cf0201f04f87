"""Seconds of kernels that move more than they compute: attention, all-reduce, elementwise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scylla_sim.checks import FloatArray
from scylla_sim.costs import Columns, all_reduce_bytes, attention_flops, kv_bytes, query_bytes
from scylla_sim.rates import Rates, smooth_max

ROWS_PER_TILE = 64.0
"""Query rows (tokens times heads per KV head) that share one pass over the keys in packed-GQA kernels."""


def _passes(c: Columns, reread: float) -> FloatArray:
    """How often the KV cache is read: 1 when all query rows fit one tile, up to once a tile (``reread`` = 1)."""
    tiles = np.ceil(c["q_len"] * c["num_heads"] / c["num_kv_heads"] / ROWS_PER_TILE)
    return 1.0 + reread * (tiles - 1.0)


def attention_waves_seconds(p: Sequence[float], c: Columns, r: Rates) -> FloatArray:
    """Decode and verify attention: launch, then the slowest of memory, one head's stream and math, and CTA waves.

    KV beyond the L2 is read at the achieved bandwidth and costs ``cold_s`` once; KV that stays in it is read
    ``l2_ratio`` times as fast. Tensor cores compute whole tiles of query rows, few or many of them in use. Waves of
    CTAs hide behind the reading or add to it, which differs between libraries: they have a norm of their own
    (FlashAttention-3 about 1, a plain sum; the kernels of Blackwell 2-3).
    """
    bandwidth, launch_s, wave_s, l2_ratio, cold_s, head, overlap, l2_fill, compute, reread, wave_norm = p
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
    padded = tiles * ROWS_PER_TILE * c["num_kv_heads"] / (c["q_len"] * c["num_heads"])
    math = attention_flops(c) * padded / (compute * r.flop_per_s)
    return launch_s + cold_s * cold + smooth_max(wave_norm, waves, smooth_max(overlap, memory, stream, math))


def attention_roofline_seconds(p: Sequence[float], c: Columns, r: Rates) -> FloatArray:
    """Achieved fractions, latency and overlap, with the KV read once a query tile of ``reread``."""
    bandwidth, compute, launch_s, overlap, reread = p
    passes = 1.0 + reread * (c["q_len"] - 1.0)
    memory = (kv_bytes(c, r.size) * passes + query_bytes(c, r.size)) / (bandwidth * r.bytes_per_s)
    return launch_s + smooth_max(overlap, memory, attention_flops(c) / (compute * r.flop_per_s))


_FLOOR_NORM = 8.0
"""Nearly a maximum: what the host needs to launch an all-reduce hides behind it, or the other way round."""


def all_reduce_shots_seconds(p: Sequence[float], c: Columns, r: Rates) -> FloatArray:
    """Up to a cut-off the better of one-shot (every GPU reads all others) and two-shot; beyond it NCCL.

    Engines keep their own kernels for small messages and hand large ones to NCCL: latency jumps two- to threefold
    where they do (8 MiB in vLLM on A100 and Hopper; less with more GPUs on B200). More GPUs use more of their links
    in both, and NCCL starts sooner. Launched eagerly, nothing is faster than ``floor_s``.
    """
    launch_s, one_shot, sync_s, two_shot, gpu_s, large_s, large, cutoff_bytes, cutoff_order = p[:9]
    link_order, large_order, floor_s = p[9:]
    gpus, size, link = c["num_gpus"], c["bytes"], r.link_bytes_per_s
    start = launch_s + gpu_s * (gpus - 2.0)
    shared = all_reduce_bytes(c) / (link * (gpus / 2.0) ** link_order)
    one = start + (gpus - 1.0) * size / (one_shot * link)
    two = start + sync_s + shared / two_shot
    cutoff = cutoff_bytes / (gpus / 2.0) ** cutoff_order
    nccl = large_s * (gpus / 2.0) ** -large_order + shared / large
    kernel = np.where(size < cutoff, np.minimum(one, two), nccl)
    return smooth_max(_FLOOR_NORM, kernel, np.full_like(kernel, floor_s))


def all_reduce_bridge_seconds(p: Sequence[float], c: Columns, r: Rates) -> FloatArray:
    """All-reduce over PCIe: a pair of GPUs has a switch to itself, more of them share the host's bridge.

    The bridge carries what all ranks send, 2 (P - 1) messages: on L40S 4 and 8 GPUs get the same total rate.
    """
    launch_s, gpu_s, pair, shared, floor_s = p
    gpus, size = c["num_gpus"], c["bytes"]
    rate = np.where(gpus > 2.0, shared, pair) * r.link_bytes_per_s
    kernel = launch_s + gpu_s * (gpus - 2.0) + 2.0 * (gpus - 1.0) * size / rate
    return smooth_max(_FLOOR_NORM, kernel, np.full_like(kernel, floor_s))


def elementwise_copy_seconds(p: Sequence[float], c: Columns, r: Rates) -> FloatArray:
    """Norms, rotary embedding, activations, sampling: launch and bytes at the achieved bandwidth."""
    bandwidth, launch_s = p
    return launch_s + c["bytes"] / (bandwidth * r.bytes_per_s)


_SPILL_ORDER = 4.0


def elementwise_cached_seconds(p: Sequence[float], c: Columns, r: Rates) -> FloatArray:
    """As `elementwise_copy_seconds`, on a GPU, whose L2 holds what the kernel before has written.

    Up to ``l2_fill`` of its size, bytes move ``l2_ratio`` times as fast. So they do in service too: activations
    come from the kernel before, whatever weights stream past.
    """
    bandwidth, launch_s, l2_ratio, l2_fill = p
    spilled = 1.0 / (1.0 + (l2_fill * r.l2_bytes / c["bytes"]) ** _SPILL_ORDER)
    slowed = c["bytes"] * (spilled + (1.0 - spilled) / l2_ratio)
    return launch_s + slowed / (bandwidth * r.bytes_per_s)
