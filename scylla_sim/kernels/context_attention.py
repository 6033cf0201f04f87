"""Seconds of context attention: the new tokens of prompts attend to each other, and to a cached prefix."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scylla_sim.checks import FloatArray
from scylla_sim.kernels.attention import HEADS_RULE, group_names, lookup
from scylla_sim.kernels.device_rates import Rates, smooth_max
from scylla_sim.kernels.model import KernelModel, parameter
from scylla_sim.kernels.operation import (
    ColumnRule,
    Execution,
    FitSettings,
    Operation,
    OpKind,
    TableColumns,
)
from scylla_sim.ops.op import Columns, context_flops, context_kv_bytes, query_bytes
from scylla_sim.specs.hardware import Hardware

TILE_ROWS = 128.0
"""Query rows of a CTA. Source: FlashAttention-2 and -3 at head size 128; other sizes use 64 to 192 rows."""
TILE_KEYS = 64.0
"""Keys to which a CTA rounds up. Source: FlashAttention-2 at head size 128; other kernels use 32 to 176 keys."""


@dataclass(frozen=True)
class ContextTiles:
    """Parameters of `context_tiles_seconds` and `context_packed_seconds`."""

    launch_s: float = parameter(1.0e-5, 0.5, "Launch latency of the attention and of the write to the cache.")
    compute_fraction: float = parameter(0.65, 0.4, "Achieved fraction of the 16-bit peak.")
    bandwidth_fraction: float = parameter(0.7, 0.4, "Achieved fraction of the memory bandwidth.")
    write_passes: float = parameter(2.0, 0.7, "Passes over the new keys and values for writing the cache.")
    token_s: float = parameter(3e-10, 1.5, "Seconds of each new token of any sequence.")
    cta_s: float = parameter(5e-7, 1.0, "Seconds to start and end one CTA.")
    chain_ratio: float = parameter(0.5, 0.7, "Share of the longest CTA that other CTAs do not hide.")
    overlap_norm: float = parameter(2.0, 0.5, "Norm that combines arithmetic, longest CTA and memory.")


def _tile_keys(c: Columns, tiles: FloatArray, span: FloatArray) -> FloatArray:
    """Return the keys of one sequence and head, summed over its tiles.

    Tile i attends to the cached prefix and to the first ``(i + 1) span`` new tokens, at most to a window.
    """
    old = c["kv_len"] - c["q_len"]
    limit = np.where(c["window"] > 0, c["window"] + span, np.inf)
    full = np.clip(np.floor((limit - old) / span), 0.0, tiles)  # tiles that the window does not cut
    cut = np.where(full < tiles, tiles - full, 0.0) * np.where(c["window"] > 0, limit, 0.0)
    empty = tiles * span - np.ceil(c["q_len"] / TILE_KEYS) * TILE_KEYS  # keys beyond the end of the last tile
    unused = np.where(full == tiles, np.maximum(empty, 0.0), 0.0)
    keys: FloatArray = full * old + span * full * (full + 1.0) / 2.0 + cut - unused
    return keys


def _seconds(p: ContextTiles, c: Columns, r: Rates, packed: FloatArray) -> FloatArray:
    """Return the seconds of tiles that pack the query rows of ``packed`` heads."""
    heads, span = c["batch"] * c["num_heads"] / packed, TILE_ROWS / packed
    tiles = np.ceil(c["q_len"] / span)
    peak = p.compute_fraction * r.flop_per_s
    row_flops = 4.0 * c["head_dim"] * TILE_ROWS
    math = heads * (row_flops * _tile_keys(c, tiles, span) / peak + p.cta_s * tiles / r.sm_count)
    longest_keys = np.where(c["window"] > 0, np.minimum(c["kv_len"], c["window"] + span), c["kv_len"])
    longest = p.chain_ratio * (row_flops * longest_keys * r.sm_count / peak + p.cta_s)
    achieved = p.bandwidth_fraction * r.bytes_per_s
    fresh = 2.0 * r.size.output * c["batch"] * c["q_len"] * c["num_kv_heads"] * c["head_dim"]
    write = p.write_passes * fresh / achieved
    memory = (query_bytes(c, r.size) + context_kv_bytes(c, r.size)) / achieved
    fixed = p.launch_s + p.token_s * c["batch"] * c["q_len"] + write
    return fixed + smooth_max(p.overlap_norm, math, longest, memory)


def context_tiles_seconds(p: ContextTiles, c: Columns, r: Rates) -> FloatArray:
    """Return the seconds of context attention whose CTAs work on one query head each.

    Notes
    -----
    - A CTA takes `TILE_ROWS` queries of one head. It attends to the cached prefix and to the new tokens up to its
      last one, rounded up to tiles. Causal tiles are half of the square plus the diagonal.
    - CTAs share the SMs. The longest one reads all keys, and the others hide it only in part.
    - New keys and values are first written to the cache, by a kernel of its own.
    """
    return _seconds(p, c, r, np.ones_like(c["num_heads"]))


def context_packed_seconds(p: ContextTiles, c: Columns, r: Rates) -> FloatArray:
    """Return the seconds of context attention whose CTAs pack the query heads of a KV head.

    A tile of `TILE_ROWS` rows then holds fewer tokens, so short prompts waste less of it. The rest is as in
    `context_tiles_seconds`.

    Source: ``hopper/heuristics.h`` of FlashAttention, `should_pack_gqa`: prompts of several lengths are packed.
    """
    return _seconds(p, c, r, c["num_heads"] / c["num_kv_heads"])


_COLUMNS = ("batch", "q_len", "kv_len", "num_heads", "num_kv_heads", "head_dim", "window")

CONTEXT_TILES = KernelModel("context_tiles", ContextTiles(), _COLUMNS, context_tiles_seconds)
CONTEXT_PACKED = KernelModel("context_packed", ContextTiles(), _COLUMNS, context_packed_seconds)


@dataclass(frozen=True)
class ContextRoofline:
    """Parameters of `context_achieved_roofline_seconds`."""

    bandwidth_fraction: float = parameter(0.5, 1.0, "Achieved fraction of the memory bandwidth.")
    compute_fraction: float = parameter(0.3, 1.0, "Achieved fraction of the peak.")
    launch_s: float = parameter(2e-5, 1.5, "Launch latency.")


def context_achieved_roofline_seconds(p: ContextRoofline, c: Columns, r: Rates) -> FloatArray:
    """Return the seconds of context attention on a CPU: a roofline with achieved fractions."""
    memory = (query_bytes(c, r.size) + context_kv_bytes(c, r.size)) / (p.bandwidth_fraction * r.bytes_per_s)
    return p.launch_s + np.maximum(memory, context_flops(c) / (p.compute_fraction * r.flop_per_s))


CONTEXT_ROOFLINE = KernelModel("context_roofline", ContextRoofline(), _COLUMNS, context_achieved_roofline_seconds)


def _models_for(dtype: str, hardware: Hardware, library: str) -> tuple[KernelModel, ...]:
    return (CONTEXT_ROOFLINE,) if hardware.sm_count == 0 else (CONTEXT_TILES, CONTEXT_PACKED)


def _roofline_seconds(c: Columns, r: Rates) -> FloatArray:
    moved = context_kv_bytes(c, r.size) + query_bytes(c, r.size)
    return np.maximum(context_flops(c) / r.flop_per_s, moved / r.bytes_per_s)


_LENGTHS = ColumnRule(
    column="kv_len",
    broken=lambda c: c["kv_len"] < c["q_len"],
    text=lambda c, at: f"must be at least q_len={c['q_len'][at]:g}, whose tokens it includes",
)


CONTEXT_ATTENTION = Operation(
    name="context_attention",
    models=(CONTEXT_TILES, CONTEXT_PACKED, CONTEXT_ROOFLINE),
    models_for=_models_for,
    roofline_seconds=_roofline_seconds,
    table=TableColumns(
        required=("batch", "q_len", "kv_len", "num_heads", "num_kv_heads", "head_dim"),
        optional={"window": 0.0, "calls_per_graph": 0.0},
        rules=(HEADS_RULE, _LENGTHS),
    ),
    fit=FitSettings(
        min_rows=16,
        residual_scale=0.04,
        size_columns=("batch", "q_len", "num_heads"),
        cv_groups=("num_heads", "num_kv_heads"),
    ),
    kinds=(
        OpKind("context_attention", (Execution("context_attention"),)),
        OpKind("chunk_attention", (Execution("context_attention", fallback=True),)),
    ),
    group_names=group_names,
    lookup=lookup,
    group_columns=("head_dim",),
)
"""Attention of ``q_len`` new tokens of each prompt, which are the last of ``kv_len`` tokens.

Notes
-----
Fresh prompts have ``kv_len`` equal to ``q_len``; only they were measured. A chunk of a longer prompt, or a prompt
with a cached prefix, also attends to ``kv_len - q_len`` older tokens (``chunk_attention``). Its evidence is
``theory``, and its interval is wider.
"""
