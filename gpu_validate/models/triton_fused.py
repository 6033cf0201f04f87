"""The work of a decoding step between its matrix products, in Triton: one kernel where an engine has one.

Each function computes what a few lines of torch would, in one pass over memory, with sums in float32. Calls can be
captured into a CUDA graph as those of `gpu_validate.models.triton_attention`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from gpu_validate.models.triton_support import ceil_divide, constexpr, jit, next_power_of_two, tensor, tl
from scylla_sim.checks import fail

_FP8 = torch.float8_e4m3fn


@jit(do_not_specialize=["slots_batch", "slots_token", "n"])
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
        ``(batch, n, head_dim)``, with an axis of 1 for the heads or without, as
        `gpu_validate.models.decoder.rotary` gives them. ``batch`` may be 1.
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
    for name, given in (("joint", joint), ("cos", cos), ("sin", sin), ("keys", keys), ("values", values)):
        if given.stride(-1) != 1:
            raise fail(name, given.stride(), "must have a last stride of 1")
    turn = [(part[:, 0] if part.dim() == 4 else part).expand(batch, n, head_dim) for part in (cos, sin)]
    out = joint.new_empty(batch, n, num_heads, head_dim)
    at_once = 4
    _rotate_and_store[(batch * n, ceil_divide(num_heads + 2 * num_kv_heads, at_once))](
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


@jit()
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
    block = min(1024, next_power_of_two(inner))
    _silu_times[(len(rows), ceil_divide(inner, block))](rows, out, rows.stride(0), inner, BLOCK=block, num_warps=4)
    return out


@jit()
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
    block = next_power_of_two(width)
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


@jit()
def _quantize_static(
    x: tensor, inverse_scale: tensor, out: tensor, count: tensor, largest: tensor, BLOCK: constexpr
) -> None:
    """``BLOCK`` elements; 8-bit floats have no infinity, so what is too large becomes the largest."""
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    scaled = tl.load(x + at, mask=at < count, other=0.0).to(tl.float32) * tl.load(inverse_scale).to(tl.float32)
    bounded = tl.minimum(tl.maximum(scaled, -largest), largest)
    tl.store(out + at, bounded.to(out.dtype.element_ty), mask=at < count)


def quantize_static(x: Tensor, inverse_scale: Tensor) -> Tensor:
    """``x * inverse_scale`` in float8 (e4m3fn), cut off at its largest magnitude.

    ``inverse_scale`` is one number on the device, known before: unlike `gpu_validate.models.fp8.quantize`, nothing
    looks for the largest element.
    """
    dense = x.contiguous()
    out = torch.empty_like(dense, dtype=_FP8)
    block = 1024
    largest = torch.finfo(_FP8).max
    _quantize_static[(ceil_divide(dense.numel(), block),)](
        dense, inverse_scale, out, dense.numel(), largest, BLOCK=block, num_warps=4
    )
    return out
