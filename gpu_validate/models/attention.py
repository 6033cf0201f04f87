"""Attention of a few new tokens over a KV cache, and the placement of those tokens.

Serving engines do not mask the whole cache. They read the cached context once for all queries of a KV head, without
a mask, and mask only the new tokens. `attend` does the same with a Triton kernel on a GPU. Without Triton, it
merges the two parts by their log-sum-exp (`merged_attention`). On a CPU, one masked kernel is faster.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from gpu_validate.device.clocks import Call
from gpu_validate.models import triton_attention, triton_support

TRITON, JOINED, MASKED = "triton_split_kv", "torch_flash_joined", "torch_sdpa"
"""Kernels of the decoder: on a GPU with Triton, on a GPU without Triton, and on a CPU."""
PACKED, CAUSAL, CUDNN = "torch_flash_packed", "torch_flash_causal", "torch_cudnn"
"""Library kernels that are measured for comparison: flash attention over the context alone, flash attention by
query head, and cuDNN.
"""
PROMPT, CUDNN_PROMPT = "torch_flash_prompt", "torch_cudnn_prompt"
"""Kernels of prompts on a GPU: flash attention, which the decoder runs, and that of cuDNN for prompts without a
cached prefix.
"""

_MAX_TRITON_QUERIES = 128
"""Largest number of query tokens of the Triton kernel. Longer inputs are prompts."""


@dataclass(frozen=True)
class Placement:
    """Positions and cache slots of the tokens of a forward pass.

    Attributes
    ----------
    positions
        ``(batch, n)`` rotary positions.
    slots
        Cache slots to write: the first slot for all sequences, or ``(batch, n)``.
    lengths
        ``(batch,)`` number of leading slots of a sequence that all of its queries attend to.
    visible
        ``(n, tail)`` booleans: whether a query attends to slot ``lengths + t``.
    bound
        Upper bound of ``lengths + tail``. Later slots are not read.
    context
        ``lengths`` as one number where all sequences have the same length. Kernels then need not read it from the
        device.
    mask
        Mask over all ``bound`` slots for `masked_attention`; ``None`` where no kernel needs it.
    causal
        Whether the tokens are a chain that ends at slot ``bound``, in every sequence.
    """

    positions: Tensor
    slots: int | Tensor
    lengths: Tensor
    visible: Tensor
    bound: int
    context: int | None = None
    mask: Tensor | None = None
    causal: bool = False


def decoder_kernel(kind: str) -> str:
    """Return the name of the kernel that `attend` runs on a kind of device (``cuda`` or ``cpu``)."""
    if kind != "cuda":
        return MASKED
    return TRITON if triton_support.triton is not None else JOINED


def prompt_kernel(kind: str) -> str:
    """Return the name of the kernel that `attend` runs for a prompt on a kind of device (``cuda`` or ``cpu``)."""
    return PROMPT if kind == "cuda" else MASKED


def attend(q: Tensor, keys: Tensor, values: Tensor, place: Placement) -> Tensor:
    """Compute the attention of new tokens whose keys and values are already in the cache.

    Parameters
    ----------
    q
        ``(batch, num_heads, n, head_dim)``.
    keys, values
        ``(batch, num_kv_heads, capacity, head_dim)`` of one layer's cache.
    place
        Placement of the tokens.

    Returns
    -------
    Tensor
        ``(batch, num_heads, n, head_dim)``.
    """
    if triton_support.triton_available(q, q.shape[-1]) and q.shape[2] <= _MAX_TRITON_QUERIES:
        return triton_attention.attend(q, keys, values, place.lengths, place.visible, bound=place.bound)
    if q.is_cuda and q.dtype != torch.float32 and place.causal and q.shape[2] > _MAX_TRITON_QUERIES:
        return causal_by_query_head(q, keys[:, :, : place.bound], values[:, :, : place.bound])
    if q.is_cuda and q.dtype != torch.float32 and place.context:
        end = place.context + place.visible.shape[1]
        return merged_attention(q, keys[:, :, :end], values[:, :, :end], place.context, place.visible)
    keys, values = keys[:, :, : place.bound], values[:, :, : place.bound]
    mask = place.mask
    if mask is None and not (place.context is not None and q.shape[2] == 1):
        mask = packed_mask(visible_slots(place.lengths, place.visible, place.bound), q.shape[1] // keys.shape[1])
    return masked_attention(q, keys, values, mask)


def _pack(q: Tensor, num_kv_heads: int) -> Tensor:
    """Stack the queries of the heads that share a KV head as rows of one matrix."""
    batch, num_heads, n, head_dim = q.shape
    return q.reshape(batch, num_kv_heads, num_heads // num_kv_heads * n, head_dim)


def masked_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Compute grouped-query attention in one kernel with a mask over the whole cache.

    Parameters
    ----------
    q
        ``(batch, num_heads, n, head_dim)``.
    k, v
        ``(batch, num_kv_heads, kv_len, head_dim)``.
    mask
        Mask from `causal_mask` or `packed_mask`. With ``None`` every query attends to every key, as a single query
        does.
    """
    joint: Tensor = functional.scaled_dot_product_attention(_pack(q, k.shape[1]), k, v, attn_mask=mask)
    return joint.reshape(q.shape)


def _flash(q: Tensor, k: Tensor, v: Tensor, *, causal: bool = False) -> tuple[Tensor, Tensor]:
    """Return the outputs of torch's flash attention and the log-sum-exp of its scores."""
    if q.device.type == "cuda":
        out = torch.ops.aten._scaled_dot_product_flash_attention(q, k, v, 0.0, causal)
    else:
        out = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(q, k, v, 0.0, causal)
    return out[0], out[1]


def packed_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Compute flash attention over a context that all queries share: a lower bound for verification."""
    return _flash(_pack(q, k.shape[1]), k, v)[0].reshape(q.shape)


def causal_by_query_head(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Compute flash attention with its built-in causal mask. Every query head reads the cache separately."""
    return _flash(q, k, v, causal=True)[0]


def cudnn_prompt(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Compute causal attention of whole prompts with the kernel of cuDNN."""
    with sdpa_kernel(SDPBackend.CUDNN_ATTENTION):
        return functional.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)


def cudnn_attention(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None = None) -> Tensor:
    """Compute `masked_attention` with the kernel of cuDNN."""
    with sdpa_kernel(SDPBackend.CUDNN_ATTENTION):
        return masked_attention(q, k, v, mask)


def merged_attention(q: Tensor, k: Tensor, v: Tensor, context: int, visible: Tensor) -> Tensor:
    """Attend context and new tokens separately and merge the parts by their log-sum-exp.

    Only the new tokens need a mask.

    Parameters
    ----------
    q
        ``(batch, num_heads, n, head_dim)``.
    k, v
        ``(batch, num_kv_heads, context + tail, head_dim)``.
    context
        Number of slots that every query attends to, at least 1.
    visible
        ``(n, tail)`` booleans: the triangle of a chain, or the ancestors of each node of a tree.

    Notes
    -----
    With scores in two parts, the softmax over both is a mean of the two outputs, weighted by ``exp`` of their
    log-sum-exp. Source: Dao et al., FlashAttention, arXiv 2205.14135, section 3.1.
    """
    rows = _pack(q, k.shape[1])
    group = q.shape[1] // k.shape[1]
    old, old_lse = _flash(rows, k[:, :, :context], v[:, :, :context])
    scores = (rows @ k[:, :, context:].transpose(-1, -2)).float() * q.shape[-1] ** -0.5
    scores = scores.masked_fill(~visible.repeat(group, 1), -torch.inf)
    new_lse = scores.logsumexp(-1)
    new = (scores - new_lse[..., None]).exp().to(q.dtype) @ v[:, :, context:]
    share = torch.sigmoid(old_lse - new_lse)[..., None]
    both: Tensor = old.float() * share + new.float() * (1.0 - share)
    return both.to(q.dtype).reshape(q.shape)


def causal_mask(q_len: int, kv_len: int, group: int, device: torch.device) -> Tensor | None:
    """Return the mask of the last ``q_len`` of ``kv_len`` tokens, for ``group`` query heads per KV head."""
    if q_len == 1:
        return None
    causal = torch.ones(q_len, kv_len, dtype=torch.bool, device=device).tril(kv_len - q_len)
    return causal.repeat(group, 1)


def packed_mask(visible: Tensor, group: int) -> Tensor:
    """Return the mask for `masked_attention` from ``visible`` ``(batch, q_len, kv_len)``."""
    return visible[:, None].repeat(1, 1, group, 1)


def visible_slots(lengths: Tensor, visible: Tensor, bound: int) -> Tensor:
    """Return the slots that each query attends to, ``(batch, n, bound)``, from the fields of a `Placement`."""
    tail = visible.shape[1]
    offset = torch.arange(bound, device=lengths.device) - lengths[:, None]
    within = visible[:, offset.clamp(0, tail - 1)].transpose(0, 1)
    return (offset < 0)[:, None] | (within & ((offset >= 0) & (offset < tail))[:, None])


def causal_visibility(n: int, device: torch.device) -> Tensor:
    """Return ``visible`` of ``n`` tokens in a row: each token attends to itself and to those before it."""
    return torch.ones(n, n, dtype=torch.bool, device=device).tril()


def kernel_calls(kernel: str, q: Tensor, pairs: Sequence[Sequence[Tensor]]) -> Sequence[Call]:
    """Return one call of a kernel for each cache.

    The queries are the last tokens of the cache, a chain.

    Parameters
    ----------
    kernel
        Name of a kernel, such as `TRITON` or `PACKED`.
    q
        ``(batch, num_heads, n, head_dim)``.
    pairs
        Keys and values of each cache.
    """
    q_len, kv_len = q.shape[2], pairs[0][0].shape[2]
    device, group = q.device, q.shape[1] // pairs[0][0].shape[1]
    context, visible = kv_len - q_len, causal_visibility(q_len, q.device)
    if kernel == TRITON:
        lengths = torch.full((len(q),), context, device=device)
        return [
            lambda k=k, v=v: triton_attention.attend(q, k, v, lengths, visible, bound=kv_len)  # type: ignore[misc]
            for k, v in pairs
        ]
    if kernel == JOINED and q_len > 1:
        return [lambda k=k, v=v: merged_attention(q, k, v, context, visible) for k, v in pairs]  # type: ignore[misc]
    if kernel in (PACKED, JOINED):
        return [lambda k=k, v=v: packed_attention(q, k, v) for k, v in pairs]  # type: ignore[misc]
    if kernel == CUDNN_PROMPT:
        return [lambda k=k, v=v: cudnn_prompt(q, k, v) for k, v in pairs]  # type: ignore[misc]
    if kernel in (CAUSAL, PROMPT):
        return [lambda k=k, v=v: causal_by_query_head(q, k, v) for k, v in pairs]  # type: ignore[misc]
    run = cudnn_attention if kernel == CUDNN else masked_attention
    mask = causal_mask(q_len, kv_len, group, device)
    return [lambda k=k, v=v: run(q, k, v, mask) for k, v in pairs]  # type: ignore[misc]
