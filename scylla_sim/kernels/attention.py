"""Seconds of attention over a KV cache: one query token per sequence (decode) or several (verify)."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scylla_sim.checks import FloatArray, fail
from scylla_sim.kernels.device_rates import Rates, smooth_max
from scylla_sim.kernels.model import KernelModel, parameter
from scylla_sim.kernels.operation import (
    ColumnRule,
    Execution,
    FitSettings,
    KernelQuery,
    Labels,
    Operation,
    OpKind,
    TableColumns,
    with_sources,
)
from scylla_sim.ops.op import Columns, attention_flops, cached, kv_bytes, query_bytes
from scylla_sim.specs.attention_backend import GROUPED
from scylla_sim.specs.hardware import Hardware

ROWS_PER_TILE = 64.0
"""Query rows (tokens times heads per KV head) that share one pass over the keys in packed-GQA kernels."""

SPLIT_ELEMENTS = 16384.0
"""Keys of a head (tokens times head size) beyond which FlashAttention-2 splits a head over CTAs.

This is one block: 128 keys at head size 128, 256 keys at 64, or 64 keys at 256. Rows of other kernels show the same
step. Source: ``csrc/flash_attn/flash_api.cpp``.
"""

SCHEDULED_SEQUENCES = 512.0
"""Largest batch in which every sequence adds time in vLLM's rows: the largest batch that vLLM captures by default.

A captured kernel is launched for the largest number of splits it may use
(``flash_attn_max_num_splits_for_cuda_graph``, 32). Beyond the captured batch it is launched for the splits it
needs. With heads of 512 on H100, 512 sequences take 2.0 ms and 1024 sequences take 0.18 ms.
"""


# -- Attention on a GPU ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class AttentionWaves:
    """Parameters of `attention_waves_seconds`."""

    bandwidth_fraction: float = parameter(0.93, 0.15, "Achieved fraction of the memory bandwidth.")
    launch_s: float = parameter(1.05e-5, 0.4, "Launch latency.")
    wave_s: float = parameter(2.7e-6, 0.7, "Seconds of each wave of CTAs after the first.")
    l2_ratio: float = parameter(2.0, 0.5, "Speed of L2 over memory for KV that stays in L2.")
    cold_s: float = parameter(3.5e-6, 0.7, "Extra seconds when the KV cache does not fit in L2.")
    head_ratio: float = parameter(0.35, 0.7, "Fraction of the memory bandwidth that reaches one KV head.")
    overlap_norm: float = parameter(3.0, 0.2, "Norm that combines memory, one head's stream and arithmetic.")
    l2_fill: float = parameter(0.8, 0.15, "Fraction of L2 that holds the KV cache.")
    compute_fraction: float = parameter(0.6, 0.3, "Achieved fraction of the peak.")
    reread_fraction: float = parameter(0.1, 1.0, "Fraction of the KV that each further query tile reads again.")
    wave_norm: float = parameter(1.8, 0.4, "Norm that combines waves with the rest; 1: sum, 8: nearly the maximum.")
    copy_s: float = parameter(3e-7, 1.5, "Seconds to reorder queries and outputs by KV head.")
    merge_s: float = parameter(1.5e-6, 1.0, "Seconds to merge the parts of a split head.")
    unsplit_ratio: float = parameter(1.0, 1.5, "Relative stream rate of a head that one CTA reads alone.")
    query_ratio: float = parameter(1.2, 1.0, "Passes over queries and outputs at the memory bandwidth.")
    sequence_s: float = parameter(4e-9, 1.0, "Scheduling seconds per sequence.")
    stride_ratio: float = parameter(1.0, 0.005, "Factor on reads per doubling of the KV heads side by side.")
    write_s: float = parameter(4e-8, 0.7, "Seconds per KV head for writing new keys and values.")
    chain_s: float = parameter(4e-7, 1.0, "Extra merge seconds per doubling of the keys.")


def attention_waves_seconds(p: AttentionWaves, c: Columns, r: Rates) -> FloatArray:
    """Return the seconds of decode and verify attention on a GPU.

    The time is a fixed part, plus a smooth maximum of CTA waves and the slowest of memory stream, single head and
    arithmetic.

    Notes
    -----
    - The fixed part grows by ``write_s`` per KV head, as if one CTA wrote the new keys and values of a sequence. On
      B200 it is 9 us with one KV head and 17 us with 96.
    - KV that exceeds L2 is read at the achieved bandwidth and costs ``cold_s`` once. KV that stays in L2 is read
      ``l2_ratio`` times as fast.
    - Heads that lie side by side for each token are read in short runs. Reads slow down by ``stride_ratio`` per
      doubling of the number of KV heads: 1.02-1.04 with L40S's GDDR6, 1 with HBM.
    - All CTAs together read one head at ``head_ratio`` of the bandwidth. Combining their parts takes ``merge_s``,
      plus ``chain_s`` per doubling of the keys.
    - FlashAttention-2 does not split heads with a single query head; one CTA streams such a head
      (``unsplit_ratio``). It copies queries and results where their memory order differs from that of the KV heads
      (``copy_s``).
    - Tensor cores compute whole tiles of query rows, even if a tile is partly filled.
    - Waves of CTAs after the first hide behind the reading or add to it, depending on the library. ``wave_norm``
      sets which.
    """
    kv, kv_heads, rows = kv_bytes(c, r.size), c["num_kv_heads"], c["q_len"] * c["num_heads"]
    heads, grouped = c["batch"] * kv_heads, c["num_heads"] > kv_heads
    tiles = np.ceil(rows / kv_heads / ROWS_PER_TILE)
    cold = 1.0 / (1.0 + (p.l2_fill * r.l2_bytes / kv) ** 8)
    passes = 1.0 + p.reread_fraction * (tiles - 1.0)
    slowing = passes * kv_heads ** np.log2(p.stride_ratio) * (cold + (1.0 - cold) / p.l2_ratio)
    memory = kv * slowing / (p.bandwidth_fraction * r.bytes_per_s)
    stream = kv / heads / (np.where(grouped, p.head_ratio, p.head_ratio * p.unsplit_ratio) * r.bytes_per_s)
    math = attention_flops(c) * (tiles * ROWS_PER_TILE * kv_heads / rows) / (p.compute_fraction * r.flop_per_s)
    blocks = cached(c) * c["head_dim"] / SPLIT_ELEMENTS
    merge = np.where(blocks > 1.0, p.merge_s + p.chain_s * np.log2(np.maximum(blocks, 1.0)), 0.0)
    waves = p.wave_s * (np.ceil(heads * tiles / r.sm_count) - 1.0)
    copy = np.where(grouped & (kv_heads > 1.0) & (c["batch"] > 1.0), p.copy_s, 0.0)
    scheduling = p.sequence_s * np.minimum(c["batch"], SCHEDULED_SEQUENCES)
    queries = p.query_ratio * query_bytes(c, r.size) / r.bytes_per_s
    fixed = p.launch_s + p.write_s * kv_heads + p.cold_s * cold + copy + scheduling + queries
    return fixed + smooth_max(p.wave_norm, waves, merge + smooth_max(p.overlap_norm, memory, stream, math))


# -- Attention on a CPU ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class AttentionRoofline:
    """Parameters of `attention_achieved_roofline_seconds`."""

    bandwidth_fraction: float = parameter(0.5, 1.0, "Achieved fraction of the memory bandwidth.")
    compute_fraction: float = parameter(0.3, 1.0, "Achieved fraction of the peak.")
    launch_s: float = parameter(2e-5, 1.5, "Launch latency.")
    overlap_norm: float = parameter(3.0, 0.5, "Norm that combines memory and arithmetic; large: maximum.")
    reread_fraction: float = parameter(0.1, 1.5, "Fraction of the KV that each further query token reads again.")


def attention_achieved_roofline_seconds(p: AttentionRoofline, c: Columns, r: Rates) -> FloatArray:
    """Return the seconds of attention on a CPU: a roofline with achieved fractions and repeated reads of the KV."""
    passes = 1.0 + p.reread_fraction * (c["q_len"] - 1.0)
    moved = kv_bytes(c, r.size) * passes + query_bytes(c, r.size)
    memory = moved / (p.bandwidth_fraction * r.bytes_per_s)
    math = attention_flops(c) / (p.compute_fraction * r.flop_per_s)
    return p.launch_s + smooth_max(p.overlap_norm, memory, math)


# -- The operation ---------------------------------------------------------------------------------------------

_COLUMNS = ("batch", "kv_len", "q_len", "num_heads", "num_kv_heads", "head_dim", "window")

ATTENTION_WAVES = KernelModel("attention_waves", AttentionWaves(), _COLUMNS, attention_waves_seconds)
ATTENTION_ROOFLINE = KernelModel(
    "attention_roofline", AttentionRoofline(), _COLUMNS, attention_achieved_roofline_seconds
)


def _models_for(dtype: str, hardware: Hardware, library: str) -> tuple[KernelModel, ...]:
    return (ATTENTION_ROOFLINE,) if hardware.sm_count == 0 else (ATTENTION_WAVES,)


def _roofline_seconds(c: Columns, r: Rates) -> FloatArray:
    moved = kv_bytes(c, r.size) + query_bytes(c, r.size)
    return np.maximum(attention_flops(c) / r.flop_per_s, moved / r.bytes_per_s)


def group_names(labels: Labels, numbers: Columns) -> NDArray[np.str_]:
    """Return the group of each row: KV data type and head size, for example ``bfloat16/128``."""
    size = numbers["head_dim"].astype(np.int64).astype(str)
    return np.char.add(np.char.add(labels["kv_dtype"], "/"), size)


def lookup(query: KernelQuery, fitted: Collection[str]) -> tuple[str, ...]:
    """Return the group of this head size, then that of the nearest fitted head size."""
    head_dim = int(query.values["head_dim"])
    mine = [group for group in fitted if group.startswith(f"{query.kv_dtype}/") and "@" not in group]
    names = [group.split("/")[1] for group in mine]
    if bad := [name for name in names if not name.isdecimal() or int(name) == 0]:
        raise fail(
            "group", f"{query.kv_dtype}/{bad[0]}", "must end with a head size", "is the calibration damaged?"
        )
    sizes = [int(name) for name in names]
    near = min(sizes, key=lambda size: abs(np.log(size / head_dim)), default=head_dim)
    exact, nearest = f"{query.kv_dtype}/{head_dim}", f"{query.kv_dtype}/{near}"
    return (*with_sources(query.sources, exact), *with_sources(query.sources, nearest))


HEADS_RULE = ColumnRule(
    column="num_kv_heads",
    broken=lambda c: np.isfinite(c["num_kv_heads"]) & (np.mod(c["num_heads"], c["num_kv_heads"]) != 0),
    text=lambda c, at: f"must divide num_heads={c['num_heads'][at]:g}",
)

ATTENTION_CORRELATION_EXPONENT = 0.7
"""Exponent of the correlation between errors at two numbers of query rows.

Notes
-----
Source: chosen on the training rows of five GPUs (aiconfigurator-core). Attention is compared with r times as many
query heads on one cache, because kernels pack query heads and query tokens into the same tile. The measured
correlation is 0.5-0.96 at r = 2 and 0-0.95 at r = 4. Measured ratios of held-out rows of H100 lie in their interval
in 95, 86 and 94 % at r = 2, 4 and 8; with an exponent of 0.5, in 92, 83 and 92 %.
"""

ATTENTION = Operation(
    name="decode_attention",
    models=(ATTENTION_WAVES, ATTENTION_ROOFLINE),
    models_for=_models_for,
    roofline_seconds=_roofline_seconds,
    table=TableColumns(
        required=("batch", "kv_len", "num_heads", "num_kv_heads", "head_dim"),
        optional={"q_len": 1.0, "window": 0.0, "calls_per_graph": 0.0},
        rules=(HEADS_RULE,),
    ),
    fit=FitSettings(
        min_rows=16,
        residual_scale=0.02,
        size_columns=("batch", "kv_len", "num_kv_heads"),
        # rows that differ only in q_len have the same cache size, so they do not count as another size
        distinct_columns=("q_len",),
        cv_groups=("num_heads", "num_kv_heads"),
    ),
    kinds=(
        OpKind(
            "decode_attention",
            (Execution("decode_attention"),),
            correlation_exponent=ATTENTION_CORRELATION_EXPONENT,
            attention=GROUPED,
        ),
    ),
    group_names=group_names,
    lookup=lookup,
    group_columns=("head_dim",),
)
"""Grouped-query attention of ``q_len`` tokens over ``kv_len`` cached tokens; verify attention has ``q_len`` > 1."""
