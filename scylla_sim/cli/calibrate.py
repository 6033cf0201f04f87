"""``scylla-sim calibrate``: measured kernel rows in, ``calibration.json`` out."""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np

from scylla_sim.calibration import device_calibration, kernel_table
from scylla_sim.calibration.calibrate import calibrate
from scylla_sim.calibration.row_checks import check_rows
from scylla_sim.checks import InputError, fail
from scylla_sim.console import name_list, note
from scylla_sim.number_columns import line_of
from scylla_sim.records import EVIDENCE, dump_json, provenance, write_text
from scylla_sim.specs import catalog
from scylla_sim.specs.hardware import Hardware
from scylla_sim.text.tables import text_table

EPILOG = """example:
  gpu-validate silicon --device h100-sxm --op gemm --part train --rows 256 --out train.csv
  scylla-sim calibrate --measurements train.csv --device h100-sxm --out h100.json
  scylla-sim predict --hardware h100-sxm --model llama-3.1-8b --calibration h100.json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the verb."""
    parser.add_argument(
        "--measurements", required=True, metavar="FILE[,FILE]", help="kernels CSV files with a column latency_ms"
    )
    parser.add_argument("--device", required=True, help="device whose rows are fitted: a catalog name, or `local`")
    parser.add_argument("--hardware", metavar="FILE.toml", help="datasheet of a device that is not in the catalog")
    parser.add_argument(
        "--evidence", choices=EVIDENCE, default="silicon", help="evidence level of the rows (default: silicon)"
    )
    parser.add_argument("--base", metavar="NAME", help="catalog GPU whose shipped fits fill the gaps")
    parser.add_argument("--source", default="", help="origin of the rows, for the record")
    parser.add_argument(
        "--allow-implausible",
        action="store_true",
        help="fit rows that the datasheet of the device contradicts; they are noted instead of refused",
    )
    parser.add_argument("--out", metavar="FILE", required=True, help="calibration file to write")


def _read(path: str, device: str) -> tuple[kernel_table.KernelTable, list[str]]:
    """Return the rows of a device from one file, and the place of each in the file."""
    rows = kernel_table.read(path, device=device, measured=True)
    mine = rows.labels["device"] == device
    if not mine.any():
        found = ", ".join(sorted(set(rows.labels["device"].tolist())))
        raise fail("device", device, f"has no rows in {path}", f"found: {found}")
    return rows.where(np.asarray(mine)), [line_of(path)(int(index)) for index in np.flatnonzero(mine)]


def _check(
    rows: kernel_table.KernelTable, places: list[str], hardware: Hardware, *, allow_implausible: bool
) -> list[str]:
    """Print what is suspicious about the rows, and return the implausible groups that are fitted all the same.

    Raises
    ------
    InputError
        When a group is implausible and ``allow_implausible`` is not set.
    """
    refusals, notes = check_rows(rows, hardware, place=places.__getitem__)
    if refusals and not allow_implausible:
        more = f" ({len(refusals) - 1} more groups are implausible)" if len(refusals) > 1 else ""
        raise InputError(f"{refusals[0]}{more}; --allow-implausible fits these rows all the same")
    for line in (*refusals, *notes):
        note(f"note: {line}")
    return refusals


def execute(args: argparse.Namespace) -> int:
    """Run the verb and return the exit code."""
    paths = name_list(args.measurements)
    if args.device == "local" and not args.hardware:
        raise fail(
            "hardware", None, "is needed for --device local", "gpu-validate measure writes DIR/hardware.toml"
        )
    if not paths:
        raise fail("measurements", args.measurements, "must name at least one file")
    if len(set(paths)) != len(paths):
        raise fail("measurements", args.measurements, "must not name a file twice")
    hardware = replace(catalog.hardware(args.hardware or args.device), name=args.device)
    files = [_read(path, args.device) for path in paths]
    rows = kernel_table.concatenate([part for part, _ in files])
    places = [place for _, part in files for place in part]
    implausible = _check(rows, places, hardware, allow_implausible=args.allow_implausible)
    result = calibrate(rows, hardware, evidence=args.evidence, source=args.source, progress=note)
    calibration, kept = result.calibration, list[str]()
    if args.base:
        calibration, kept = calibration.completed_by(device_calibration.shipped(args.base))
    value = {
        **device_calibration.to_json(calibration),
        "fits": [{**group.report(), "parameters": group.intervals} for group in result.groups],
        "refused": result.refused,
        **({"implausible": implausible} if implausible else {}),
        **({"kept": kept} if args.base else {}),
        "provenance": provenance(inputs=paths),
    }
    write_text(args.out, dump_json(value))
    print(text_table([group.report() for group in result.groups]), end="")
    for line in result.refused:
        note(f"not fitted: {line}")
    if kept:
        note(f"kept from {args.base}: {', '.join(kept)}")
    note(f"wrote {args.out}")
    return 0
