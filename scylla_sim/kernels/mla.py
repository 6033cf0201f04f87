"""Seconds of multi-head latent attention (MLA) on its compressed cache, in the absorbed form.

Source: DeepSeek-V2, arXiv 2405.04434, section 2.1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from scylla_sim.checks import FloatArray
from scylla_sim.kernels.device_rates import Rates, smooth_max
from scylla_sim.kernels.model import KernelModel, parameter
from scylla_sim.kernels.operation import (
    Execution,
    FitSettings,
    Operation,
    OpKind,
    TableColumns,
    groups_by_kv_dtype,
    lookup_by_kv_dtype,
)
from scylla_sim.ops.op import Columns, mla_cache_bytes, mla_flops, mla_query_bytes
from scylla_sim.specs.attention_backend import LATENT
from scylla_sim.specs.hardware import Hardware

WIDE_HEADS = 64.0
"""Query heads from which MLA kernels use their wide tile."""

_OVERLAP_NORM = 8.0
"""Norm of memory and arithmetic, close to a maximum because each hides behind the other. Norms of 4 and less fit as
well, but with a bandwidth above the datasheet's."""
_L2_FILL = 0.9
"""Fraction of L2 that holds the cache."""

FALLBACK_HEAD_DIM = 128
"""Head size whose attention kernel is the fallback for MLA: the size that libraries tune most.

On H100 and H200 it predicts measured MLA better than head size 256 does. With a cache in 8 bits the kernels of head
size 256 are twice as slow. The table ``table-silicon-latent-attention`` scores the fallback beside the fits.
"""


@dataclass(frozen=True)
class MlaTiles:
    """Parameters of `mla_tiles_seconds`."""

    bandwidth_fraction: float = parameter(0.88, 0.08, "Achieved fraction of the memory bandwidth.")
    launch_s: float = parameter(11e-6, 0.4, "Launch latency.")
    compute_fraction: float = parameter(0.75, 0.4, "Achieved fraction of the peak.")
    l2_ratio: float = parameter(1.7, 0.5, "Speed of L2 over memory for a cache that stays in L2.")
    reread_fraction: float = parameter(0.1, 1.0, "Fraction of the cache that each further query tile reads again.")
    query_passes: float = parameter(2.0, 0.5, "Passes over queries and outputs at the achieved bandwidth.")
    chain_s: float = parameter(1e-5, 0.7, "Seconds to merge the parts of a long context.")
    chain_tokens: float = parameter(3000.0, 0.7, "Context at which merging takes half of ``chain_s``.")
    wave_s: float = parameter(3e-6, 0.7, "Seconds of each wave of query tiles.")
    narrow_rows: float = parameter(64.0, 1e-3, "Query rows of a tile below `WIDE_HEADS` heads.")
    wide_rows: float = parameter(64.0, 1e-3, "Query rows of a tile from `WIDE_HEADS` heads.")


def mla_tiles_seconds(p: MlaTiles, c: Columns, r: Rates) -> FloatArray:
    """Return the seconds of MLA: launch, merge, waves, queries, and the longer of cache read and arithmetic.

    Notes
    -----
    - One read of the cache serves the query rows of a tile. Each further tile adds ``reread_fraction`` of a read.
    - Arithmetic comes in whole tiles of query rows. A tile holds 64 rows in the kernels of Hopper and 16 in
      Triton's. On Blackwell it holds 128 rows, but 16 rows below `WIDE_HEADS` heads: 32 heads take 1.5 times as
      long as 16 or 64 heads.
    - A context is split over the SMs, so the memory stream of a single head is no limit. Merging its parts costs up
      to ``chain_s``.
    - Additional query tokens share the read and add query rows.
    """
    heads = c["num_heads"]
    tile = np.where(heads < WIDE_HEADS, np.rint(p.narrow_rows), np.rint(p.wide_rows))
    tiles = np.ceil(c["q_len"] * heads / tile)
    cache, achieved = mla_cache_bytes(c, r.size), p.bandwidth_fraction * r.bytes_per_s
    cold = 1.0 / (1.0 + (_L2_FILL * r.l2_bytes / cache) ** 8)
    reads = (1.0 + p.reread_fraction * (tiles - 1.0)) * (cold + (1.0 - cold) / p.l2_ratio)
    math = mla_flops(c) * tiles * tile / (c["q_len"] * heads) / (p.compute_fraction * r.flop_per_s)
    chain = p.chain_s * c["kv_len"] / (c["kv_len"] + p.chain_tokens)
    waves = p.wave_s * c["batch"] * tiles / r.sm_count
    queries = p.query_passes * mla_query_bytes(c, r.size) / achieved
    return p.launch_s + chain + waves + queries + smooth_max(_OVERLAP_NORM, cache * reads / achieved, math)


_COLUMNS = ("batch", "kv_len", "q_len", "num_heads", "kv_rank", "rope_dim")

MLA_FLASHMLA = KernelModel("latent_flashmla", MlaTiles(), _COLUMNS, mla_tiles_seconds)
"""MLA on Hopper, whose tiles are known."""
MLA_TILES = KernelModel(
    "latent_tiles",
    MlaTiles(),
    _COLUMNS,
    mla_tiles_seconds,
    starts=tuple(
        {"narrow_rows": narrow, "wide_rows": wide}
        for narrow, wide in ((64.0, 64.0), (16.0, 16.0), (16.0, 64.0), (16.0, 128.0))
    ),
)
"""MLA with tiles that the fit finds."""


def _models_for(dtype: str, hardware: Hardware, library: str) -> tuple[KernelModel, ...]:
    """Return the MLA models of a device; there is none for a CPU.

    The tiles of Hopper are known, so the fit does not search for them. The rows of H100 with an 8-bit cache hardly
    distinguish them from other tiles. On H200, where arithmetic in whole tiles dominates, wrong tiles cause errors
    of 20 %.
    """
    if hardware.sm_count == 0:
        return ()
    return (MLA_FLASHMLA,) if hardware.family == "hopper" else (MLA_TILES,)


def _roofline_seconds(c: Columns, r: Rates) -> FloatArray:
    moved = mla_cache_bytes(c, r.size) + mla_query_bytes(c, r.size)
    return np.maximum(mla_flops(c) / r.flop_per_s, moved / r.bytes_per_s)


def _as_grouped_query(c: Columns) -> Columns:
    """Return MLA in the columns of a grouped-query kernel.

    One KV head has half the size of a cached vector, because keys and values are one read. The number of query
    heads gives the FLOPs of MLA. The bytes of queries and results are then correct too.
    """
    kept = c["kv_rank"] + c["rope_dim"]
    return {
        **{name: c[name] for name in ("batch", "kv_len", "q_len")},
        "num_heads": c["num_heads"] * (kept + c["kv_rank"]) / kept,
        "num_kv_heads": np.ones_like(kept),
        "head_dim": kept / 2.0,
        "window": np.zeros_like(kept),
    }


_EXECUTIONS = (
    Execution("latent_attention"),
    Execution("decode_attention", _as_grouped_query, values={"head_dim": FALLBACK_HEAD_DIM}, fallback=True),
)

_SPARSE = tuple(replace(each, fallback=True) for each in _EXECUTIONS)
"""Sparse attention, estimated as MLA over as many tokens as were picked. No sparse kernel was measured."""

MLA = Operation(
    name="latent_attention",
    models=(MLA_FLASHMLA, MLA_TILES),
    models_for=_models_for,
    roofline_seconds=_roofline_seconds,
    table=TableColumns(
        required=("batch", "kv_len", "num_heads", "kv_rank", "rope_dim"),
        optional={"q_len": 1.0},
    ),
    fit=FitSettings(
        min_rows=16,
        residual_scale=0.02,
        size_columns=("batch", "kv_len", "num_heads"),
        cv_groups=("batch", "num_heads"),
    ),
    kinds=(
        OpKind("latent_attention", _EXECUTIONS, attention=LATENT),
        OpKind("sparse_attention", _SPARSE),
        OpKind("index_scores", _SPARSE[-1:]),
    ),
    group_names=groups_by_kv_dtype,
    lookup=lookup_by_kv_dtype,
    executions=_EXECUTIONS,
)
"""MLA of ``q_len`` tokens over ``kv_len`` cached vectors of ``kv_rank + rope_dim`` elements."""
