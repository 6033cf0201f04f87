"""The calibration of a device that a user names, and notes on the GPU that its kernels come from."""

from __future__ import annotations

from dataclasses import replace
from os import PathLike

from scylla_sim.calibration import device_calibration
from scylla_sim.calibration.device_calibration import Calibration
from scylla_sim.checks import fail
from scylla_sim.specs import catalog
from scylla_sim.specs.hardware import Hardware


def calibration_for(hardware: str | Hardware, calibration: str | PathLike[str] | Calibration | None) -> Calibration:
    """Return the calibration of a device: the given one, the shipped one, or the priors of the kernel models."""
    given = (
        calibration
        if calibration is None or isinstance(calibration, Calibration)
        else device_calibration.read(str(calibration))
    )
    if isinstance(hardware, str) and hardware == "local":
        if given is None:
            raise fail("hardware", hardware, "needs a calibration", "give the file that scylla-sim calibrate wrote")
        return given
    device = hardware if isinstance(hardware, Hardware) else catalog.hardware(str(hardware))
    if given is not None:
        # Devices that differ only in name count as the same device.
        transferred = given.transferred_to(replace(device, name=given.hardware.name))
        return replace(transferred, hardware=device)
    name = device.name if isinstance(hardware, Hardware) else catalog.canonical_name("hardware", str(hardware))
    if name not in catalog.names("hardware"):
        name = device.calibration
    if name:
        return replace(device_calibration.shipped(name).applied_to(device), device=device.name)
    return Calibration(device=device.name, hardware=device, kernels={})


def family_notes(hardware: str | Hardware) -> list[str]:
    """Return a note if the kernels of a device come from a GPU that is not similar."""
    if isinstance(hardware, str) and hardware == "local":
        return []
    device = hardware if isinstance(hardware, Hardware) else catalog.hardware(hardware)
    source = device.calibration
    if not source or device.is_similar_to(catalog.hardware(source)):
        return []
    return [
        f"no kernel of a GPU similar to {device.name} was measured: times use kernels fitted on {source}, at the "
        f"datasheet rates of {device.name}, with wide intervals; evidence theory"
    ]
