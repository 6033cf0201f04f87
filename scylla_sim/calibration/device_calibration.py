"""Seconds of kernels on a device: a calibration is a set of fitted forms, read from JSON and evaluated on arrays.

Look-ups fall back in a stated order (the same kernel, the same dtype, the nearest head size, bf16), never silently
to a datasheet: a device with no fit for an operation uses the form's prior and says so in `Fitted.evidence`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cache
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np

from scylla_sim.calibration import fitted_kernel
from scylla_sim.calibration.fitted_kernel import Fitted
from scylla_sim.checks import FloatArray, InputError, fail, one_of
from scylla_sim.kernels.device_rates import Rates, rates
from scylla_sim.kernels.gemm import EXPERT_PRODUCTS
from scylla_sim.kernels.registry import FORMS, forms_for
from scylla_sim.ops.forward import ATTENTION, PRECISION_DTYPE, STORED_BYTES, Columns, Op
from scylla_sim.records import read_json, sha256_of
from scylla_sim.specs import catalog
from scylla_sim.specs.deployment_specs import Hardware

SCHEMA = "scylla-sim/calibration/1"
OPS = ("gemm", "decode_attention", "latent_attention", "experts", "all_reduce", "elementwise")

LATENT_HEAD_DIM = 128
"""Head size whose fitted kernel stands in for latent attention where that was not fitted: the one that libraries
tune most. Of 128 and 256 it is the nearer to measured latent attention on H100 and H200 (with a cache in 8 bits the
kernels of head size 256 are twice as slow); `table-silicon-latent-attention` scores it beside the fits."""


def _made_by(makers: Sequence[str], group: str) -> list[str]:
    """Names of a group as single libraries or frameworks have it."""
    return [f"{group}@{maker}" for maker in makers if maker]


def _dtype_of(group: str) -> str:
    """dtype of a group of fitted kernels, without head size and library."""
    return group.partition("@")[0].partition("/")[0]


@dataclass(frozen=True)
class Calibration:
    """Fitted kernels of one device, keyed ``op`` and ``group`` (for example ``gemm``, ``bfloat16``)."""

    device: str
    hardware: Hardware
    kernels: Mapping[str, Mapping[str, Fitted]]
    evidence: str = "theory"
    source: str = ""

    def __post_init__(self) -> None:
        for op in self.kernels:
            one_of("op", op, OPS)
        frozen = {op: MappingProxyType(dict(groups)) for op, groups in self.kernels.items()}
        object.__setattr__(self, "kernels", MappingProxyType(frozen))

    def find(self, op: str, *groups: str) -> Fitted:
        """The first of ``groups`` that was fitted, else the prior of the form this device would use."""
        known = self.kernels.get(op, {})
        for group in groups:
            if group in known:
                return known[group]
        dtype = groups[-1].split("/")[0]
        name = forms_for(op, dtype, self.hardware)[0]
        return Fitted(form=name, parameters=FORMS[name].prior)

    def gemm(self, dtype: str, *makers: str) -> Fitted:
        """Kernel of a GEMM dtype: of the first of ``makers`` (libraries, frameworks) that was fitted apart."""
        return self.find("gemm", *_made_by(makers, dtype), dtype)

    def attention(self, kv_dtype: str, head_dim: int, *makers: str) -> Fitted:
        """Attention kernel of a KV dtype and head size; the nearest fitted size stands in for a missing one."""
        exact = f"{kv_dtype}/{head_dim}"
        sizes = [
            int(group.split("/")[1])
            for group in self.kernels.get("decode_attention", {})
            if group.startswith(f"{kv_dtype}/") and "@" not in group
        ]
        near = min(sizes, key=lambda size: abs(np.log(size / head_dim)), default=head_dim)
        nearest = f"{kv_dtype}/{near}"
        groups = (*_made_by(makers, exact), exact, *_made_by(makers, nearest), nearest)
        return self.find("decode_attention", *groups)

    def experts(self, dtype: str, *makers: str) -> Fitted:
        """Kernels of a layer of experts of a dtype; ``makers`` as in `gemm`."""
        return self.find("experts", *_made_by(makers, dtype), dtype)

    def all_reduce(self, *makers: str, graph: bool = True) -> Fitted:
        """All-reduce inside a CUDA graph, or launched eagerly; ``makers`` as in `gemm`."""
        name = "graph" if graph else "eager"
        return self.find("all_reduce", *_made_by(makers, name), name)

    def elementwise(self) -> Fitted:
        """Kernels that only move data."""
        return self.find("elementwise", "copy")

    def without(self, *ops: str) -> Calibration:
        """The same device as if no kernel of these operations had been fitted."""
        for op in ops:
            one_of("op", op, OPS)
        kept = {op: groups for op, groups in self.kernels.items() if op not in ops}
        return replace(self, kernels=kept)

    def completed_by(self, other: Calibration) -> tuple[Calibration, list[str]]:
        """These fits, and those of ``other`` for each operation and dtype that has none here; names of the latter.

        A head size or a library of another dtype's fit is not mixed in: the nearest of these fits is used instead.
        """
        kernels = {op: dict(groups) for op, groups in self.kernels.items()}
        kept = []
        for op, groups in other.carried_to(self.hardware).kernels.items():
            fitted = {_dtype_of(name) for name in self.kernels.get(op, {})}
            for name, kernel in groups.items():
                if _dtype_of(name) not in fitted:
                    kernels.setdefault(op, {})[name] = kernel
                    kept.append(f"{op} {name}")
        return replace(self, kernels=kernels), kept

    def carried_to(self, hardware: Hardware) -> Calibration:
        """The same kernels at another device's datasheet rates, with a wider interval; see `Fitted.carried`."""
        if hardware == self.hardware:
            return self
        same_family = hardware.family == self.hardware.family
        kernels = {
            op: {group: kernel.carried(same_family=same_family) for group, kernel in groups.items()}
            for op, groups in self.kernels.items()
        }
        return replace(self, hardware=hardware, kernels=kernels, evidence="transferred")


@dataclass(frozen=True)
class Seconds:
    """Predicted seconds with their 90 % interval; arrays of one shape."""

    value: FloatArray
    lower: FloatArray
    upper: FloatArray
    evidence: str


def _apply(kernel: Fitted, columns: Columns, r: Rates) -> Seconds:
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


def latent_kernel(calibration: Calibration, c: Columns, kv_dtype: str, *makers: str) -> tuple[Fitted, Columns]:
    """Kernel of latent attention and the columns it reads: the fitted one, or the dense one that stands in."""
    if kv_dtype in calibration.kernels.get("latent_attention", {}):
        return calibration.find("latent_attention", *_made_by(makers, kv_dtype), kv_dtype), c
    return calibration.attention(kv_dtype, LATENT_HEAD_DIM, *makers).stretched(), _as_dense(c)


def _as_one_gemm(c: Columns) -> Columns:
    """A grouped GEMM in the columns of one GEMM: the mean rows of a group against the weights of all groups.

    ``m`` rows over ``groups`` weights of n x k are ``m / groups`` rows against ``groups n`` columns: the same
    weight bytes, FLOPs, output and tiles, in one launch. Reading each group's own rows is all that differs.
    """
    return {"m": c["m"] / c["groups"], "n": c["groups"] * c["n"], "k": c["k"]}


def _grouped(op: Op, calibration: Calibration, dtype: str, maker: str) -> Seconds:
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
    kernel, r = calibration.gemm(dtype, maker).cold().in_step().stretched(), rates(calibration.hardware, dtype)
    one, c = _as_one_gemm(op.columns), op.columns
    rest = r.size.activation * (c["m"] - one["m"]) * c["k"] / r.bytes_per_s
    value = kernel.seconds(one, r) + rest
    return Seconds(value, *kernel.interval(value), kernel.evidence)


def _expert(op: Op, calibration: Calibration, dtype: str, maker: str) -> Seconds:
    """Grouped product over experts, weights cold: as fitted to layers of experts, else from the dense fit."""
    if dtype not in calibration.kernels.get("experts", {}):
        return _grouped(op, calibration, dtype, maker)
    kernel = calibration.experts(dtype, maker)
    value = EXPERT_PRODUCTS[kernel.form](kernel.parameters, op.columns, rates(calibration.hardware, dtype))
    layer = kernel.interval(2.0 * value)  # fitted to layers, of two such products
    return Seconds(value, 0.5 * layer[0], 0.5 * layer[1], kernel.evidence)


def op_seconds(
    op: Op, calibration: Calibration, *, dtype: str, kv_dtype: str, graph: bool = True, maker: str = ""
) -> Seconds:
    """Seconds of one execution of an operation in service: weights cold, one of many in a CUDA graph, or eager.

    ``maker`` names the framework whose kernels run, where those were fitted apart.

    Examples
    --------
    >>> from scylla_sim.ops.forward import Op
    >>> shape = {name: np.array(value) for name, value in (("m", [1.0, 512.0]), ("n", 4096.0), ("k", 4096.0))}
    >>> t = op_seconds(Op("x", "gemm", 1, shape), shipped("h100-sxm"), dtype="bfloat16", kv_dtype="bfloat16")
    >>> bool(t.value[0] < t.value[1])
    True
    """
    hardware, c = calibration.hardware, op.columns
    if op.kind == "gemm":
        return _apply(calibration.gemm(dtype, maker).cold().in_step(), c, rates(hardware, dtype))
    if op.kind == "grouped_gemm":
        return _grouped(op, calibration, dtype, maker)
    if op.kind == "expert_gemm":
        return _expert(op, calibration, dtype, maker)
    if op.kind in ATTENTION:
        # Attention computes in 16 bits whatever the weights are stored in; only the cache may be narrower.
        compute = "float32" if dtype == "float32" else "bfloat16"
        if op.kind == "latent_attention":
            kernel, c = latent_kernel(calibration, c, kv_dtype, maker)
        else:
            kernel = calibration.attention(kv_dtype, int(c["head_dim"]), maker)
        return _apply(kernel.cold().in_step(), c, rates(hardware, compute, kv_dtype))
    if op.kind == "elementwise":
        return _apply(calibration.elementwise().in_step(), c, rates(hardware, dtype))
    if hardware.link_bytes_per_s <= 0:
        raise fail("tp", int(c["num_gpus"]), f"needs a link, and {hardware.name} has none")
    return _apply(calibration.all_reduce(maker, graph=graph), c, rates(hardware, dtype))


# -- Reading ---------------------------------------------------------------------------------------------------


def to_json(calibration: Calibration) -> dict[str, Any]:
    """The parts of a calibration file that `from_json` reads back."""
    hardware = {field.name: getattr(calibration.hardware, field.name) for field in fields(Hardware)}
    hardware["peak_flop_per_s"] = dict(calibration.hardware.peak_flop_per_s)
    kernels = {
        op: {group: fitted_kernel.to_json(kernel) for group, kernel in groups.items()}
        for op, groups in calibration.kernels.items()
    }
    return {
        "schema": SCHEMA,
        "device": calibration.device,
        "evidence": calibration.evidence,
        "source": calibration.source,
        "hardware": hardware,
        "kernels": kernels,
    }


def from_json(value: Mapping[str, Any], *, path: str = "calibration") -> Calibration:
    """Calibration from the object of a calibration file."""
    try:
        kernels = {
            op: {group: fitted_kernel.from_json(entry) for group, entry in groups.items()}
            for op, groups in value["kernels"].items()
        }
        return Calibration(
            device=str(value["device"]),
            hardware=Hardware(**value["hardware"]),
            kernels=kernels,
            evidence=str(value["evidence"]),
            source=str(value.get("source", "")),
        )
    except InputError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise fail(
            "calibration", path, f"is damaged ({error!r})", "make it again with scylla-sim calibrate"
        ) from None


def read(path: Path | str) -> Calibration:
    """Calibration from a file that `scylla-sim calibrate` wrote."""
    return from_json(read_json(path, schema=SCHEMA), path=str(path))


def shipped_devices() -> list[str]:
    """Devices whose calibration is in the package."""
    folder = resources.files("scylla_sim") / "data" / "calibrations"
    return sorted(item.name.removesuffix(".json") for item in folder.iterdir() if item.name.endswith(".json"))


@cache
def shipped(name: str) -> Calibration:
    """Calibration of a catalog device: its own, or that of its stand-in carried to its datasheet."""
    hardware = catalog.hardware(name)
    source = catalog.calibration_name(name)
    if source is None or source not in shipped_devices():
        return Calibration(device=name, hardware=hardware, kernels={}, source="priors of the forms")
    with resources.as_file(resources.files("scylla_sim") / "data" / "calibrations" / f"{source}.json") as path:
        return replace(read(path).carried_to(hardware), device=name)


def shipped_hash(name: str) -> str | None:
    """sha256 of the calibration file behind `shipped`, ``None`` where a device has the priors only."""
    source = catalog.calibration_name(name)
    if source is None or source not in shipped_devices():
        return None
    with resources.as_file(resources.files("scylla_sim") / "data" / "calibrations" / f"{source}.json") as path:
        return sha256_of(path)


def known_dtype(dtype: str) -> str:
    """Canonical dtype of a kernels row: ``bf16`` is read as ``bfloat16``, ``fp32`` as ``float32``."""
    return one_of("dtype", PRECISION_DTYPE.get(dtype, dtype), STORED_BYTES)
