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
from scylla_sim.calibration.fitted_kernel import FittedKernel
from scylla_sim.checks import InputError, fail, one_of
from scylla_sim.kernels.registry import FORMS, forms_for
from scylla_sim.records import read_json, sha256_of
from scylla_sim.specs import catalog
from scylla_sim.specs.hardware import Hardware

SCHEMA = "scylla-sim/calibration/1"
OPS = ("gemm", "decode_attention", "latent_attention", "experts", "all_reduce", "elementwise")


def _made_by(sources: Sequence[str], group: str) -> list[str]:
    """Names of a group as single libraries or frameworks have it."""
    return [f"{group}@{framework}" for framework in sources if framework]


def _dtype_of(group: str) -> str:
    """dtype of a group of fitted kernels, without head size and library."""
    return group.partition("@")[0].partition("/")[0]


@dataclass(frozen=True)
class Calibration:
    """Fitted kernels of one device, keyed ``op`` and ``group`` (for example ``gemm``, ``bfloat16``)."""

    device: str
    hardware: Hardware
    kernels: Mapping[str, Mapping[str, FittedKernel]]
    evidence: str = "theory"
    source: str = ""

    def __post_init__(self) -> None:
        for op in self.kernels:
            one_of("op", op, OPS)
        frozen = {op: MappingProxyType(dict(groups)) for op, groups in self.kernels.items()}
        object.__setattr__(self, "kernels", MappingProxyType(frozen))

    def find(self, op: str, *groups: str) -> FittedKernel:
        """The first of ``groups`` that was fitted, else the prior of the form this device would use."""
        known = self.kernels.get(op, {})
        for group in groups:
            if group in known:
                return known[group]
        dtype = groups[-1].split("/")[0]
        name = forms_for(op, dtype, self.hardware)[0]
        return FittedKernel(form=name, parameters=FORMS[name].prior)

    def gemm(self, dtype: str, *sources: str) -> FittedKernel:
        """Kernel of a GEMM dtype: of the first of ``sources`` (libraries, frameworks) that was fitted apart."""
        return self.find("gemm", *_made_by(sources, dtype), dtype)

    def attention(self, kv_dtype: str, head_dim: int, *sources: str) -> FittedKernel:
        """Attention kernel of a KV dtype and head size; the nearest fitted size stands in for a missing one."""
        exact = f"{kv_dtype}/{head_dim}"
        sizes = [
            int(group.split("/")[1])
            for group in self.kernels.get("decode_attention", {})
            if group.startswith(f"{kv_dtype}/") and "@" not in group
        ]
        near = min(sizes, key=lambda size: abs(np.log(size / head_dim)), default=head_dim)
        nearest = f"{kv_dtype}/{near}"
        groups = (*_made_by(sources, exact), exact, *_made_by(sources, nearest), nearest)
        return self.find("decode_attention", *groups)

    def experts(self, dtype: str, *sources: str) -> FittedKernel:
        """Kernels of a layer of experts of a dtype; ``sources`` as in `gemm`."""
        return self.find("experts", *_made_by(sources, dtype), dtype)

    def all_reduce(self, *sources: str, graph: bool = True) -> FittedKernel:
        """All-reduce inside a CUDA graph, or launched eagerly; ``sources`` as in `gemm`."""
        name = "graph" if graph else "eager"
        return self.find("all_reduce", *_made_by(sources, name), name)

    def elementwise(self) -> FittedKernel:
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
        for op, groups in other.transferred_to(self.hardware).kernels.items():
            fitted = {_dtype_of(name) for name in self.kernels.get(op, {})}
            for name, kernel in groups.items():
                if _dtype_of(name) not in fitted:
                    kernels.setdefault(op, {})[name] = kernel
                    kept.append(f"{op} {name}")
        return replace(self, kernels=kernels), kept

    def transferred_to(self, hardware: Hardware) -> Calibration:
        """The same kernels at another device's datasheet rates, with a wider interval; see `Fitted.carried`."""
        if hardware == self.hardware:
            return self
        same_family = hardware.family == self.hardware.family
        kernels = {
            op: {group: kernel.transferred(same_family=same_family) for group, kernel in groups.items()}
            for op, groups in self.kernels.items()
        }
        return replace(self, hardware=hardware, kernels=kernels, evidence="transferred")


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
        return replace(read(path).transferred_to(hardware), device=name)


def shipped_hash(name: str) -> str | None:
    """sha256 of the calibration file behind `shipped`, ``None`` where a device has the priors only."""
    source = catalog.calibration_name(name)
    if source is None or source not in shipped_devices():
        return None
    with resources.as_file(resources.files("scylla_sim") / "data" / "calibrations" / f"{source}.json") as path:
        return sha256_of(path)
