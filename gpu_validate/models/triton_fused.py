"""Fused kernels of a decoding step between its GEMMs, in Triton.

Each function replaces a few operations of torch by one pass over memory, with sums in float32. Calls can be
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
    heads: constexpr,
    kv_heads: constexpr,
    half: constexpr,
    block: constexpr,
) -> None:
    """Rotate and store ``block`` heads of one token. Products are rounded to the dtype."""
    batch = (tl.program_id(0) // n).to(tl.int64)
    token = tl.program_id(0) % n
    head = tl.program_id(1) * block + tl.arange(0, block)
    inner = tl.arange(0, half)
    real = (head < heads + 2 * kv_heads)[:, None]
    at = joint + batch * joint_batch + token * joint_token + head[:, None] * (2 * half) + inner[None, :]
    first = tl.load(at, mask=real)
    second = tl.load(at + half, mask=real)

    dtype = first.dtype
    cos_at = cos + batch * cos_batch + token * cos_token + inner
    sin_at = sin + batch * sin_batch + token * sin_token + inner
    low = first.to(tl.float32)
    high = second.to(tl.float32)
    low_cos = (low * tl.load(cos_at).to(tl.float32)[None, :]).to(dtype).to(tl.float32)
    high_cos = (high * tl.load(cos_at + half).to(tl.float32)[None, :]).to(dtype).to(tl.float32)
    high_sin = (high * tl.load(sin_at).to(tl.float32)[None, :]).to(dtype).to(tl.float32)
    low_sin = (low * tl.load(sin_at + half).to(tl.float32)[None, :]).to(dtype).to(tl.float32)
    turned_low = (low_cos - high_sin).to(dtype)
    turned_high = (high_cos + low_sin).to(dtype)

    is_q = (head < heads)[:, None]
    q_at = out + tl.program_id(0).to(tl.int64) * (heads * 2 * half) + head[:, None] * (2 * half) + inner[None, :]
    tl.store(q_at, turned_low, mask=is_q)
    tl.store(q_at + half, turned_high, mask=is_q)
    slot = tl.load(slots + batch * slots_batch + token * slots_token).to(tl.int64)
    is_k = ((head >= heads) & (head < heads + kv_heads))[:, None]
    k_at = keys + batch * k_batch + (head - heads).to(tl.int64)[:, None] * k_head + slot * k_slot + inner[None, :]
    tl.store(k_at, turned_low, mask=is_k)
    tl.store(k_at + half, turned_high, mask=is_k)
    is_v = (head >= heads + kv_heads)[:, None] & real
    v_head_index = (head - (heads + kv_heads)).to(tl.int64)
    v_at = values + batch * v_batch + v_head_index[:, None] * v_head + slot * v_slot + inner[None, :]
    tl.store(v_at, first, mask=is_v)
    tl.store(v_at + half, second, mask=is_v)


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
    """Rotate new queries and keys by their positions, and write keys and values into the cache.

    Parameters
    ----------
    joint
        ``(batch, n, (num_heads + 2 * num_kv_heads) * head_dim)``: queries, keys and values side by side.
    cos, sin
        ``(batch, n, head_dim)`` from `gpu_validate.models.decoder.rotary`, with or without an axis of 1 for the
        heads. ``batch`` may be 1.
    keys, values
        ``(batch, num_kv_heads, capacity, head_dim)``, written in place.
    slots
        ``(batch, n)`` integers: the slot of each token. No two tokens of a sequence share a slot.
    num_heads, num_kv_heads
        Heads of queries and of keys.

    Returns
    -------
    Tensor
        Rotated queries ``(batch, num_heads, n, head_dim)``, stored token by token.

    Raises
    ------
    InputError
        When the head size or a stride is not supported.
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
        heads=num_heads,
        kv_heads=num_kv_heads,
        half=head_dim // 2,
        block=at_once,
        num_warps=1,
    )
    return out.transpose(1, 2)


@jit()
def _silu_times(gate_up: tensor, out: tensor, row_stride: tensor, inner: tensor, block: constexpr) -> None:
    """Process ``block`` elements of one row. The SiLU is rounded before the multiplication, as in torch."""
    row = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * block + tl.arange(0, block)
    real = column < inner
    at = gate_up + row * row_stride + column
    gate = tl.load(at, mask=real, other=0.0)
    up = tl.load(at + inner, mask=real, other=0.0).to(tl.float32)
    wide = gate.to(tl.float32)
    active = (wide / (1.0 + tl.exp(-wide))).to(gate.dtype).to(tl.float32)
    tl.store(out + row * inner + column, (active * up).to(gate.dtype), mask=real)


def silu_times(gate_up: Tensor) -> Tensor:
    """Return ``silu(gate) * up`` of the two halves of the last axis: ``(..., 2 * inner)`` to ``(..., inner)``."""
    inner = gate_up.shape[-1] // 2
    rows = gate_up.reshape(-1, 2 * inner)
    out = gate_up.new_empty(*gate_up.shape[:-1], inner)
    block = min(1024, next_power_of_two(inner))
    _silu_times[(len(rows), ceil_divide(inner, block))](rows, out, rows.stride(0), inner, block=block, num_warps=4)
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
    block: constexpr,
) -> None:
    """Process one row, which stays in registers between the two passes over it."""
    row = tl.program_id(0).to(tl.int64)
    column = tl.arange(0, block)
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
    """Return ``x + delta`` and its RMSNorm, ``(..., width)`` each.

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
        block=block,
        num_warps=warps,
    )
    return joint, normed


@jit()
def _quantize_static(
    x: tensor, inverse_scale: tensor, out: tensor, count: tensor, largest: tensor, block: constexpr
) -> None:
    """Quantize ``block`` elements. 8-bit floats have no infinity, so large values are clipped."""
    at = tl.program_id(0).to(tl.int64) * block + tl.arange(0, block)
    scaled = tl.load(x + at, mask=at < count, other=0.0).to(tl.float32) * tl.load(inverse_scale).to(tl.float32)
    bounded = tl.minimum(tl.maximum(scaled, -largest), largest)
    tl.store(out + at, bounded.to(out.dtype.element_ty), mask=at < count)


def quantize_static(x: Tensor, inverse_scale: Tensor) -> Tensor:
    """Return ``x * inverse_scale`` in float8 (e4m3fn), clipped to its largest magnitude.

    ``inverse_scale`` is one number on the device that is known before the call. Unlike
    `gpu_validate.models.fp8.quantize`, it does not search for the largest element.
    """
    dense = x.contiguous()
    out = torch.empty_like(dense, dtype=_FP8)
    block = 1024
    largest = torch.finfo(_FP8).max
    _quantize_static[(ceil_divide(dense.numel(), block),)](
        dense, inverse_scale, out, dense.numel(), largest, block=block, num_warps=4
    )
    return out
