"""Closed forms for the seconds of one kernel: what is fitted, and nothing else.

A `KernelModel` is a function of shape columns, device rates and a few positive parameters, with a prior for each.
The priors let 16 rows calibrate what 16 rows can tell; those of GEMMs (in 16 bits, in fp8, and in fp8_block with
nvfp4) are each one joint fit to the training shapes of H100, B300, GB200 and GB300, so that H200 and B200, to
which H100's fit is carried and scored, are not in them. Residuals of these joint fits are symmetric, disturbed
rows too: with B300, GB200 or GB300 left out and scored, that was a little better (in 16 bits 5.2, 6.2 and 5.6
against 5.2, 6.6 and 5.8 %). The datasheet roofline (`roofline_seconds`) is 18-95 % too fast on these kernels; every
form here starts from it and adds what real kernels do: achieved fractions, launch latency, tiles and split-K
plans, waves, caches.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from scylla_sim.checks import FloatArray
from scylla_sim.kernels.attention import (
    all_reduce_bridge_seconds,
    all_reduce_shots_seconds,
    attention_roofline_seconds,
    attention_waves_seconds,
    elementwise_cached_seconds,
    elementwise_copy_seconds,
    latent_tiles_seconds,
)
from scylla_sim.kernels.device_rates import Rates
from scylla_sim.kernels.gemm import (
    COPY_PRIOR,
    experts_layer_seconds,
    experts_padded_seconds,
    gemm_roofline_seconds,
    gemm_tiles_seconds,
)
from scylla_sim.kernels.quantized_gemm import DISPATCH, gemm_dispatched_seconds, gemm_quantized_seconds
from scylla_sim.ops.expert_routing import LOADS
from scylla_sim.ops.op import (
    Columns,
    all_reduce_bytes,
    attention_flops,
    gemm_bytes,
    gemm_flops,
    kv_bytes,
    latent_bytes,
    latent_flops,
    latent_query_bytes,
    query_bytes,
)
from scylla_sim.specs.dtypes import DTYPES
from scylla_sim.specs.hardware import Hardware
from scylla_sim.units import MEBI

BLOCK = 16384
"""Rows evaluated at once: the intermediates of one block stay in the L2 cache of a CPU core."""


def roofline_seconds(op: str, c: Columns, r: Rates) -> FloatArray:
    """Datasheet roofline ``max(FLOPs / peak, bytes / bandwidth)``, the baseline beside every error."""
    if op == "gemm":
        return np.maximum(gemm_flops(c) / r.flop_per_s, gemm_bytes(c, r.size) / r.bytes_per_s)
    if op == "decode_attention":
        moved = kv_bytes(c, r.size) + query_bytes(c, r.size)
        return np.maximum(attention_flops(c) / r.flop_per_s, moved / r.bytes_per_s)
    if op == "latent_attention":
        moved = latent_bytes(c, r.size) + latent_query_bytes(c, r.size)
        return np.maximum(latent_flops(c) / r.flop_per_s, moved / r.bytes_per_s)
    if op == "elementwise":
        return c["bytes"] / r.bytes_per_s
    if op == "experts":
        weights = 3.0 * c["hidden_size"] * c["inter_size"]
        flops = 2.0 * weights * c["num_tokens"] * c["experts_per_token"]
        return np.maximum(flops / r.flop_per_s, r.size.stored * c["groups"] * weights / r.bytes_per_s)
    return all_reduce_bytes(c) / r.link_bytes_per_s


@dataclass(frozen=True)
class KernelModel:
    """A closed form with its parameters, their prior medians and the spread (standard deviation of the log).

    ``starts`` lists alternatives for parameters in which the form jumps: no gradient finds those, a fit tries each.
    """

    op: str
    parameters: tuple[str, ...]
    prior: tuple[float, ...]
    spread: tuple[float, ...]
    columns: tuple[str, ...]
    seconds: Callable[[Sequence[float], Columns, Rates], FloatArray]
    starts: tuple[Mapping[str, float], ...] = ()

    def __post_init__(self) -> None:
        if not len(self.parameters) == len(self.prior) == len(self.spread):
            raise ValueError("a form needs one prior and one spread for each parameter")

    def priors(self) -> list[FloatArray]:
        """Prior medians to start from: one set, or one for each of ``starts``."""
        sets = [{**dict(zip(self.parameters, self.prior)), **start} for start in self.starts or ({},)]
        return [np.array([values[name] for name in self.parameters]) for values in sets]


_GEMM = ("m", "n", "k")
_ATTENTION = ("batch", "kv_len", "q_len", "num_heads", "num_kv_heads", "head_dim", "window")
_EXPERTS = ("num_tokens", "experts_per_token", "hidden_size", "inter_size", *LOADS)
_QUANTIZED = (
    *("bandwidth_fraction", "compute_fraction", "launch_s", "overlap_norm", "intensity", "stage_s"),
    *("fill_depth", "l2_ratio", "weight_copies", "quantiser_ratio", "sustained_fraction"),
)
_QUANTIZED_SPREAD = (0.15, 0.25, 0.5, 0.4, 0.5, 0.7, 0.7, 0.4, 0.3, 0.8, 0.3)

_LATENT = KernelModel(
    op="latent_attention",
    parameters=(
        *("bandwidth_fraction", "launch_s", "compute_fraction", "l2_ratio", "reread_fraction", "query_passes"),
        *("chain_s", "chain_tokens", "wave_s", "narrow_rows", "wide_rows"),
    ),
    prior=(0.88, 11e-6, 0.75, 1.7, 0.1, 2.0, 1e-5, 3000.0, 3e-6, 64.0, 64.0),
    spread=(0.08, 0.4, 0.4, 0.5, 1.0, 0.5, 0.7, 0.7, 0.7, 1e-3, 1e-3),
    columns=("batch", "kv_len", "q_len", "num_heads", "kv_rank", "rope_dim"),
    seconds=latent_tiles_seconds,
)

FORMS = {
    "gemm_tiles": KernelModel(
        op="gemm",
        parameters=(
            *("bandwidth_fraction", "compute_fraction", "launch_s", "overlap_norm", "intensity"),
            *("split_s", "stage_s", "wave_weight", "l2_ratio", "weight_copies", "fill_depth", "sustained_fraction"),
            "crowding",
        ),
        prior=(0.86, 1.45, 2.0e-6, 2.7, 97.0, 2.7e-6, 63e-9, 0.09, 1.0, 6.0, 170.0, 0.97, 0.045),
        spread=(0.15, 0.25, 0.5, 0.4, 0.5, 0.5, 0.7, 1.0, 0.4, 0.15, 0.7, 0.3, 1.0),
        columns=_GEMM,
        seconds=gemm_tiles_seconds,
    ),
    "gemm_quantised": KernelModel(
        op="gemm",
        parameters=_QUANTIZED,
        prior=(0.9, 1.1, 5.8e-6, 1.9, 63.0, 33e-9, 300.0, 1.5, 6.0, 1.1, 1.3),
        spread=_QUANTIZED_SPREAD,
        columns=_GEMM,
        seconds=gemm_quantized_seconds,
        # benchmarks rotate several copies of the weights, or hardly any (nvfp4 in vLLM's tables): two modes
        starts=({"weight_copies": 6.0}, {"weight_copies": 1.5}),
    ),
    "gemm_dispatched": KernelModel(
        op="gemm",
        parameters=_QUANTIZED,
        prior=(0.84, 1.2, 5.0e-6, 2.1, 66.0, 18e-9, 1200.0, 3.0, 9.0, 0.35, 1.0),
        spread=_QUANTIZED_SPREAD,
        columns=_GEMM,
        seconds=gemm_dispatched_seconds,
    ),
    "experts_layer": KernelModel(
        op="experts",
        parameters=(
            *("bandwidth_fraction", "compute_fraction", "launch_s", "overlap_norm", "intensity", "stage_s"),
            *("wave_weight", "quantiser_ratio", "l2_ratio"),
        ),
        prior=(0.75, 0.6, 8e-6, 3.0, 110.0, 60e-9, 0.3, 0.4, 3.0),
        spread=(0.4, 0.4, 0.7, 0.4, 0.5, 0.7, 1.0, 0.8, 0.7),
        columns=_EXPERTS,
        seconds=experts_layer_seconds,
    ),
    "experts_padded": KernelModel(
        op="experts",
        parameters=(
            *("bandwidth_fraction", "compute_fraction", "launch_s", "overlap_norm", "tile_s", "first_tile"),
            *("quantiser_ratio", "padding"),
        ),
        prior=(0.75, 0.2, 15e-6, 3.0, 8e-6, 0.2, 0.4, 0.8),
        spread=(0.4, 0.7, 0.7, 0.4, 0.7, 1.0, 0.8, 0.7),
        columns=_EXPERTS,
        seconds=experts_padded_seconds,
    ),
    "gemm_roofline": KernelModel(
        op="gemm",
        parameters=("bandwidth_fraction", "compute_fraction", "launch_s", "overlap_norm", "half_rows"),
        prior=(0.8, 0.8, 5e-6, 3.0, 2.0),
        spread=(0.5, 0.5, 1.5, 0.5, 1.5),
        columns=_GEMM,
        seconds=gemm_roofline_seconds,
    ),
    "attention_waves": KernelModel(
        op="decode_attention",
        parameters=(
            *("bandwidth_fraction", "launch_s", "wave_s", "l2_ratio", "cold_s", "head_ratio", "overlap_norm"),
            *("l2_fill", "compute_fraction", "reread_fraction", "wave_norm", "copy_s", "merge_s"),
            *("unsplit_ratio", "query_ratio", "sequence_s", "stride_ratio", "write_s", "chain_s"),
        ),
        prior=(
            *(0.93, 1.05e-5, 2.7e-6, 2.0, 3.5e-6, 0.35, 3.0),
            *(0.8, 0.6, 0.1, 1.8, 3e-7, 1.5e-6),
            *(1.0, 1.2, 4e-9, 1.0, 4e-8, 4e-7),
        ),
        spread=(0.15, 0.4, 0.7, 0.5, 0.7, 0.7, 0.2, 0.15, 0.3, 1.0, 0.4, 1.5, 1.0, 1.5, 1.0, 1.0, 0.005, 0.7, 1.0),
        columns=_ATTENTION,
        seconds=attention_waves_seconds,
    ),
    "attention_roofline": KernelModel(
        op="decode_attention",
        parameters=("bandwidth_fraction", "compute_fraction", "launch_s", "overlap_norm", "reread_fraction"),
        prior=(0.5, 0.3, 2e-5, 3.0, 0.1),
        spread=(1.0, 1.0, 1.5, 0.5, 1.5),
        columns=_ATTENTION,
        seconds=attention_roofline_seconds,
    ),
    "latent_flashmla": _LATENT,
    "latent_tiles": replace(
        _LATENT,
        starts=tuple(
            {"narrow_rows": narrow, "wide_rows": wide}
            for narrow, wide in ((64.0, 64.0), (16.0, 16.0), (16.0, 64.0), (16.0, 128.0))
        ),
    ),
    "all_reduce_shots": KernelModel(
        op="all_reduce",
        parameters=(
            *("launch_s", "one_shot_fraction", "sync_s", "two_shot_fraction", "gpu_s"),
            *("large_s", "large_fraction", "cutoff_bytes", "cutoff_order"),
            *("link_order", "large_order", "floor_s"),
        ),
        prior=(4.5e-6, 0.5, 5e-6, 0.7, 2e-7, 2e-5, 0.8, 5.7 * MEBI, 1e-9, 0.15, 0.2, 8e-6),
        spread=(0.7, 1.0, 1.0, 0.7, 1.5, 0.7, 0.4, 1e-3, 1e-3, 0.7, 1.0, 1.5),
        columns=("num_gpus", "bytes"),
        seconds=all_reduce_shots_seconds,
        starts=tuple(
            {"cutoff_bytes": 2.0**power * 1.41, "cutoff_order": order}
            for order in (1e-9, 1.0)
            for power in range(17, 25)
        ),
    ),
    "all_reduce_bridge": KernelModel(
        op="all_reduce",
        parameters=("launch_s", "gpu_s", "pair_fraction", "shared_fraction", "floor_s"),
        prior=(5e-6, 2e-6, 1.2, 0.5, 8e-6),
        spread=(0.7, 1.0, 0.5, 0.5, 1.5),
        columns=("num_gpus", "bytes"),
        seconds=all_reduce_bridge_seconds,
    ),
    "elementwise_copy": KernelModel(
        op="elementwise",
        parameters=("bandwidth_fraction", "launch_s"),
        prior=COPY_PRIOR,
        spread=(0.5, 1.5),
        columns=("bytes",),
        seconds=elementwise_copy_seconds,
    ),
    "elementwise_cached": KernelModel(
        op="elementwise",
        parameters=(
            *("bandwidth_fraction", "launch_s", "l2_ratio", "l2_fill", "overlap_norm"),
            *("row_bytes_per_s", "row_s"),
        ),
        prior=(0.83, 1.85e-6, 2.0, 0.9, 1.6, 4e10, 6e-10),
        spread=(0.2, 0.4, 1.0, 0.5, 0.4, 0.7, 0.7),
        columns=("bytes", "rows"),
        seconds=elementwise_cached_seconds,
    ),
}


def forms_for(op: str, dtype: str, hardware: Hardware, *, library: str = "") -> tuple[str, ...]:
    """Forms that may describe an operation on a device, the likeliest first; a fit keeps the one that fits best.

    A CPU has no SMs, and libraries differ in how they pick tiles for 8-bit products. For experts CUTLASS has one
    tile, Triton and TensorRT-LLM pick theirs by the rows; where the ``library`` of the rows is not known, both are
    tried. Of latent attention the tiles of Hopper are known: with an 8-bit cache the rows of H100 hardly tell them
    from others, which carried to H200, where whole tiles keep the arithmetic busy, are wrong by a fifth.
    """
    if op == "all_reduce":
        return ("all_reduce_bridge",) if hardware.link == "pcie" else ("all_reduce_shots",)
    if op == "experts":
        fixed = not library or "cutlass" in library
        return ("experts_layer", "experts_padded") if fixed else ("experts_layer",)
    if op == "latent_attention":
        return ("latent_flashmla",) if hardware.family == "hopper" else ("latent_tiles",)
    if hardware.sm_count == 0:
        return {"gemm": ("gemm_roofline",), "elementwise": ("elementwise_copy",)}.get(op, ("attention_roofline",))
    if op == "elementwise":
        return ("elementwise_cached",)
    if op == "gemm":
        if not DTYPES[dtype].quantizes_input:
            return ("gemm_tiles",)
        if hardware.family not in DISPATCH:
            return ("gemm_quantised",)
        return ("gemm_dispatched", "gemm_quantised") if dtype == "fp8" else ("gemm_quantised", "gemm_dispatched")
    return ("attention_waves",)


def evaluate(form: KernelModel, p: Sequence[float], c: Columns, r: Rates) -> FloatArray:
    """Seconds of many shapes, in blocks, so that memory stays bounded however many are asked for.

    Parameters
    ----------
    c
        Columns that broadcast against each other; the result has their common shape.
    """
    arrays = np.broadcast_arrays(*(np.asarray(c[name], dtype=np.float64) for name in form.columns))
    shape = arrays[0].shape
    flat = [array.reshape(-1) for array in arrays]
    out = np.empty(flat[0].size)
    for start in range(0, out.size, BLOCK):
        part = {name: column[start : start + BLOCK] for name, column in zip(form.columns, flat)}
        out[start : start + BLOCK] = form.seconds(p, part, r)
    return out.reshape(shape)
