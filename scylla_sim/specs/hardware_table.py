"""Quantities with value, unit and source, and the hardware that a table of them describes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scylla_sim.checks import fail, one_of, whole
from scylla_sim.specs.hardware import Hardware
from scylla_sim.units import UNITS

_HARDWARE_FIELDS = {
    "memory": "memory_bytes",
    "reported_memory": "reported_memory_bytes",
    "memory_bandwidth": "memory_bytes_per_s",
    "sm_count": "sm_count",
    "l2": "l2_bytes",
    "link_bandwidth": "link_bytes_per_s",
    "gpus_per_node": "gpus_per_node",
}

_DIMENSIONS = {
    "memory": ("B", "GB", "MiB", "GiB"),
    "reported_memory": ("B", "GB", "MiB", "GiB"),
    "l2": ("B", "MiB", "GB", "GiB"),
    "memory_bandwidth": ("GB/s", "TB/s"),
    "link_bandwidth": ("GB/s", "TB/s"),
    "sm_count": ("count",),
    "gpus_per_node": ("count",),
    "peak": ("GFLOP/s", "TFLOP/s", "PFLOP/s"),
}
"""Accepted units of each hardware field."""


def quantity(entry: str, field: str, given: Any) -> float:
    """Return the value of a catalog quantity in SI base units.

    Parameters
    ----------
    entry, field
        Name of the entry and of its field, for error messages.
    given
        Mapping with the keys ``value``, ``unit`` and ``source``.

    Raises
    ------
    InputError
        For a missing key, an unknown unit or a value that is not a number.
    """
    for key in ("value", "unit", "source"):
        if not isinstance(given, Mapping) or key not in given:
            raise fail(f"{entry}.{field}", given, f"lacks its {key}", "write { value, unit, source }")
    dimension = _DIMENSIONS.get("peak" if field.startswith("peak_") else field, tuple(UNITS))
    one_of(f"{entry}.{field} unit", str(given["unit"]), dimension)
    if not str(given["source"]).strip():
        raise fail(f"{entry}.{field}", given["value"], "lacks its source", "state where the number is from")
    if isinstance(given["value"], bool) or not isinstance(given["value"], int | float):
        raise fail(f"{entry}.{field}", given["value"], "must be a number")
    return float(given["value"]) * UNITS[given["unit"]]


def hardware_from(name: str, entry: Mapping[str, Any]) -> Hardware:
    """Return the hardware of a table, in SI base units.

    Parameters
    ----------
    entry
        Field -> quantity; see `quantity`. ``family``, ``link`` and ``calibration`` are plain texts.

    Raises
    ------
    InputError
        For an unknown field, a missing memory or bandwidth, and a bad quantity.
    """
    values: dict[str, Any] = {"peak_flop_per_s": {}}
    for field, given in entry.items():
        if field in ("family", "link", "calibration"):
            values[field] = str(given)
        elif field.startswith("peak_"):
            values["peak_flop_per_s"][field.removeprefix("peak_")] = quantity(name, field, given)
        else:
            one_of(f"{name} field", field, (*_HARDWARE_FIELDS, "family", "link", "calibration", "peak_*"))
            values[_HARDWARE_FIELDS[field]] = quantity(name, field, given)
    for field in ("memory", "memory_bandwidth"):
        if field not in entry:
            raise fail(f"{name}.{field}", None, "is missing from the hardware description")
    values.setdefault("family", name)
    for field in ("sm_count", "gpus_per_node"):
        if field in values:
            values[field] = int(whole(f"{name}.{field}", values[field], 0))
    return Hardware(name=name, **values)
