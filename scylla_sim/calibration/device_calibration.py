"""Calibration of one device: its fitted kernels, read from JSON or shipped with the package.

A look-up tries the groups of fitted kernels in a stated order: the same library, the same data type, the nearest
head size. An operation that was never fitted uses the prior of its kernel model, with evidence ``theory``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from functools import cache, partial
from importlib import resources
from pathlib import Path
from types import MappingProxyType
from typing import Any

from scylla_sim.calibration import fitted_kernel
from scylla_sim.calibration.fitted_kernel import FittedKernel, prior_kernel
from scylla_sim.checks import InputError, fail, one_of
from scylla_sim.kernels.operation import KernelQuery
from scylla_sim.kernels.registry import OPERATIONS, models_for, operation
from scylla_sim.records import read_json, sha256_of
from scylla_sim.specs import catalog
from scylla_sim.specs.dtypes import DTYPES, NEAREST_KV
from scylla_sim.specs.hardware import Hardware

SCHEMA = "scylla-sim/calibration/1"

DONORS: Mapping[tuple[str, str], tuple[str, ...]] = {
    **{("gemm", dtype): ("a100-sxm",) for dtype in ("int4_wo", "int8_wo", "sq")},
    ("experts", "int4_wo"): ("h100-sxm", "h200-sxm", "b200-sxm", "a100-sxm"),
    ("experts", "mxfp4"): ("h100-sxm", "h200-sxm", "b200-sxm", "l40s", "rtx-pro-6000"),
}
"""Operation and data type -> devices whose fit other devices use, for types that few devices were measured with.

The first device of the same GPU family is used, otherwise the first one.
"""


def _dtype_of(group: str) -> str:
    """Return the data type of a group of fitted kernels, without head size and library."""
    return group.partition("@")[0].partition("/")[0]


@dataclass(frozen=True)
class Calibration:
    """Fitted kernels of one device.

    Attributes
    ----------
    device
        Name of the device.
    hardware
        Its datasheet.
    kernels
        Fitted kernels by operation and group, for example ``gemm`` and ``bfloat16``.
    evidence
        Evidence level of the fits.
    source
        Origin of the measured rows.
    """

    device: str
    hardware: Hardware
    kernels: Mapping[str, Mapping[str, FittedKernel]]
    evidence: str = "theory"
    source: str = ""

    def __post_init__(self) -> None:
        """Check the fields."""
        for op in self.kernels:
            one_of("op", op, OPERATIONS)
        frozen = {op: MappingProxyType(dict(groups)) for op, groups in self.kernels.items()}
        object.__setattr__(self, "kernels", MappingProxyType(frozen))

    def __reduce__(self) -> tuple[Any, ...]:
        """Return the constructor call for pickle and copy, which cannot store a read-only mapping."""
        kernels = {op: dict(groups) for op, groups in self.kernels.items()}
        return partial(Calibration, **{**vars(self), "kernels": kernels}), ()

    def find(self, op: str, query: KernelQuery) -> FittedKernel:
        """Return the fitted kernel that answers a query best, or the prior of the likeliest kernel model.

        Notes
        -----
        A data type without a fit here uses, in this order: the fit of a device of `DONORS`, transferred; the fit of
        the nearest data type, widened (evidence ``theory``); the prior.
        """
        kernel = self._fitted(op, query) or self._borrowed(op, query)
        if kernel is not None:
            return kernel
        models = models_for(op, query.dtype, self.hardware)
        if not models:
            raise fail("op", op, f"has no kernel model for {self.hardware.name}")
        return prior_kernel(models[0])

    def has(self, op: str, query: KernelQuery) -> bool:
        """Return whether the general group of a query was fitted, regardless of libraries."""
        fitted = self.kernels.get(op, {})
        return operation(op).lookup(query, fitted)[-1] in fitted or self._borrowed(op, query) is not None

    def _fitted(self, op: str, query: KernelQuery) -> FittedKernel | None:
        fitted = self.kernels.get(op, {})
        return next((fitted[group] for group in operation(op).lookup(query, fitted) if group in fitted), None)

    def _borrowed(self, op: str, query: KernelQuery) -> FittedKernel | None:
        """Return the fit of another device or of the nearest data type; ``None`` if the operation has no fits."""
        if not self.kernels.get(op):
            return None
        if operation(op).reads_kv:
            nearest_kv = NEAREST_KV.get(query.kv_dtype)
            kernel = self._fitted(op, replace(query, kv_dtype=nearest_kv)) if nearest_kv else None
            return kernel.widened() if kernel else None
        donated = _donated(op, query.dtype, self.hardware)
        if donated is not None:
            return donated
        nearest = DTYPES[query.dtype].nearest
        if not nearest:
            return None
        kernel = self._fitted(op, replace(query, dtype=nearest)) or _donated(op, nearest, self.hardware)
        return kernel.widened() if kernel else None

    def kernel(
        self,
        op: str,
        *,
        dtype: str = "bfloat16",
        kv_dtype: str = "",
        sources: tuple[str, ...] = (),
        **values: float,
    ) -> FittedKernel:
        """Return the fitted kernel of an operation; see `KernelQuery` for the arguments.

        Examples
        --------
        >>> h100 = shipped("h100-sxm")
        >>> h100.kernel("gemm", dtype="fp8").model.name
        'gemm_dispatched'
        >>> h100.kernel("decode_attention", kv_dtype="bfloat16", head_dim=128).evidence
        'silicon'
        >>> h100.kernel("gemm", dtype="int4_wo").evidence
        'transferred'
        """
        return self.find(op, KernelQuery(dtype, kv_dtype, sources, values))

    def without(self, *ops: str) -> Calibration:
        """Return the calibration as if no kernel of these operations had been fitted."""
        for op in ops:
            one_of("op", op, OPERATIONS)
        kept = {op: groups for op, groups in self.kernels.items() if op not in ops}
        return replace(self, kernels=kept)

    def completed_by(self, other: Calibration) -> tuple[Calibration, list[str]]:
        """Return the calibration with the missing fits of another one.

        Fits of ``other`` are added for each operation and data type that has none here. Head sizes and libraries of
        a data type that was fitted here are not added; look-ups use the nearest fit of this calibration instead.

        Returns
        -------
        calibration, added
            The completed calibration, and the names of the added fits.
        """
        kernels = {op: dict(groups) for op, groups in self.kernels.items()}
        added = []
        for op, groups in other.transferred_to(self.hardware).kernels.items():
            fitted = {_dtype_of(name) for name in self.kernels.get(op, {})}
            for name, kernel in groups.items():
                if _dtype_of(name) not in fitted:
                    kernels.setdefault(op, {})[name] = kernel
                    added.append(f"{op} {name}")
        return replace(self, kernels=kernels), added

    def transferred_to(self, hardware: Hardware) -> Calibration:
        """Return the kernels at the datasheet rates of another device, with wider error bands.

        `FittedKernel.transferred` states what happens to the parameters.

        Raises
        ------
        InputError
            If the kernels are those of a GPU, and the other device has no ``sm_count``.
        """
        if hardware.has_the_rates_of(self.hardware):
            return replace(self, hardware=hardware)  # fields that equality ignores may differ, and further peaks
        if self.kernels and self.hardware.sm_count and not hardware.sm_count:
            rule = f"must be above 0, because the kernels of {self.device} need it"
            raise fail("sm_count", 0, rule, "add sm_count and l2 to the hardware")
        same_family = hardware.family == self.hardware.family
        kernels = {
            op: {group: kernel.transferred(same_family=same_family) for group, kernel in groups.items()}
            for op, groups in self.kernels.items()
        }
        return replace(self, hardware=hardware, kernels=kernels, evidence="transferred")

    def applied_to(self, hardware: Hardware) -> Calibration:
        """Return the kernels for a device that has no calibration of its own.

        They are transferred to a similar device. On another device they are a fallback, with wider intervals and
        evidence ``theory``; `Hardware.is_similar_to` decides.
        """
        moved = self.transferred_to(hardware)
        if hardware.is_similar_to(self.hardware):
            return moved
        kernels = {
            op: {group: kernel.widened() for group, kernel in groups.items()}
            for op, groups in moved.kernels.items()
        }
        return replace(moved, kernels=kernels, evidence="theory")


# -- Reading ---------------------------------------------------------------------------------------------------


def to_json(calibration: Calibration) -> dict[str, Any]:
    """Return the parts of a calibration file that `from_json` reads back."""
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
    """Return the calibration of a parsed calibration file.

    Raises
    ------
    InputError
        The file is damaged; the message names ``path``.
    """
    try:
        kernels = {
            op: {group: fitted_kernel.from_json(entry) for group, entry in groups.items()}
            for op, groups in value["kernels"].items()
        }
        return Calibration(
            device=str(value["device"]),
            hardware=Hardware(**value["hardware"]),
            kernels=kernels,
            evidence=one_of("evidence", str(value["evidence"]), fitted_kernel.LEVELS),
            source=str(value.get("source", "")),
        )
    except InputError:
        raise
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise fail(
            "calibration", path, f"is damaged ({error!r})", "make it again with scylla-sim calibrate"
        ) from None


def read(path: Path | str) -> Calibration:
    """Read a calibration file that `scylla-sim calibrate` wrote."""
    return from_json(read_json(path, schema=SCHEMA), path=str(path))


def shipped_devices() -> list[str]:
    """Return the devices whose calibration is in the package."""
    folder = resources.files("scylla_sim") / "data" / "calibrations"
    return sorted(item.name.removesuffix(".json") for item in folder.iterdir() if item.name.endswith(".json"))


@cache
def shipped(name: str) -> Calibration:
    """Return the calibration of a catalog device.

    A device without a calibration of its own uses the one that the catalog names, applied to its datasheet.
    Without that it uses the priors of the kernel models.
    """
    hardware = catalog.hardware(name)
    source = catalog.calibration_name(name)
    if source is None or source not in shipped_devices():
        return Calibration(device=name, hardware=hardware, kernels={}, source="priors of the kernel models")
    with resources.as_file(resources.files("scylla_sim") / "data" / "calibrations" / f"{source}.json") as path:
        return replace(read(path).applied_to(hardware), device=name)


def _donated(op: str, dtype: str, hardware: Hardware) -> FittedKernel | None:
    """Return the fit of the nearest device of `DONORS`, transferred; ``None`` if there is none."""
    donors = DONORS.get((op, dtype), ())
    if not donors or hardware.sm_count == 0:
        return None
    related = [name for name in donors if catalog.hardware(name).family == hardware.family]
    donor = shipped((related or donors)[0])
    return donor.kernels[op][dtype].transferred(same_family=bool(related))


def shipped_hash(name: str) -> str | None:
    """Return the sha256 of the calibration file behind `shipped`; ``None`` for a device with priors only."""
    source = catalog.calibration_name(name)
    if source is None or source not in shipped_devices():
        return None
    with resources.as_file(resources.files("scylla_sim") / "data" / "calibrations" / f"{source}.json") as path:
        return sha256_of(path)
