"""Seconds of attention with several query tokens, by the backend that an engine runs."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from scylla_sim.checks import FloatArray
from scylla_sim.kernels.attention import ATTENTION_WAVES, ROWS_PER_TILE, AttentionWaves
from scylla_sim.kernels.device_rates import Rates, smooth_max
from scylla_sim.kernels.model import KernelModel
from scylla_sim.ops.op import Columns, cached, kv_bytes, query_bytes
from scylla_sim.specs.attention_backend import HEAD, PACKED, AttentionBackend


def unsplit_seconds(
    p: AttentionWaves, c: Columns, r: Rates, *, per_head: bool, compute_fraction: float
) -> FloatArray:
    """Return the seconds of attention whose CTAs read the whole context of a sequence.

    Parameters
    ----------
    per_head
        Whether a CTA holds the query tokens of one query head; otherwise those of all query heads of a KV head.
    compute_fraction
        Share of the peak of one SM that a CTA reaches.

    Notes
    -----
    - A CTA computes whole tiles of 64 query rows over the whole context. With fewer CTAs than SMs, the time is that
      of one CTA. Otherwise the SMs share the CTAs.
    - All tiles of a KV head read its cache. Each one after the first reads ``reread_fraction`` of it from memory,
      because they run at the same time and share L2.
    - Nothing is merged, and queries are not reordered.

    Source: FlashAttention-2, ``csrc/flash_attn/flash_api.cpp``, ``mha_varlen_fwd``.
    """
    kv, kv_heads = kv_bytes(c, r.size), c["num_kv_heads"]
    group = c["num_heads"] / kv_heads
    tiles = group * np.ceil(c["q_len"] / ROWS_PER_TILE) if per_head else np.ceil(group * c["q_len"] / ROWS_PER_TILE)
    ctas = c["batch"] * kv_heads * tiles
    one_s = 4.0 * ROWS_PER_TILE * cached(c) * c["head_dim"] * r.sm_count / (compute_fraction * r.flop_per_s)
    cold = 1.0 / (1.0 + (p.l2_fill * r.l2_bytes / kv) ** 8)
    slowing = (1.0 + p.reread_fraction * (tiles - 1.0)) * (cold + (1.0 - cold) / p.l2_ratio)
    memory = kv * slowing * kv_heads ** np.log2(p.stride_ratio) / (p.bandwidth_fraction * r.bytes_per_s)
    math = one_s * np.maximum(ctas / r.sm_count, 1.0)
    queries = p.query_ratio * query_bytes(c, r.size) / r.bytes_per_s
    fixed = p.launch_s + p.write_s * kv_heads + p.cold_s * cold + queries
    return fixed + smooth_max(p.overlap_norm, memory, math)


def _seconds(p: Any, c: Columns, r: Rates, *, fitted: KernelModel, backend: AttentionBackend) -> FloatArray:
    """Return the seconds of the fitted kernel, and of the backend where there are several query tokens.

    Several query tokens never take less time than one. A backend may slow down one query token too, and add
    ``call_s`` to every call.
    """
    several, call_s = c["q_len"] > 1.0, backend.value("call_s", 0.0)
    as_fitted = fitted.seconds(p, c, r)
    one_token = as_fitted * backend.value("one_token_slowdown", 1.0) + call_s
    if not np.any(several):
        return one_token
    verify = as_fitted
    if backend.tiling != PACKED:
        fraction = backend.value("compute_fraction", p.compute_fraction)
        verify = unsplit_seconds(p, c, r, per_head=backend.tiling == HEAD, compute_fraction=fraction)
        verify = np.maximum(verify, fitted.seconds(p, {**c, "q_len": np.ones_like(c["q_len"])}, r))
    return np.where(several, verify * backend.value("slowdown", 1.0) + call_s, one_token)


def with_backend(model: KernelModel, backend: AttentionBackend) -> KernelModel:
    """Return a model of attention that uses a backend for several query tokens.

    Only the parameters of `ATTENTION_WAVES` describe tiles that are not packed; other models keep their tiles.
    """
    if backend.tiling != PACKED and model.name != ATTENTION_WAVES.name:
        return model
    return replace(model, seconds=partial(_seconds, fitted=model, backend=backend))
