"""Attention of a decoding step in Triton: few queries over a long cache, which is cut into pieces.

Nothing waits for the device and every block size follows from shapes, so a call can be captured into a CUDA graph
once it has run with the same shapes before. Sums are in float32.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

from gpu_validate.models.triton_support import (
    MIN_HEAD_DIM,
    ceil_divide,
    constexpr,
    jit,
    next_power_of_two,
    tensor,
    tl,
)
from scylla_sim.checks import fail

_LOG2_E = 1.4426950408889634
_MAX_SPLITS = 128
_MIN_KEYS = 128
_FULL_WAVE = 0.85


@dataclass(frozen=True)
class Tile:
    """How a block of threads attends.

    Attributes
    ----------
    rows
        Queries of a block: tokens times the heads that share a KV head.
    keys
        Keys it reads at a time.
    few
        The same near the end of a sequence, where masks take registers too.
    stages
        How many of these reads are under way at once.
    resident
        Blocks that fit on an SM together.
    """

    rows: int
    keys: int
    few: int
    warps: int
    stages: int
    resident: int


def choose_tile(rows: int, head_dim: int, element_bytes: int) -> Tile:
    """Tile for ``rows`` queries that share a KV head.

    Few queries are limited by memory: a block keeps 64 KiB of reads under way and two share an SM, far more than
    the latency of HBM asks for. 128 queries come near the limit of products: a block has an SM for itself, and wide
    tiles, since products of narrow ones wait for shared memory. In float32, without tensor cores, more than 32 do
    not fit.
    """
    height = min(max(16, next_power_of_two(rows)), 128 if element_bytes == 2 else 32)
    keys = min(max(2**14 // (element_bytes * head_dim), 32), 128)
    if height == 128:
        return Tile(height, min(2 * keys, 128), 32, 8, 2, 1)
    return Tile(height, keys, 16 if height == 64 else 32, 4, 3, 2)


def choose_splits(blocks: int, bound: int, places: int) -> int:
    """Pieces that each sequence of at most ``bound`` keys is cut into.

    The fewest that keep ``places`` nearly full, given ``blocks`` without a cut: a part-filled last wave wastes what
    it leaves empty. No piece of the longest sequence has fewer than 128 keys.
    """
    most = min(max(bound // _MIN_KEYS, 1), _MAX_SPLITS)
    share = [blocks * count / (ceil_divide(blocks * count, places) * places) for count in range(1, most + 1)]
    enough = _FULL_WAVE * max(share)
    return next(count for count, value in enumerate(share, 1) if value >= enough)


@lru_cache(maxsize=8)
def _processors(device: torch.device) -> int:
    """SMs of a GPU; those of an H100 where there is none, as in tests."""
    if device.type != "cuda":
        return 132
    return int(torch.cuda.get_device_properties(device).multi_processor_count)


@jit(
    do_not_specialize=["visible_row", "n", "tail", "splits"],
    do_not_specialize_on_alignment=["lengths", "visible"],
)
def _attend(
    q: tensor,
    keys: tensor,
    values: tensor,
    lengths: tensor,
    visible: tensor,
    out: tensor,
    total: tensor,
    q_batch: tensor,
    q_head: tensor,
    q_token: tensor,
    k_batch: tensor,
    k_head: tensor,
    k_slot: tensor,
    v_batch: tensor,
    v_head: tensor,
    v_slot: tensor,
    visible_row: tensor,
    n: tensor,
    tail: tensor,
    splits: tensor,
    scale: tensor,
    GROUP: constexpr,
    HEAD_DIM: constexpr,
    BLOCK_M: constexpr,
    BLOCK_N: constexpr,
    BLOCK_T: constexpr,
    CUT: constexpr,
) -> None:
    """Attention of ``BLOCK_M`` queries of one KV head over one piece of one sequence.

    Row r of a KV head is token r // GROUP of its query head r % GROUP. ``out`` is ``(splits, batch, n, heads,
    dim)``, ``total`` the logarithm to base 2 of each row's sum of exponentials.
    """
    row_blocks = tl.cdiv(n * GROUP, BLOCK_M)
    kv_heads = tl.num_programs(0) // row_blocks
    kv_head = (tl.program_id(0) // row_blocks).to(tl.int64)
    split = tl.program_id(1)
    batch = tl.program_id(2).to(tl.int64)

    rows = (tl.program_id(0) % row_blocks) * BLOCK_M + tl.arange(0, BLOCK_M)
    real = rows < n * GROUP
    token = rows // GROUP
    head = kv_head * GROUP + rows % GROUP
    columns = tl.arange(0, BLOCK_N)
    inner = tl.arange(0, HEAD_DIM)

    length = tl.load(lengths + batch).to(tl.int32)
    end = length + tail
    piece = tl.cdiv(tl.cdiv(end, splits), BLOCK_N) * BLOCK_N
    start = split * piece
    end = tl.minimum(end, start + piece)
    plain = tl.minimum(length // BLOCK_N * BLOCK_N, end)  # keys before it are seen by every query

    place = ((split * tl.num_programs(2) + batch) * n + token) * (kv_heads * GROUP) + head
    if start >= end:
        if CUT:
            tl.store(total + place, tl.full([BLOCK_M], float("-inf"), tl.float32), mask=real)
        return

    at = batch * q_batch + head[:, None] * q_head + token[:, None] * q_token + inner[None, :]
    query = tl.load(q + at, mask=real[:, None], other=0.0)
    k_base = keys + batch * k_batch + kv_head * k_head
    v_base = values + batch * v_batch + kv_head * v_head
    k_within = columns[:, None] * k_slot + inner[None, :]
    v_within = columns[:, None] * v_slot + inner[None, :]

    peak = tl.full([BLOCK_M], float("-inf"), tl.float32)
    weight = tl.zeros([BLOCK_M], tl.float32)
    mixed = tl.zeros([BLOCK_M, HEAD_DIM], tl.float32)

    for tile in tl.range(start, plain, BLOCK_N):
        k = tl.load(k_base + tl.cast(tile, tl.int64) * k_slot + k_within)
        score = tl.dot(query, tl.trans(k), input_precision="ieee") * scale
        higher = tl.maximum(peak, tl.max(score, 1))
        share = tl.exp2(score - higher[:, None])
        fade = tl.exp2(peak - higher)
        weight = weight * fade + tl.sum(share, 1)
        mixed = mixed * fade[:, None]
        v = tl.load(v_base + tl.cast(tile, tl.int64) * v_slot + v_within)
        mixed = tl.dot(share.to(v.dtype), v, mixed, input_precision="ieee")
        peak = higher

    few = tl.arange(0, BLOCK_T)
    k_few = few[:, None] * k_slot + inner[None, :]
    v_few = few[:, None] * v_slot + inner[None, :]
    for tile in tl.range(tl.maximum(start, plain), end, BLOCK_T, num_stages=1):
        slot = tile + few
        inside = slot < end
        node = slot - length
        k = tl.load(k_base + tl.cast(tile, tl.int64) * k_slot + k_few, mask=inside[:, None], other=0.0)
        v = tl.load(v_base + tl.cast(tile, tl.int64) * v_slot + v_few, mask=inside[:, None], other=0.0)
        asked = real[:, None] & (inside & (node >= 0))[None, :]
        allowed = tl.load(visible + token[:, None] * visible_row + node[None, :], mask=asked, other=0)
        seen = (allowed != 0) | (node < 0)[None, :]
        used = tl.max(seen.to(tl.int32), 0) != 0  # a value that nobody sees may be anything, and 0 * NaN is NaN
        v = tl.where(used[:, None], v, 0.0).to(v.dtype)
        score = tl.dot(query, tl.trans(k), input_precision="ieee") * scale
        score = tl.where(seen, score, float("-inf"))
        higher = tl.maximum(peak, tl.max(score, 1))
        level = tl.where(higher == float("-inf"), 0.0, higher)  # this row has seen no key so far
        share = tl.exp2(score - level[:, None])
        fade = tl.exp2(peak - level)
        weight = weight * fade + tl.sum(share, 1)
        mixed = tl.dot(share.to(v.dtype), v, mixed * fade[:, None], input_precision="ieee")
        peak = higher

    weight = tl.where(weight > 0.0, weight, 1.0)  # of a row that has seen no key, whose peak is -inf
    mixed = mixed / weight[:, None]
    tl.store(out + place[:, None] * HEAD_DIM + inner[None, :], mixed.to(out.dtype.element_ty), mask=real[:, None])
    if CUT:
        tl.store(total + place, peak + tl.log2(weight), mask=real)


@jit(do_not_specialize=["splits"])
def _merge(
    part: tensor,
    total: tensor,
    out: tensor,
    splits: tensor,
    HEAD_DIM: constexpr,
    MOST: constexpr,
    AT_ONCE: constexpr,
) -> None:
    """One row of attention from its pieces, weighted by their sums of exponentials."""
    row = tl.program_id(0).to(tl.int64)
    rows = tl.num_programs(0).to(tl.int64)
    inner = tl.arange(0, HEAD_DIM)
    every = tl.arange(0, MOST)
    sums = tl.load(total + every * rows + row, mask=every < splits, other=float("-inf"))
    peak = tl.max(sums, 0)
    whole = tl.sum(tl.exp2(sums - peak), 0)
    mixed = tl.zeros([HEAD_DIM], tl.float32)
    for first in tl.range(0, splits, AT_ONCE):
        some = first + tl.arange(0, AT_ONCE)
        here = tl.load(total + some * rows + row, mask=some < splits, other=float("-inf"))
        share = tl.exp2(here - peak) / whole
        at = (some * rows + row)[:, None] * HEAD_DIM + inner[None, :]
        mixed += tl.sum(share[:, None] * tl.load(part + at, mask=(share > 0.0)[:, None], other=0.0), 0)
    tl.store(out + row * HEAD_DIM + inner, mixed.to(out.dtype.element_ty))


def attend(
    q: Tensor,
    keys: Tensor,
    values: Tensor,
    lengths: Tensor,
    visible: Tensor,
    *,
    bound: int,
    splits: int | None = None,
) -> Tensor:
    """Grouped-query attention of a few new tokens over a cache, whose sequences may differ in length.

    Parameters
    ----------
    q
        ``(batch, num_heads, n, head_dim)``.
    keys, values
        ``(batch, num_kv_heads, capacity, head_dim)``; views of a larger cache are read where they are.
    lengths
        ``(batch,)`` integers on the device: every query of sequence b sees slots ``0 .. lengths[b] - 1``.
    visible
        ``(n, tail)`` booleans on the device: query i sees slot ``lengths[b] + t`` where ``visible[i, t]``. A query
        must see some key. What no query sees may hold anything, even NaN.
    bound
        At least ``lengths.max() + tail``. It only decides how finely sequences are cut.
    splits
        Pieces of each sequence, instead of what `choose_splits` finds.

    Returns
    -------
    Tensor
        ``(batch, num_heads, n, head_dim)``, stored token by token: ``.transpose(1, 2).flatten(2)`` is a view.

    Notes
    -----
    The query heads of a KV head and the tokens are the rows of one matrix, so keys and values are read once for all
    of them. Each sequence is cut by its own length, and a second kernel joins the pieces [1]_.

    References
    ----------
    .. [1] Dao, Haziza, Massa and Sizov, "Flash-Decoding for long-context inference", 2023.
    """
    batch, num_heads, n, head_dim = q.shape
    num_kv_heads = keys.shape[1]
    if head_dim < MIN_HEAD_DIM or head_dim & (head_dim - 1):
        raise fail("head_dim", head_dim, f"must be a power of two from {MIN_HEAD_DIM} on")
    if num_heads % num_kv_heads:
        raise fail("num_heads", num_heads, f"must be a multiple of num_kv_heads={num_kv_heads}")
    for name, given in (("q", q), ("keys", keys), ("values", values), ("visible", visible)):
        if given.stride(-1) != 1 and given.shape[-1] > 1:
            raise fail(name, given.stride(), "must have a last stride of 1")
    group = num_heads // num_kv_heads
    tile = choose_tile(group * n, head_dim, q.element_size())
    blocks = ceil_divide(group * n, tile.rows) * num_kv_heads
    if splits is None:
        splits = choose_splits(blocks * batch, bound, tile.resident * _processors(q.device))
    elif not 1 <= splits <= _MAX_SPLITS:
        raise fail("splits", splits, f"must lie in [1, {_MAX_SPLITS}]")
    out = q.new_empty(batch, n, num_heads, head_dim)
    cut = splits > 1
    part = q.new_empty((splits, *out.shape), dtype=torch.float32) if cut else out
    total = q.new_empty(part.shape[:-1], dtype=torch.float32) if cut else out
    _attend[(blocks, splits, batch)](
        q,
        keys,
        values,
        lengths,
        visible.view(torch.uint8),
        part,
        total,
        *q.stride()[:3],
        *keys.stride()[:3],
        *values.stride()[:3],
        visible.stride(0),
        n,
        visible.shape[1],
        splits,
        _LOG2_E / head_dim**0.5,
        GROUP=group,
        HEAD_DIM=head_dim,
        BLOCK_M=tile.rows,
        BLOCK_N=tile.keys,
        BLOCK_T=tile.few,
        CUT=cut,
        num_warps=tile.warps,
        num_stages=tile.stages
        + (tile.rows == 16 and not cut),  # long pieces: one more read under way, 8 % on an H200
    )
    if cut:
        _merge[(batch * n * num_heads,)](
            part, total, out, splits, HEAD_DIM=head_dim, MOST=_MAX_SPLITS, AT_ONCE=16, num_warps=4
        )
    return out.transpose(1, 2)
