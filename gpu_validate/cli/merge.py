"""The verb ``merge``: measured rows with the predictions of the same shapes beside them, row by row.

`gpu_validate.cli.compare` sums errors up; this keeps each row, for tables that show single configurations.
"""

from __future__ import annotations

import argparse

from gpu_validate.comparison.join import assignments, read
from gpu_validate.comparison.merge import merge
from scylla_sim.console import emit_text
from scylla_sim.records import format_columns

EPILOG = """example:
  gpu-validate merge --measured cycles.csv --repeat again.csv --predicted blind=blind/specdecode.csv --out rows.csv
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--measured", metavar="FILE", required=True, help="CSV of gpu-validate rows")
    parser.add_argument(
        "--predicted", metavar="NAME=FILE,...", default="", help="CSV of scylla-sim kernels, steps or cycles"
    )
    parser.add_argument("--repeat", metavar="FILE", help="the same shapes measured again")
    parser.add_argument("--out", metavar="FILE", help="write there (whole or not at all) instead of stdout")


def execute(args: argparse.Namespace) -> None:
    repeat = read(args.repeat, empty=True) if args.repeat else None
    predictions = {name: read(path) for name, path in assignments("predicted", args.predicted).items()}
    columns = merge(read(args.measured), predictions, repeat if repeat is not None and repeat.size else None)
    emit_text(args, format_columns(columns))
