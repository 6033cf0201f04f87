"""The verb ``rows``: a measured record as CSV, in the columns that `scylla-sim kernels` and `calibrate` read.

The split is by shape. All rows of a weight shape (n, k), of an attention shape (batch, kv_len) or of a step (batch,
context) are in one part. A fit then never uses a test shape with another number of rows or tokens. Attention is
split separately for each batch.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gpu_validate.device.facts import LOCAL
from gpu_validate.device.hardware_toml import write_hardware
from gpu_validate.records import record_file
from gpu_validate.records.rows import PARTS, REPEAT_PASS, export
from scylla_sim.checks import label
from scylla_sim.console import name_list, note
from scylla_sim.records import format_csv, write_text
from scylla_sim.stats.split import TRAIN

EPILOG = """examples:
  gpu-validate rows --record results/measure/kernels.json --part train --out results/measure/kernels-train.csv
  gpu-validate rows --record results/measure/step.json --part all
  gpu-validate rows --record results/measure/step.json --pass 2 --out again.csv
  gpu-validate rows --record gpu_validate/recorded/h100-sxm/step.json --out step.csv --repeat step-again.csv
"""


BYTES_ONLY = ("elementwise",)
"""Operations whose libraries only move bytes and share one fit."""


def _write(rows: Sequence[Mapping[str, Any]], out: str | None) -> None:
    text = format_csv(rows)
    if out is None:
        sys.stdout.write(text)
    else:
        write_text(out, text)
        note(f"wrote {len(rows)} rows to {out}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the verb to its parser."""
    parser.add_argument("--record", metavar="FILE", required=True, help="written by gpu-validate measure")
    parser.add_argument("--part", choices=PARTS, default="all", help="default: all")
    parser.add_argument(
        "--pass",
        dest="number",
        type=int,
        metavar="N",
        default=1,
        help="pass over the grid; 2 is the repeat; default: 1",
    )
    parser.add_argument(
        "--device", metavar="NAME", default="", help="device name in the rows; default: as in the record"
    )
    parser.add_argument("--evidence", choices=("live", "recorded"), default="", help="default: as in the record")
    parser.add_argument(
        "--kernel-source", metavar="NAME,...", default="", help="keep only the kernels of these libraries"
    )
    parser.add_argument("--out", metavar="FILE", help="output CSV; default: stdout")
    parser.add_argument(
        "--repeat", metavar="FILE", help="also write the second pass there; only a header line if there is none"
    )
    parser.add_argument(
        "--hardware",
        metavar="FILE",
        help="also write a hardware file with the measured peaks (needs a kernels record)",
    )


def _warn_of_other_device(record: Mapping[str, Any], name: str) -> None:
    """Warn if the rows get the name of a catalog device other than the measured one."""
    recorded = str(record["provenance"]["device"].get("hardware", LOCAL))
    if name not in ("", LOCAL, recorded) and recorded != LOCAL:
        note(f"warning: device={name!r} names the rows, but {recorded} measured the record")


def _warn_of_several_libraries(rows: Sequence[Mapping[str, Any]]) -> None:
    """Warn about operations of several libraries, which a calibration would mix in one fit."""
    found: dict[tuple[str, str], set[str]] = {}
    for row in rows:
        if row["op"] not in BYTES_ONLY:
            found.setdefault((row["op"], row["dtype"]), set()).add(str(row.get("kernel_source", "")))
    for (op, dtype), libraries in found.items():
        if len(libraries) > 1:
            names = ", ".join(sorted(libraries))
            note(f"warning: {op} {dtype} has rows of {names}; a fit mixes them unless --kernel-source names one")


def execute(args: argparse.Namespace) -> None:
    """Run the verb."""
    record = record_file.read(args.record)
    _warn_of_other_device(record, label("device", args.device))
    sources = name_list(args.kernel_source)
    labels: dict[str, Any] = {"device": args.device, "evidence": args.evidence, "sources": sources}
    with record_file.complete_rows(args.record):
        exported = export(record, args.part, number=args.number, **labels)
    if args.part == TRAIN and not sources:
        _warn_of_several_libraries(exported)
    if args.hardware:
        with record_file.complete_rows(args.record):
            write_hardware(Path(args.hardware), record)
        note(f"wrote {args.hardware}")
    if args.repeat:
        repeated = any(row.get("pass", 1) == REPEAT_PASS for row in record["values"])
        again = export(record, args.part, number=REPEAT_PASS, **labels) if repeated else []
        write_text(args.repeat, format_csv(again) if again else ",".join(exported[0]) + "\n")
        note(f"wrote {len(again)} rows to {args.repeat}")
    _write(exported, args.out)
