"""Attention of a decoding step in Triton: few queries over a long cache that is split into pieces.

Nothing waits for the device, and every block size follows from shapes. A call can therefore be captured into a CUDA
graph once it has run with the same shapes. Sums are in float32.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gpu_validate.models.triton_support import (
    MIN_HEAD_DIM,
    ceil_divide,
    constexpr,
    jit,
    tensor,
    tl,
)
from gpu_validate.models.triton_tiling import MAX_SPLITS, choose_splits, choose_tile, sm_count
from scylla_sim.checks import fail

_LOG2_E = 1.4426950408889634


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
    group: constexpr,
    head_dim: constexpr,
    block_m: constexpr,
    block_n: constexpr,
    block_t: constexpr,
    cut: constexpr,
) -> None:
    """Attend ``block_m`` queries of one KV head over one piece of one sequence.

    Row r of a KV head is token r // group of its query head r % group. ``out`` is ``(splits, batch, n, heads,
    dim)``. ``total`` is the base-2 logarithm of each row's sum of exponentials.
    """
    row_blocks = tl.cdiv(n * group, block_m)
    kv_heads = tl.num_programs(0) // row_blocks
    kv_head = (tl.program_id(0) // row_blocks).to(tl.int64)
    split = tl.program_id(1)
    batch = tl.program_id(2).to(tl.int64)

    rows = (tl.program_id(0) % row_blocks) * block_m + tl.arange(0, block_m)
    real = rows < n * group
    token = rows // group
    head = kv_head * group + rows % group
    columns = tl.arange(0, block_n)
    inner = tl.arange(0, head_dim)

    length = tl.load(lengths + batch).to(tl.int32)
    end = length + tail
    piece = tl.cdiv(tl.cdiv(end, splits), block_n) * block_n
    start = split * piece
    end = tl.minimum(end, start + piece)
    plain = tl.minimum(length // block_n * block_n, end)  # every query attends to the keys before it

    place = ((split * tl.num_programs(2) + batch) * n + token) * (kv_heads * group) + head
    if start >= end:
        if cut:
            tl.store(total + place, tl.full([block_m], float("-inf"), tl.float32), mask=real)
        return

    at = batch * q_batch + head[:, None] * q_head + token[:, None] * q_token + inner[None, :]
    query = tl.load(q + at, mask=real[:, None], other=0.0)
    k_base = keys + batch * k_batch + kv_head * k_head
    v_base = values + batch * v_batch + kv_head * v_head
    k_within = columns[:, None] * k_slot + inner[None, :]
    v_within = columns[:, None] * v_slot + inner[None, :]

    peak = tl.full([block_m], float("-inf"), tl.float32)
    weight = tl.zeros([block_m], tl.float32)
    mixed = tl.zeros([block_m, head_dim], tl.float32)

    for tile in tl.range(start, plain, block_n):
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

    few = tl.arange(0, block_t)
    k_few = few[:, None] * k_slot + inner[None, :]
    v_few = few[:, None] * v_slot + inner[None, :]
    for tile in tl.range(tl.maximum(start, plain), end, block_t, num_stages=1):
        slot = tile + few
        inside = slot < end
        node = slot - length
        k = tl.load(k_base + tl.cast(tile, tl.int64) * k_slot + k_few, mask=inside[:, None], other=0.0)
        v = tl.load(v_base + tl.cast(tile, tl.int64) * v_slot + v_few, mask=inside[:, None], other=0.0)
        asked = real[:, None] & (inside & (node >= 0))[None, :]
        allowed = tl.load(visible + token[:, None] * visible_row + node[None, :], mask=asked, other=0)
        seen = (allowed != 0) | (node < 0)[None, :]
        used = tl.max(seen.to(tl.int32), 0) != 0  # values of masked slots may be NaN, and 0 * NaN is NaN
        v = tl.where(used[:, None], v, 0.0).to(v.dtype)
        score = tl.dot(query, tl.trans(k), input_precision="ieee") * scale
        score = tl.where(seen, score, float("-inf"))
        higher = tl.maximum(peak, tl.max(score, 1))
        level = tl.where(higher == float("-inf"), 0.0, higher)  # the row has read no key yet
        share = tl.exp2(score - level[:, None])
        fade = tl.exp2(peak - level)
        weight = weight * fade + tl.sum(share, 1)
        mixed = tl.dot(share.to(v.dtype), v, mixed * fade[:, None], input_precision="ieee")
        peak = higher

    weight = tl.where(weight > 0.0, weight, 1.0)  # rows without a key have a peak of -inf
    mixed = mixed / weight[:, None]
    tl.store(out + place[:, None] * head_dim + inner[None, :], mixed.to(out.dtype.element_ty), mask=real[:, None])
    if cut:
        tl.store(total + place, peak + tl.log2(weight), mask=real)


@jit(do_not_specialize=["splits"])
def _merge(
    part: tensor,
    total: tensor,
    out: tensor,
    splits: tensor,
    head_dim: constexpr,
    max_splits: constexpr,
    at_once: constexpr,
) -> None:
    """Merge the pieces of one row, weighted by their sums of exponentials."""
    row = tl.program_id(0).to(tl.int64)
    rows = tl.num_programs(0).to(tl.int64)
    inner = tl.arange(0, head_dim)
    every = tl.arange(0, max_splits)
    sums = tl.load(total + every * rows + row, mask=every < splits, other=float("-inf"))
    peak = tl.max(sums, 0)
    whole = tl.sum(tl.exp2(sums - peak), 0)
    mixed = tl.zeros([head_dim], tl.float32)
    for first in tl.range(0, splits, at_once):
        some = first + tl.arange(0, at_once)
        here = tl.load(total + some * rows + row, mask=some < splits, other=float("-inf"))
        share = tl.exp2(here - peak) / whole
        at = (some * rows + row)[:, None] * head_dim + inner[None, :]
        mixed += tl.sum(share[:, None] * tl.load(part + at, mask=(share > 0.0)[:, None], other=0.0), 0)
    tl.store(out + row * head_dim + inner, mixed.to(out.dtype.element_ty))


def _check_layout(q: Tensor, keys: Tensor, values: Tensor, visible: Tensor) -> None:
    """Check the head size, the numbers of heads and the last strides."""
    num_heads, num_kv_heads, head_dim = q.shape[1], keys.shape[1], q.shape[-1]
    if head_dim < MIN_HEAD_DIM or head_dim & (head_dim - 1):
        raise fail("head_dim", head_dim, f"must be a power of two and at least {MIN_HEAD_DIM}")
    if num_heads % num_kv_heads:
        raise fail("num_heads", num_heads, f"must be a multiple of num_kv_heads={num_kv_heads}")
    for name, given in (("q", q), ("keys", keys), ("values", values), ("visible", visible)):
        if given.stride(-1) != 1 and given.shape[-1] > 1:
            raise fail(name, given.stride(), "must have a last stride of 1")


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
    """Compute grouped-query attention of a few new tokens over a cache whose sequences may differ in length.

    Parameters
    ----------
    q
        ``(batch, num_heads, n, head_dim)``.
    keys, values
        ``(batch, num_kv_heads, capacity, head_dim)``. Views of a larger cache are read in place.
    lengths
        ``(batch,)`` integers on the device. Every query of sequence b attends to slots ``0 .. lengths[b] - 1``.
    visible
        ``(n, tail)`` booleans on the device. Query i attends to slot ``lengths[b] + t`` where ``visible[i, t]`` is
        true. Every query must attend to at least one key. Slots that no query attends to may contain anything, even
        NaN.
    bound
        Number that is at least ``lengths.max() + tail``. It only determines the number of pieces.
    splits
        Pieces of each sequence, instead of the result of `choose_splits`.

    Returns
    -------
    Tensor
        ``(batch, num_heads, n, head_dim)``, stored token by token, so ``.transpose(1, 2).flatten(2)`` is a view.

    Raises
    ------
    InputError
        When a shape, a stride or ``splits`` is not supported.

    Notes
    -----
    The query heads of a KV head and the tokens are the rows of one matrix, so keys and values are read once for all
    of them. Each sequence is split by its own length, and a second kernel merges the pieces [1]_.

    References
    ----------
    .. [1] Dao, Haziza, Massa and Sizov, "Flash-Decoding for long-context inference", 2023.
    """
    _check_layout(q, keys, values, visible)
    batch, num_heads, n, head_dim = q.shape
    num_kv_heads = keys.shape[1]
    group = num_heads // num_kv_heads
    tile = choose_tile(group * n, head_dim, q.element_size())
    blocks = ceil_divide(group * n, tile.rows) * num_kv_heads
    if splits is None:
        splits = choose_splits(blocks * batch, bound, tile.resident * sm_count(q.device))
    elif not 1 <= splits <= MAX_SPLITS:
        raise fail("splits", splits, f"must lie in [1, {MAX_SPLITS}]")
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
        group=group,
        head_dim=head_dim,
        block_m=tile.rows,
        block_n=tile.keys,
        block_t=tile.few,
        cut=cut,
        num_warps=tile.warps,
        num_stages=tile.stages
        + (tile.rows == 16 and not cut),  # one more read in flight for long pieces: 8 % faster on an H200
    )
    if cut:
        _merge[(batch * n * num_heads,)](
            part, total, out, splits, head_dim=head_dim, max_splits=MAX_SPLITS, at_once=16, num_warps=4
        )
    return out.transpose(1, 2)
