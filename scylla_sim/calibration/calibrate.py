"""Calibrate a device: fit a kernel model to every group of its measured rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from scylla_sim.calibration.device_calibration import Calibration
from scylla_sim.calibration.fitted_kernel import FittedKernel
from scylla_sim.calibration.group_fit import GroupFit, fit_group
from scylla_sim.calibration.kernel_table import KernelTable
from scylla_sim.calibration.row_groups import row_groups
from scylla_sim.checks import InputError, fail
from scylla_sim.specs.hardware import Hardware


@dataclass(frozen=True)
class CalibrationFit:
    """Result of calibrating a device.

    Attributes
    ----------
    calibration
        Fitted kernels.
    groups
        Fit of each group.
    refused
        Groups that could not be fitted, each with the reason.
    """

    calibration: Calibration
    groups: list[GroupFit]
    refused: list[str]


def calibrate(
    rows: KernelTable,
    hardware: Hardware,
    *,
    evidence: str,
    source: str = "",
    progress: Callable[[str], None] = lambda text: None,
) -> CalibrationFit:
    """Fit every group of rows of one device.

    Parameters
    ----------
    rows
        Measured rows. Rows with a sliding window are left out, because a long context repeats the keys of a short
        one.
    evidence
        Evidence level of the rows.
    source
        Origin of the rows, for the record.
    progress
        Called with one line per fitted group.

    Raises
    ------
    InputError
        No group can be fitted.
    """
    groups: list[GroupFit] = []
    refused: list[str] = []
    for op, name, part in row_groups(rows.where(rows.without_window())):
        try:
            groups.append(fit_group(op, name, part, hardware=hardware, evidence=evidence))
        except InputError as error:
            refused.append(f"{op} {name}: {error}" if op not in str(error) else str(error))
            continue
        progress(f"{op} {name}: {groups[-1].rows} rows, held-out median error {groups[-1].median_error:.1%}")
    if not groups:
        raise fail("measurements", f"{len(rows)} rows", "cannot be fitted", "; ".join(refused))
    kernels: dict[str, dict[str, FittedKernel]] = {}
    for group in groups:
        kernels.setdefault(group.op, {})[group.name] = group.kernel
    calibration = Calibration(
        device=hardware.name, hardware=hardware, kernels=kernels, evidence=evidence, source=source
    )
    return CalibrationFit(calibration, groups, refused)
