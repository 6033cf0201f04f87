"""Seconds of kernels on a device: a calibration is a set of fitted forms, read from JSON and evaluated on arrays.

Look-ups fall back in a stated order (the same kernel, the same dtype, the nearest head size, bf16), never silently
to a datasheet: a device with no fit for an operation uses the form's prior and says so in `Fitted.evidence`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cache
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from scylla_sim import catalog
from scylla_sim.checks import FloatArray, InputError, fail, in_range, one_of, positive
from scylla_sim.forms import FORMS, WEIGHT_BYTES, Columns, Form, evaluate, form_for, naive_seconds, rates
from scylla_sim.records import read_json
from scylla_sim.specs import Hardware

SCHEMA = "scylla-sim/calibration/1"
OPS = ("gemm", "decode_attention", "all_reduce")

PRECISION_DTYPE = {"bf16": "bfloat16", "fp8": "fp8", "fp32": "float32"}
"""Precision of the command line -> dtype of the kernels CSV."""

PRIOR_RATIO = 1.5
"""Half-width of the interval of a kernel that was never fitted: a factor either way."""
TRANSFER_WIDENING = 2.0
"""A fit carried to another device of its family: log-residuals are this many times as wide (H100 to B200 5.3 %
median against 4.9 % on its own rows, but A100 20 %: an assumption, checked by the coverage table)."""


@dataclass(frozen=True)
class Fitted:
    """One form with its parameters and the spread of measured over predicted seconds (5 % to 95 %)."""

    form: str
    parameters: tuple[float, ...]
    lower_ratio: float = 1.0 / PRIOR_RATIO
    upper_ratio: float = PRIOR_RATIO
    evidence: str = "theory"

    def __post_init__(self) -> None:
        form = FORMS[one_of("form", self.form, FORMS)]
        if len(self.parameters) != len(form.parameters):
            raise fail("parameters", len(self.parameters), f"must be {len(form.parameters)} for {self.form}")
        positive("parameters", self.parameters)
        in_range("lower_ratio", self.lower_ratio, 0, 1, above=True)
        in_range("upper_ratio", self.upper_ratio, 1)

    def cold(self) -> Fitted:
        """The same kernel in service: weights are never left in L2 by a benchmark's small rotation."""
        names = FORMS[self.form].parameters
        if "weight_copies" not in names:
            return self
        at = names.index("weight_copies")
        return replace(self, parameters=(*self.parameters[:at], 1e9, *self.parameters[at + 1 :]))


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
        fitted = self.kernels.get(op, {})
        for group in groups:
            if group in fitted:
                return fitted[group]
        dtype = groups[-1].split("/")[0]
        name = form_for(op, dtype, self.hardware)
        return Fitted(form=name, parameters=FORMS[name].prior)

    def gemm(self, dtype: str, source: str = "") -> Fitted:
        """Kernel of a GEMM dtype; ``source`` picks one library where several were fitted."""
        return self.find("gemm", f"{dtype}@{source}", dtype)

    def attention(self, kv_dtype: str, head_dim: int, source: str = "") -> Fitted:
        """Attention kernel of a KV dtype and head size; the nearest fitted size stands in for a missing one."""
        exact = f"{kv_dtype}/{head_dim}"
        sizes = [
            int(group.split("/")[1])
            for group in self.kernels.get("decode_attention", {})
            if group.startswith(f"{kv_dtype}/") and "@" not in group
        ]
        near = min(sizes, key=lambda size: abs(np.log(size / head_dim)), default=head_dim)
        return self.find("decode_attention", f"{exact}@{source}", exact, f"{kv_dtype}/{near}")

    def all_reduce(self, *, graph: bool = True) -> Fitted:
        """All-reduce inside a CUDA graph, or launched eagerly."""
        return self.find("all_reduce", "graph" if graph else "eager")

    def carried_to(self, hardware: Hardware) -> Calibration:
        """The same kernel shapes at another device's datasheet rates, with a wider interval."""
        if hardware == self.hardware:
            return self
        kernels = {
            op: {
                group: replace(
                    kernel,
                    lower_ratio=kernel.lower_ratio**TRANSFER_WIDENING,
                    upper_ratio=kernel.upper_ratio**TRANSFER_WIDENING,
                    evidence="transferred",
                )
                for group, kernel in groups.items()
            }
            for op, groups in self.kernels.items()
        }
        return replace(self, hardware=hardware, kernels=kernels, evidence="transferred")


def gemm_seconds(
    m: ArrayLike, n: ArrayLike, k: ArrayLike, *, calibration: Calibration, dtype: str = "bfloat16"
) -> FloatArray:
    """Seconds of ``(m, k) x (k, n)`` products in service (weights cold), arrays broadcasting.

    Examples
    --------
    >>> h100 = shipped("h100-sxm")
    >>> bool(gemm_seconds(1, 4096, 4096, calibration=h100) < gemm_seconds(512, 4096, 4096, calibration=h100))
    True
    """
    columns = {name: positive(name, value) for name, value in (("m", m), ("n", n), ("k", k))}
    kernel = calibration.gemm(dtype).cold()
    return evaluate(FORMS[kernel.form], kernel.parameters, columns, rates(calibration.hardware, dtype))


def attention_seconds(
    batch: ArrayLike,
    kv_len: ArrayLike,
    q_len: ArrayLike = 1,
    *,
    num_heads: int,
    num_kv_heads: int,
    head_dim: int,
    calibration: Calibration,
    dtype: str = "bfloat16",
    kv_dtype: str = "bfloat16",
    window: int = 0,
) -> FloatArray:
    """Seconds of decode (``q_len`` 1) or verify attention of one layer, arrays broadcasting."""
    columns: dict[str, FloatArray] = {
        "batch": positive("batch", batch),
        "kv_len": positive("kv_len", kv_len),
        "q_len": positive("q_len", q_len),
        "num_heads": positive("num_heads", num_heads),
        "num_kv_heads": positive("num_kv_heads", num_kv_heads),
        "head_dim": positive("head_dim", head_dim),
        "window": in_range("window", window, 0),
    }
    kernel = calibration.attention(kv_dtype, head_dim)
    return evaluate(FORMS[kernel.form], kernel.parameters, columns, rates(calibration.hardware, dtype, kv_dtype))


def all_reduce_seconds(
    message_bytes: ArrayLike, num_gpus: int, *, calibration: Calibration, graph: bool = True
) -> FloatArray:
    """Seconds of an all-reduce of ``message_bytes`` over the GPUs of one node; 0 on one GPU."""
    size = positive("bytes", message_bytes)
    if num_gpus == 1:
        return np.zeros_like(size)
    if calibration.hardware.link_bytes_per_s <= 0:
        raise fail("tp", num_gpus, f"needs a link, and {calibration.hardware.name} has none")
    kernel = calibration.all_reduce(graph=graph)
    columns: Columns = {"num_gpus": np.asarray(float(num_gpus)), "bytes": size}
    any_dtype = next(iter(calibration.hardware.peak_flop_per_s))
    return evaluate(
        FORMS[kernel.form], kernel.parameters, columns, rates(calibration.hardware, PRECISION_DTYPE[any_dtype])
    )


def naive(op: str, columns: Columns, hardware: Hardware, dtype: str, kv_dtype: str = "") -> FloatArray:
    """Datasheet roofline of the same shapes."""
    return naive_seconds(op, columns, rates(hardware, dtype, kv_dtype))


# -- Reading ---------------------------------------------------------------------------------------------------


def to_json(calibration: Calibration) -> dict[str, Any]:
    """The parts of a calibration file that `from_json` reads back."""
    hardware = {field.name: getattr(calibration.hardware, field.name) for field in fields(Hardware)}
    hardware["peak_flop_per_s"] = dict(calibration.hardware.peak_flop_per_s)
    kernels = {
        op: {group: _fitted_json(kernel) for group, kernel in groups.items()}
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


def _fitted_json(kernel: Fitted) -> dict[str, Any]:
    form: Form = FORMS[kernel.form]
    return {
        "form": kernel.form,
        "parameters": dict(zip(form.parameters, kernel.parameters)),
        "lower_ratio": kernel.lower_ratio,
        "upper_ratio": kernel.upper_ratio,
        "evidence": kernel.evidence,
    }


def _fitted_from(entry: Mapping[str, Any]) -> Fitted:
    names = FORMS[one_of("form", str(entry["form"]), FORMS)].parameters
    given = entry["parameters"]
    return Fitted(
        form=entry["form"],
        parameters=tuple(float(given[name]) for name in names),
        lower_ratio=float(entry["lower_ratio"]),
        upper_ratio=float(entry["upper_ratio"]),
        evidence=str(entry["evidence"]),
    )


def from_json(value: Mapping[str, Any], *, path: str = "calibration") -> Calibration:
    """Calibration from the object of a calibration file."""
    try:
        kernels = {
            op: {group: _fitted_from(entry) for group, entry in groups.items()}
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


def known_dtype(dtype: str) -> str:
    """Canonical dtype of a kernels row: ``bf16`` is read as ``bfloat16``, ``fp32`` as ``float32``."""
    return one_of("dtype", PRECISION_DTYPE.get(dtype, dtype), WEIGHT_BYTES)
