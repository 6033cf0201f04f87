"""Fused kernels of a decoding step on a GPU: attention over a long cache, and the work between matrix products.

Each function computes what a few lines of torch would, in one pass over memory, with sums in float32. Nothing waits
for the device and every block size follows from shapes, so all of them can be captured into a CUDA graph once they
have run with the same shapes before. Triton comes with torch for a GPU; without it this module still imports, and
`available` says no.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from torch import Tensor

from scylla_sim.checks import fail

if TYPE_CHECKING:
    triton: Any
    tl: Any
    constexpr: TypeAlias = Any
    tensor: TypeAlias = Any
else:
    try:
        import triton
        import triton.language as tl
        from triton.language import constexpr, tensor  # annotations of kernels, which Triton reads
    except ImportError:
        triton = None

_LOG2_E = 1.4426950408889634
_MOST_SPLITS = 128
_LEAST_KEYS = 128
_FULL_WAVE = 0.85
_FP8 = torch.float8_e4m3fn


LEAST_HEAD_DIM = 16
"""Tensor cores multiply no narrower matrices."""


def available(tensor: Tensor, head_dim: int = LEAST_HEAD_DIM) -> bool:
    """Whether the kernels of this module can run on ``tensor``.

    Triton is there, the tensor is on a GPU, and ``head_dim`` is a power of two from `LEAST_HEAD_DIM` on.
    """
    fits = head_dim >= LEAST_HEAD_DIM and not head_dim & (head_dim - 1)
    return triton is not None and tensor.is_cuda and fits


def _kernel(**options: Any) -> Callable[[Callable[..., None]], Any]:
    """Have Triton compile a function at its first launch; without Triton it stays as it is."""

    def decorate(function: Callable[..., None]) -> Any:
        return function if triton is None else triton.jit(**options)(function)

    return decorate


def _ceil(count: int, size: int) -> int:
    return -(-count // size)


def _power_of_two(count: int) -> int:
    """The smallest one that is at least ``count``."""
    return 1 << max(count - 1, 0).bit_length()


# --- attention ---------------------------------------------------------------------------------------------------


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


def tile_for(rows: int, head_dim: int, element_bytes: int) -> Tile:
    """Tile for ``rows`` queries that share a KV head.

    Few queries are limited by memory: a block keeps 64 KiB of reads under way and two share an SM, far more than
    the latency of HBM asks for. 128 queries come near the limit of products: a block has an SM for itself, and wide
    tiles, since products of narrow ones wait for shared memory. In float32, without tensor cores, more than 32 do
    not fit.
    """
    height = min(max(16, _power_of_two(rows)), 128 if element_bytes == 2 else 32)
    keys = min(max(2**14 // (element_bytes * head_dim), 32), 128)
    if height == 128:
        return Tile(height, min(2 * keys, 128), 32, 8, 2, 1)
    return Tile(height, keys, 16 if height == 64 else 32, 4, 3, 2)


def splits_for(blocks: int, bound: int, places: int) -> int:
    """Pieces that each sequence of at most ``bound`` keys is cut into.

    The fewest that keep ``places`` nearly full, given ``blocks`` without a cut: a part-filled last wave wastes what
    it leaves empty. No piece of the longest sequence has fewer than 128 keys.
    """
    most = min(max(bound // _LEAST_KEYS, 1), _MOST_SPLITS)
    share = [blocks * count / (_ceil(blocks * count, places) * places) for count in range(1, most + 1)]
    enough = _FULL_WAVE * max(share)
    return next(count for count, value in enumerate(share, 1) if value >= enough)


@lru_cache(maxsize=8)
def _processors(device: torch.device) -> int:
    """SMs of a GPU; those of an H100 where there is none, as in tests."""
    if device.type != "cuda":
        return 132
    return int(torch.cuda.get_device_properties(device).multi_processor_count)


@_kernel(
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


@_kernel(do_not_specialize=["splits"])
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
        Pieces of each sequence, instead of what `splits_for` finds.

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
    if head_dim < LEAST_HEAD_DIM or head_dim & (head_dim - 1):
        raise fail("head_dim", head_dim, f"must be a power of two from {LEAST_HEAD_DIM} on")
    if num_heads % num_kv_heads:
        raise fail("num_heads", num_heads, f"must be a multiple of num_kv_heads={num_kv_heads}")
    for name, tensor in (("q", q), ("keys", keys), ("values", values), ("visible", visible)):
        if tensor.stride(-1) != 1 and tensor.shape[-1] > 1:
            raise fail(name, tensor.stride(), "must have a last stride of 1")
    group = num_heads // num_kv_heads
    tile = tile_for(group * n, head_dim, q.element_size())
    blocks = _ceil(group * n, tile.rows) * num_kv_heads
    if splits is None:
        splits = splits_for(blocks * batch, bound, tile.resident * _processors(q.device))
    elif not 1 <= splits <= _MOST_SPLITS:
        raise fail("splits", splits, f"must lie in [1, {_MOST_SPLITS}]")
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
            part, total, out, splits, HEAD_DIM=head_dim, MOST=_MOST_SPLITS, AT_ONCE=16, num_warps=4
        )
    return out.transpose(1, 2)


# --- between the products ----------------------------------------------------------------------------------------


@_kernel(do_not_specialize=["slots_batch", "slots_token", "n"])
def _rotate_and_store(
    joint: tensor,
    cos: tensor,
    sin: tensor,
    keys: tensor,
    values: tensor,
    slots: tensor,
    out: tensor,
    joint_batch: tensor,
    joint_token: tensor,
    cos_batch: tensor,
    cos_token: tensor,
    sin_batch: tensor,
    sin_token: tensor,
    k_batch: tensor,
    k_head: tensor,
    k_slot: tensor,
    v_batch: tensor,
    v_head: tensor,
    v_slot: tensor,
    slots_batch: tensor,
    slots_token: tensor,
    n: tensor,
    HEADS: constexpr,
    KV_HEADS: constexpr,
    HALF: constexpr,
    BLOCK: constexpr,
) -> None:
    """Queries, keys and values of ``BLOCK`` heads of one token; products are rounded to the dtype."""
    batch = (tl.program_id(0) // n).to(tl.int64)
    token = tl.program_id(0) % n
    head = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    inner = tl.arange(0, HALF)
    real = (head < HEADS + 2 * KV_HEADS)[:, None]
    at = joint + batch * joint_batch + token * joint_token + head[:, None] * (2 * HALF) + inner[None, :]
    first = tl.load(at, mask=real)
    second = tl.load(at + HALF, mask=real)

    dtype = first.dtype
    cos_at = cos + batch * cos_batch + token * cos_token + inner
    sin_at = sin + batch * sin_batch + token * sin_token + inner
    low = first.to(tl.float32)
    high = second.to(tl.float32)
    low_cos = (low * tl.load(cos_at).to(tl.float32)[None, :]).to(dtype).to(tl.float32)
    high_cos = (high * tl.load(cos_at + HALF).to(tl.float32)[None, :]).to(dtype).to(tl.float32)
    high_sin = (high * tl.load(sin_at).to(tl.float32)[None, :]).to(dtype).to(tl.float32)
    low_sin = (low * tl.load(sin_at + HALF).to(tl.float32)[None, :]).to(dtype).to(tl.float32)
    turned_low = (low_cos - high_sin).to(dtype)
    turned_high = (high_cos + low_sin).to(dtype)

    is_q = (head < HEADS)[:, None]
    q_at = out + tl.program_id(0).to(tl.int64) * (HEADS * 2 * HALF) + head[:, None] * (2 * HALF) + inner[None, :]
    tl.store(q_at, turned_low, mask=is_q)
    tl.store(q_at + HALF, turned_high, mask=is_q)
    slot = tl.load(slots + batch * slots_batch + token * slots_token).to(tl.int64)
    is_k = ((head >= HEADS) & (head < HEADS + KV_HEADS))[:, None]
    k_at = keys + batch * k_batch + (head - HEADS).to(tl.int64)[:, None] * k_head + slot * k_slot + inner[None, :]
    tl.store(k_at, turned_low, mask=is_k)
    tl.store(k_at + HALF, turned_high, mask=is_k)
    is_v = (head >= HEADS + KV_HEADS)[:, None] & real
    v_head_index = (head - (HEADS + KV_HEADS)).to(tl.int64)
    v_at = values + batch * v_batch + v_head_index[:, None] * v_head + slot * v_slot + inner[None, :]
    tl.store(v_at, first, mask=is_v)
    tl.store(v_at + HALF, second, mask=is_v)


def rotate_and_store(
    joint: Tensor,
    cos: Tensor,
    sin: Tensor,
    keys: Tensor,
    values: Tensor,
    slots: Tensor,
    num_heads: int,
    num_kv_heads: int,
) -> Tensor:
    """Turn new queries and keys by their positions and put keys and values into the cache.

    Parameters
    ----------
    joint
        ``(batch, n, (num_heads + 2 * num_kv_heads) * head_dim)``: queries, keys and values side by side.
    cos, sin
        ``(batch, n, head_dim)``, with an axis of 1 for the heads or without, as `gpu_validate.blocks.rotary` gives
        them. ``batch`` may be 1.
    keys, values
        ``(batch, num_kv_heads, capacity, head_dim)``, written.
    slots
        ``(batch, n)`` integers: where each token goes. No two tokens of a sequence share a slot.

    Returns
    -------
    Tensor
        Turned queries ``(batch, num_heads, n, head_dim)``, stored token by token.
    """
    batch, n, _ = joint.shape
    head_dim = keys.shape[-1]
    if head_dim < 2 or head_dim & (head_dim - 1):
        raise fail("head_dim", head_dim, "must be a power of two")
    for name, tensor in (("joint", joint), ("cos", cos), ("sin", sin), ("keys", keys), ("values", values)):
        if tensor.stride(-1) != 1:
            raise fail(name, tensor.stride(), "must have a last stride of 1")
    turn = [(part[:, 0] if part.dim() == 4 else part).expand(batch, n, head_dim) for part in (cos, sin)]
    out = joint.new_empty(batch, n, num_heads, head_dim)
    at_once = 4
    _rotate_and_store[(batch * n, _ceil(num_heads + 2 * num_kv_heads, at_once))](
        joint,
        *turn,
        keys,
        values,
        slots,
        out,
        *joint.stride()[:2],
        *turn[0].stride()[:2],
        *turn[1].stride()[:2],
        *keys.stride()[:3],
        *values.stride()[:3],
        *slots.stride(),
        n,
        HEADS=num_heads,
        KV_HEADS=num_kv_heads,
        HALF=head_dim // 2,
        BLOCK=at_once,
        num_warps=1,
    )
    return out.transpose(1, 2)


@_kernel()
def _silu_times(gate_up: tensor, out: tensor, row_stride: tensor, inner: tensor, BLOCK: constexpr) -> None:
    """``BLOCK`` elements of one row; the SiLU is rounded before the product, as torch does."""
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)
    real = column < inner
    at = gate_up + row * row_stride + column
    gate = tl.load(at, mask=real, other=0.0)
    up = tl.load(at + inner, mask=real, other=0.0).to(tl.float32)
    wide = gate.to(tl.float32)
    active = (wide / (1.0 + tl.exp(-wide))).to(gate.dtype).to(tl.float32)
    tl.store(out + row * inner + column, (active * up).to(gate.dtype), mask=real)


def silu_times(gate_up: Tensor) -> Tensor:
    """``silu(gate) * up`` of the two halves of the last axis: ``(..., 2 * inner)`` -> ``(..., inner)``."""
    inner = gate_up.shape[-1] // 2
    rows = gate_up.reshape(-1, 2 * inner)
    out = gate_up.new_empty(*gate_up.shape[:-1], inner)
    block = min(1024, _power_of_two(inner))
    _silu_times[(len(rows), _ceil(inner, block))](rows, out, rows.stride(0), inner, BLOCK=block, num_warps=4)
    return out


@_kernel()
def _add_rms_norm(
    x: tensor,
    delta: tensor,
    weight: tensor,
    joint: tensor,
    normed: tensor,
    x_row: tensor,
    delta_row: tensor,
    width: tensor,
    eps: tensor,
    BLOCK: constexpr,
) -> None:
    """One row, kept in registers between the two passes over it."""
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, BLOCK)
    real = column < width
    scale = tl.load(weight + column, mask=real, other=0.0).to(tl.float32)
    left = tl.load(x + row * x_row + column, mask=real, other=0.0)
    right = tl.load(delta + row * delta_row + column, mask=real, other=0.0)
    both = (left.to(tl.float32) + right.to(tl.float32)).to(left.dtype)
    wide = both.to(tl.float32)
    mean = tl.sum(wide * wide, 0) / width
    tl.store(joint + row * width + column, both, mask=real)
    tl.store(normed + row * width + column, (wide * tl.rsqrt(mean + eps) * scale).to(left.dtype), mask=real)


def add_rms_norm(x: Tensor, delta: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
    """``x + delta`` and its RMSNorm, ``(..., width)`` each.

    The sum is rounded to the dtype of ``x`` before the norm, as in two steps.
    """
    width = x.shape[-1]
    rows, added = x.reshape(-1, width), delta.reshape(-1, width)
    joint, normed = (torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(2))
    block = _power_of_two(width)
    warps = min(max(block // 512, 1), 16)
    _add_rms_norm[(len(rows),)](
        rows,
        added,
        weight,
        joint,
        normed,
        rows.stride(0),
        added.stride(0),
        width,
        eps,
        BLOCK=block,
        num_warps=warps,
    )
    return joint, normed


@_kernel()
def _quantise_static(
    x: tensor, inverse_scale: tensor, out: tensor, count: tensor, largest: tensor, BLOCK: constexpr
) -> None:
    """``BLOCK`` elements; 8-bit floats have no infinity, so what is too large becomes the largest."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    scaled = tl.load(x + at, mask=at < count, other=0.0).to(tl.float32) * tl.load(inverse_scale).to(tl.float32)
    bounded = tl.minimum(tl.maximum(scaled, -largest), largest)
    tl.store(out + at, bounded.to(out.dtype.element_ty), mask=at < count)


def quantise_static(x: Tensor, inverse_scale: Tensor) -> Tensor:
    """``x * inverse_scale`` in float8 (e4m3fn), cut off at its largest magnitude.

    ``inverse_scale`` is one number on the device, known before: unlike `gpu_validate.fp8.quantise`, nothing looks
    for the largest element.
    """
    dense = x.contiguous()
    out = torch.empty_like(dense, dtype=_FP8)
    block = 1024
    largest = torch.finfo(_FP8).max
    _quantise_static[(_ceil(dense.numel(), block),)](
        dense, inverse_scale, out, dense.numel(), largest, BLOCK=block, num_warps=4
    )
    return out
