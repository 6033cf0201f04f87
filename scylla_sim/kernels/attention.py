"""Seconds of kernels that move more than they compute: attention, all-reduce, elementwise."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from scylla_sim.checks import FloatArray
from scylla_sim.kernels.device_rates import Rates, smooth_max
from scylla_sim.ops.op import (
    Columns,
    all_reduce_bytes,
    attention_flops,
    cached,
    kv_bytes,
    latent_bytes,
    latent_flops,
    latent_query_bytes,
    query_bytes,
)

ROWS_PER_TILE = 64.0
"""Query rows (tokens times heads per KV head) that share one pass over the keys in packed-GQA kernels."""


SPLIT_ELEMENTS = 16384.0
"""Keys of a head (tokens times head size) beyond which FlashAttention-2 gives a head to several CTAs: one block of
128 keys of 128 (256 of 64, 64 of 256; ``csrc/flash_attn/flash_api.cpp``). The rows show the same step in others."""
SCHEDULED_SEQUENCES = 512.0
"""Sequences up to which each costs time of its own in vLLM's rows: the most it captures in a graph by default.

A captured kernel is launched for the most splits it may use (``flash_attn_max_num_splits_for_cuda_graph``, 32),
used or not; beyond, for those it needs. With heads of 512 on H100, 512 sequences take 2.0 ms and 1024 0.18 ms."""


def attention_waves_seconds(p: Sequence[float], c: Columns, r: Rates) -> FloatArray:
    """Decode and verify attention: costs of every launch, then CTA waves and the slowest of stream, head and math.

    The floor grows by ``write_s`` a KV head (B200: 9 us with one, 17 us with 96), as if one CTA wrote the new keys
    and values of a sequence. KV beyond the L2 is read at the achieved bandwidth and costs ``cold_s`` once; KV that
    stays in it is read ``l2_ratio`` times as fast. Heads that lie token by token beside each other are read in
    short runs, slower by ``stride_ratio`` for each doubling of their number (1.02-1.04 from L40S's GDDR6, 1 from
    HBM). One head is read at ``head_ratio`` of the bandwidth by all CTAs that may share it, then ``merge_s`` puts
    their parts together, ``chain_s`` longer for each doubling of the keys. FlashAttention-2 splits no head that has
    but one query head: a single CTA streams it (``unsplit_ratio``). It copies queries and results where their order
    in memory is not that of the KV heads (``copy_s``). Tensor cores compute whole tiles of query rows, few or many
    of them in use. Waves of CTAs after the first hide behind the reading or add to it, which differs between
    libraries: they have a norm of their own (1 is a plain sum, 8 nearly the longer of the two).
    """
    bandwidth, launch_s, wave_s, l2_ratio, cold_s, head, overlap, l2_fill, compute, reread, wave_norm = p[:11]
    copy_s, merge_s, unsplit, query, sequence_s, stride, write_s, chain_s = p[11:]
    kv, kv_heads, rows = kv_bytes(c, r.size), c["num_kv_heads"], c["q_len"] * c["num_heads"]
    heads, grouped = c["batch"] * kv_heads, c["num_heads"] > kv_heads
    tiles = np.ceil(rows / kv_heads / ROWS_PER_TILE)
    cold = 1.0 / (1.0 + (l2_fill * r.l2_bytes / kv) ** 8)
    passes = 1.0 + reread * (tiles - 1.0)
    slowing = passes * kv_heads ** np.log2(stride) * (cold + (1.0 - cold) / l2_ratio)
    memory = kv * slowing / (bandwidth * r.bytes_per_s)
    stream = kv / heads / (np.where(grouped, head, head * unsplit) * r.bytes_per_s)
    math = attention_flops(c) * (tiles * ROWS_PER_TILE * kv_heads / rows) / (compute * r.flop_per_s)
    blocks = cached(c) * c["head_dim"] / SPLIT_ELEMENTS
    merge = np.where(blocks > 1.0, merge_s + chain_s * np.log2(np.maximum(blocks, 1.0)), 0.0)
    waves = wave_s * (np.ceil(heads * tiles / r.sm_count) - 1.0)
    copy = np.where(grouped & (kv_heads > 1.0) & (c["batch"] > 1.0), copy_s, 0.0)
    scheduling = sequence_s * np.minimum(c["batch"], SCHEDULED_SEQUENCES)
    queries = query * query_bytes(c, r.size) / r.bytes_per_s
    fixed = launch_s + write_s * kv_heads + cold_s * cold + copy + scheduling + queries
    return fixed + smooth_max(wave_norm, waves, merge + smooth_max(overlap, memory, stream, math))


def attention_roofline_seconds(p: Sequence[float], c: Columns, r: Rates) -> FloatArray:
    """Achieved fractions, latency and overlap, with the KV read once a query tile of ``reread``."""
    bandwidth, compute, launch_s, overlap, reread = p
    passes = 1.0 + reread * (c["q_len"] - 1.0)
    memory = (kv_bytes(c, r.size) * passes + query_bytes(c, r.size)) / (bandwidth * r.bytes_per_s)
    return launch_s + smooth_max(overlap, memory, attention_flops(c) / (compute * r.flop_per_s))


WIDE_HEADS = 64.0
"""Query heads from which kernels of latent attention take their wide tile."""
_LATENT_NORM = 8.0
"""Nearly a maximum: arithmetic of latent attention hides behind the reading, or the other way round. Norms of 4 and
less fit as well, with a bandwidth above the datasheet's."""
_LATENT_L2_FILL = 0.9


def latent_tiles_seconds(p: Sequence[float], c: Columns, r: Rates) -> FloatArray:
    """Latent attention: launch, chain of parts, waves, queries, and the longer of the cache's read and arithmetic.

    One read of the cache serves the query rows of a tile, each further tile pays ``reread_fraction`` of a read;
    arithmetic comes in whole tiles of query rows. These hold 64 rows in the kernels of Hopper and 16 in Triton's.
    On Blackwell they hold 128, but 16 below `WIDE_HEADS` heads: 32 take half as long again as 16 or 64 do. A
    context is split over the SMs, so no head waits for a stream of its own; adding up its parts costs up to
    ``chain_s``. A query token more than one shares the read, and adds rows.
    """
    bandwidth, launch_s, compute, l2_ratio, reread, passes, chain_s, chain_tokens, wave_s, narrow, wide = p
    heads = c["num_heads"]
    tile = np.where(heads < WIDE_HEADS, np.rint(narrow), np.rint(wide))
    tiles = np.ceil(c["q_len"] * heads / tile)
    cache, achieved = latent_bytes(c, r.size), bandwidth * r.bytes_per_s
    cold = 1.0 / (1.0 + (_LATENT_L2_FILL * r.l2_bytes / cache) ** 8)
    reads = (1.0 + reread * (tiles - 1.0)) * (cold + (1.0 - cold) / l2_ratio)
    math = latent_flops(c) * tiles * tile / (c["q_len"] * heads) / (compute * r.flop_per_s)
    chain = chain_s * c["kv_len"] / (c["kv_len"] + chain_tokens)
    waves = wave_s * c["batch"] * tiles / r.sm_count
    queries = passes * latent_query_bytes(c, r.size) / achieved
    return launch_s + chain + waves + queries + smooth_max(_LATENT_NORM, cache * reads / achieved, math)


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
    come from the kernel before, whatever weights stream past. A kernel that gives each of its ``rows`` to one CTA
    waits for the longest row, which moves at ``row_bytes_per_s`` however idle the other SMs are, and for all CTAs
    to start, ``row_s`` each; without rows it can be cut anywhere.
    """
    bandwidth, launch_s, l2_ratio, l2_fill, overlap, row_bytes_per_s, row_s = p
    spilled = 1.0 / (1.0 + (l2_fill * r.l2_bytes / c["bytes"]) ** _SPILL_ORDER)
    slowed = c["bytes"] * (spilled + (1.0 - spilled) / l2_ratio)
    memory: FloatArray = slowed / (bandwidth * r.bytes_per_s)
    rows = c["rows"]
    if not rows.any():  # most operations of a step
        return launch_s + memory
    row = np.where(rows > 0.0, c["bytes"] / np.maximum(rows, 1.0) / row_bytes_per_s, 0.0)
    return launch_s + smooth_max(overlap, memory, row, row_s * rows)
