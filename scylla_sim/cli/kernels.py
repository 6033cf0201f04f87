"""``scylla-sim kernels``: seconds of given kernel shapes, CSV in and out."""

from __future__ import annotations

import argparse

from scylla_sim.calibration import device_calibration, kernel_table
from scylla_sim.calibration.benchmark import benchmark_seconds
from scylla_sim.checks import fail
from scylla_sim.cli import _columns
from scylla_sim.console import add_output, emit_columns, name_list
from scylla_sim.number_columns import errors_at, line_of
from scylla_sim.specs import catalog

EPILOG = """example:
  printf 'op,device,dtype,m,n,k\\ngemm,h100-sxm,bf16,64,4096,4096\\n' > shapes.csv
  scylla-sim kernels --shapes shapes.csv --format csv
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the verb."""
    parser.add_argument(
        "--shapes",
        required=True,
        metavar="FILE",
        help="CSV with the columns op, device, dtype and those of its shape (docs/add-a-gpu.md lists them)",
    )
    parser.add_argument(
        "--calibration",
        metavar="FILE",
        help="calibration from scylla-sim calibrate (default: the shipped one of each device)",
    )
    parser.add_argument(
        "--carry",
        action="store_true",
        help="transfer --calibration to the device of each row: the same kernels at its datasheet rates",
    )
    parser.add_argument(
        "--without",
        default="",
        metavar="OP,...",
        help="ignore the fits of these operations; use their fallback, or the priors of their kernel models",
    )
    add_output(parser, default="csv")


def execute(args: argparse.Namespace) -> int:
    """Run the verb and return the exit code."""
    given = device_calibration.read(args.calibration) if args.calibration else None
    rows = kernel_table.read(args.shapes, device=given.device if given else None)
    devices = set(rows.labels["device"].tolist())
    if "" in devices:
        at = line_of(args.shapes)(rows.labels["device"].tolist().index(""))
        raise fail("device", "", f"must be given {at}", "or give --calibration")
    place = line_of(args.shapes)
    calibrations = {}
    for name in devices:
        with errors_at(place, rows.labels["device"].tolist().index(name)):
            calibrations[name] = given or device_calibration.shipped(name)
    notes = _columns.name_notes(rows.columns, models=())
    if "device" in rows.columns:
        what = _columns.TRANSFERRED if args.carry else "is not transferred (--carry) to rows of"
        notes += _columns.transfer_notes(rows.columns, given, what)
    _columns.note_each(notes, args.shapes)
    if args.carry:
        if given is None:
            raise fail("carry", "yes", "needs --calibration", "it names the calibration to transfer")
        calibrations = {name: given.transferred_to(catalog.hardware(name)) for name in devices}
    unfitted = name_list(args.without)
    calibrations = {name: calibration.without(*unfitted) for name, calibration in calibrations.items()}
    inputs = [args.shapes, *([args.calibration] if args.calibration else [])]
    found = benchmark_seconds(rows, calibrations, place=place)
    emit_columns(args, "kernels", rows.columns, found, inputs=inputs)
    return 0
