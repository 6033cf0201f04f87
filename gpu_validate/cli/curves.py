"""The verb ``curves``: records of training and trained loops as CSV for ``scylla-sim laws`` and ``cycles``."""

from __future__ import annotations

import argparse
from pathlib import Path

from gpu_validate.records import record_file
from gpu_validate.records.curves import TABLES, write_models
from scylla_sim.checks import InputError, fail, label
from scylla_sim.console import note
from scylla_sim.records import format_csv, write_text

EPILOG = """examples:
  gpu-validate curves --record results/smallscale/live/smallscale.json --table acceptance --out acceptance.csv
  gpu-validate curves --record results/smallscale/live/trained.json --table loops --models models --out loops.csv
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the verb to its parser."""
    parser.add_argument(
        "--record",
        metavar="FILE[,FILE]",
        required=True,
        help="record of train, or of measure --suite trained; several records of train make one table",
    )
    parser.add_argument("--table", choices=tuple(TABLES), required=True, help="table to write")
    parser.add_argument(
        "--pass", dest="number", type=int, metavar="N", default=1, help="pass over the grid of loops; default: 1"
    )
    parser.add_argument(
        "--models", metavar="DIR", help="write the models' shapes there, and use the folders as their names"
    )
    parser.add_argument(
        "--device", metavar="NAME", default="", help="device name in the rows; default: as in the record"
    )
    parser.add_argument("--evidence", choices=("live", "recorded"), default="", help="default: as in the record")
    parser.add_argument("--out", metavar="FILE", required=True, help="output CSV")


def execute(args: argparse.Namespace) -> None:
    """Run the verb."""
    suite, make = TABLES[args.table]
    paths = args.record.split(",")
    if args.number != 1 and args.table != "loops":
        raise fail("pass", args.number, "needs --table loops")
    if len(paths) > 1 and suite != record_file.TRAINING:
        raise fail("record", args.record, f"must be one file for --table {args.table}")
    rows = []
    for path in paths:
        record = record_file.read(path)
        if record["suite"] != suite:
            raise fail("record", path, f"is of suite {record['suite']}, {args.table} needs {suite}")
        with record_file.complete_rows(path):
            found = make(record, args.number) if args.table == "loops" else make(record)
        rows += [{**row, "evidence": args.evidence or record["evidence"]} for row in found]
    if not rows:
        raise InputError(f"table={args.table!r} has no row in {args.record}")
    folders = write_models(record, Path(args.models)) if args.models else {}
    for row in rows:
        if args.device and "device" in row:
            row["device"] = label("device", args.device)
        for name in ("model", "draft"):
            row |= {name: folders[row[name]]} if row.get(name) in folders else {}
    write_text(args.out, format_csv(rows))
    note(f"wrote {len(rows)} rows to {args.out}")
