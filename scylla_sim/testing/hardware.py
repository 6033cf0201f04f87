"""Laws of the datasheet of a GPU or CPU."""

from __future__ import annotations

from dataclasses import replace

from scylla_sim.kernels.registry import OPERATIONS
from scylla_sim.specs.hardware import Hardware
from scylla_sim.testing.kernels import check_operation, rates_of_group
from scylla_sim.testing.requirement import close, require
from scylla_sim.testing.shapes import random_shapes

_NARROWER = (("fp32", "bf16"), ("bf16", "fp8"), ("bf16", "int8"), ("fp8", "fp4"))
"""Pairs of precisions, the second of which is never slower."""

_PRECISIONS = {"bf16": "bfloat16", "fp8": "fp8", "fp32": "float32"}
"""Precision of the datasheet -> data type with which its operations are checked."""


def check_hardware(hardware: Hardware) -> None:
    """Check a datasheet, and every operation at the priors of its kernel models.

    Examples
    --------
    >>> from scylla_sim.specs import catalog
    >>> check_hardware(catalog.hardware("h100-sxm"))
    >>> slow = {**catalog.hardware("h100-sxm").peak_flop_per_s, "fp8": 1e12}
    >>> check_hardware(replace(catalog.hardware("h100-sxm"), name="mine", peak_flop_per_s=slow))
    Traceback (most recent call last):
        ...
    AssertionError: hardware mine: fp8 is never slower than bf16; broken at fp8=1e+12, bf16=9.894e+14
    """
    name, peaks = f"hardware {hardware.name}", hardware.peak_flop_per_s
    for wide, narrow in _NARROWER:
        if wide in peaks and narrow in peaks:
            shown = {narrow: peaks[narrow], wide: peaks[wide]}
            require(name, f"{narrow} is never slower than {wide}", peaks[narrow] >= peaks[wide], **shown)
    usable = hardware.usable_memory_bytes
    require(name, "a program can use some of the memory", 0.0 < usable <= hardware.memory_bytes, usable=usable)
    several = hardware.link == "none" or hardware.link_bytes_per_s > 0.0
    require(name, "a link has a bandwidth", several, link=hardware.link)
    for precision in _PRECISIONS.keys() & peaks.keys():
        for operation in OPERATIONS.values():
            if "num_gpus" not in operation.table.required or hardware.link_bytes_per_s:
                check_operation(operation, hardware, dtype=_PRECISIONS[precision])
                _check_rates(hardware, operation.name, _PRECISIONS[precision])


def _check_rates(hardware: Hardware, op: str, dtype: str) -> None:
    """Check that a device with all rates doubled halves every roofline time."""
    operation, shapes = OPERATIONS[op], random_shapes(OPERATIONS[op])
    fast = replace(
        hardware,
        memory_bytes_per_s=2.0 * hardware.memory_bytes_per_s,
        link_bytes_per_s=2.0 * hardware.link_bytes_per_s,
        peak_flop_per_s={name: 2.0 * peak for name, peak in hardware.peak_flop_per_s.items()},
    )
    slow_s, fast_s = (
        operation.roofline_seconds(shapes, rates_of_group(operation, dtype, one)) for one in (hardware, fast)
    )
    law = f"twice all rates halve the roofline of {op}"
    require(f"hardware {hardware.name}", law, close(slow_s, 2.0 * fast_s), **shapes)
