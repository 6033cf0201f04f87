"""Seconds of one operation in service, from the calibration of a device."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from scylla_sim.calibration.device_calibration import Calibration, _made_by
from scylla_sim.calibration.fitted_kernel import FittedKernel
from scylla_sim.checks import FloatArray, fail
from scylla_sim.kernels.device_rates import Rates, rates
from scylla_sim.kernels.gemm import EXPERT_PRODUCTS
from scylla_sim.ops.op import ATTENTION, Columns, Op

LATENT_HEAD_DIM = 128
"""Head size whose fitted kernel stands in for latent attention where that was not fitted: the one that libraries
tune most. Of 128 and 256 it is the nearer to measured latent attention on H100 and H200 (with a cache in 8 bits the
kernels of head size 256 are twice as slow); `table-silicon-latent-attention` scores it beside the fits."""


@dataclass(frozen=True)
class Seconds:
    """Predicted seconds with their 90 % interval; arrays of one shape."""

    value: FloatArray
    lower: FloatArray
    upper: FloatArray
    evidence: str


def _apply(kernel: FittedKernel, columns: Columns, r: Rates) -> Seconds:
    value = kernel.seconds(columns, r)
    return Seconds(value, *kernel.interval(value), kernel.evidence)


def _as_dense(c: Columns) -> Columns:
    """Latent attention in the columns of a grouped-query kernel, which has no form for it.

    One KV head of half the latent's size, keys and values being one read, and as many query heads as give the
    FLOPs; queries and results then move the right bytes too.
    """
    kept = c["kv_rank"] + c["rope_dim"]
    return {
        **{name: c[name] for name in ("batch", "kv_len", "q_len")},
        "num_heads": c["num_heads"] * (kept + c["kv_rank"]) / kept,
        "num_kv_heads": np.ones_like(kept),
        "head_dim": kept / 2.0,
        "window": np.zeros_like(kept),
    }


def latent_kernel(
    calibration: Calibration, c: Columns, kv_dtype: str, *sources: str
) -> tuple[FittedKernel, Columns]:
    """Kernel of latent attention and the columns it reads: the fitted one, or the dense one that stands in."""
    if kv_dtype in calibration.kernels.get("latent_attention", {}):
        return calibration.find("latent_attention", *_made_by(sources, kv_dtype), kv_dtype), c
    return calibration.attention(kv_dtype, LATENT_HEAD_DIM, *sources).stretched(), _as_dense(c)


def _as_one_gemm(c: Columns) -> Columns:
    """A grouped GEMM in the columns of one GEMM: the mean rows of a group against the weights of all groups.

    ``m`` rows over ``groups`` weights of n x k are ``m / groups`` rows against ``groups n`` columns: the same
    weight bytes, FLOPs, output and tiles, in one launch. Reading each group's own rows is all that differs.
    """
    return {"m": c["m"] / c["groups"], "n": c["groups"] * c["n"], "k": c["k"]}


def _grouped(op: Op, calibration: Calibration, dtype: str, framework: str) -> Seconds:
    """Grouped GEMM priced by the GEMM form of its dtype, to which no grouped kernel was fitted.

    Checked against measured mixtures of experts (aiconfigurator-core, bf16, up to 512 tokens and 8 slices, models
    held out): median error 3-12 % with even loads, 6-13 % with uneven ones; 96-100 % of the rows lie in the
    stretched interval. In 8 bits 10-11 % on B200 and L40S; on Hopper rows in 8 bits take 2.5-3.4 times as long as
    those in bf16, and lie outside.

    The two products around latent attention (bf16, up to 512 tokens) are 13-32 % off measured rows on Hopper, A100
    and B200, mostly below. Those rows are no kernel's time alone: one product in a CUDA graph, on weights that stay
    in L2, and 1-2.5 us longer than the same product in the GEMM tables, which repeat it five times in a graph.
    Without that the error is 9-16 % of some 3 us on Hopper and B200. There is no fit to them: weights that stay in
    L2 say little of service.
    """
    kernel, r = calibration.gemm(dtype, framework).cold().in_step().stretched(), rates(calibration.hardware, dtype)
    one, c = _as_one_gemm(op.columns), op.columns
    rest = r.size.activation * (c["m"] - one["m"]) * c["k"] / r.bytes_per_s
    value = kernel.seconds(one, r) + rest
    return Seconds(value, *kernel.interval(value), kernel.evidence)


def _expert(op: Op, calibration: Calibration, dtype: str, framework: str) -> Seconds:
    """Grouped product over experts, weights cold: as fitted to layers of experts, else from the dense fit."""
    if dtype not in calibration.kernels.get("experts", {}):
        return _grouped(op, calibration, dtype, framework)
    kernel = calibration.experts(dtype, framework)
    value = EXPERT_PRODUCTS[kernel.form](kernel.parameters, op.columns, rates(calibration.hardware, dtype))
    layer = kernel.interval(2.0 * value)  # fitted to layers, of two such products
    return Seconds(value, 0.5 * layer[0], 0.5 * layer[1], kernel.evidence)


def op_seconds(
    op: Op, calibration: Calibration, *, dtype: str, kv_dtype: str, graph: bool = True, framework: str = ""
) -> Seconds:
    """Seconds of one execution of an operation in service: weights cold, one of many in a CUDA graph, or eager.

    ``framework`` names the framework whose kernels run, where those were fitted apart.

    Examples
    --------
    >>> from scylla_sim.calibration.device_calibration import shipped
    >>> from scylla_sim.ops.op import Op
    >>> shape = {name: np.array(value) for name, value in (("m", [1.0, 512.0]), ("n", 4096.0), ("k", 4096.0))}
    >>> t = op_seconds(Op("x", "gemm", 1, shape), shipped("h100-sxm"), dtype="bfloat16", kv_dtype="bfloat16")
    >>> bool(t.value[0] < t.value[1])
    True
    """
    hardware, c = calibration.hardware, op.columns
    if op.kind == "gemm":
        return _apply(calibration.gemm(dtype, framework).cold().in_step(), c, rates(hardware, dtype))
    if op.kind == "grouped_gemm":
        return _grouped(op, calibration, dtype, framework)
    if op.kind == "expert_gemm":
        return _expert(op, calibration, dtype, framework)
    if op.kind in ATTENTION:
        # Attention computes in 16 bits whatever the weights are stored in; only the cache may be narrower.
        compute = "float32" if dtype == "float32" else "bfloat16"
        if op.kind == "latent_attention":
            kernel, c = latent_kernel(calibration, c, kv_dtype, framework)
        else:
            kernel = calibration.attention(kv_dtype, int(c["head_dim"]), framework)
        return _apply(kernel.cold().in_step(), c, rates(hardware, compute, kv_dtype))
    if op.kind == "elementwise":
        return _apply(calibration.elementwise().in_step(), c, rates(hardware, dtype))
    if hardware.link_bytes_per_s <= 0:
        raise fail("tp", int(c["num_gpus"]), f"needs a link, and {hardware.name} has none")
    return _apply(calibration.all_reduce(framework, graph=graph), c, rates(hardware, dtype))
