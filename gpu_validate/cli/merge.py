"""The verb ``merge``: measured rows with the predictions of the same shapes, row by row.

`gpu_validate.cli.compare` summarizes errors. This verb keeps each row, for tables of single configurations.
"""

from __future__ import annotations

import argparse

from gpu_validate.comparison.join import read
from gpu_validate.comparison.merge import merge, missing_columns
from scylla_sim.console import assignments, emit_text, note
from scylla_sim.records import format_columns

EPILOG = """example:
  gpu-validate merge --measured cycles.csv --repeat again.csv --predicted blind=blind/specdecode.csv --out rows.csv
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the verb to its parser."""
    parser.add_argument("--measured", metavar="FILE", required=True, help="CSV of gpu-validate rows")
    parser.add_argument(
        "--predicted", metavar="NAME=FILE,...", default="", help="CSV of scylla-sim kernels, steps or cycles"
    )
    parser.add_argument("--repeat", metavar="FILE", help="second measurement of the shapes")
    parser.add_argument("--out", metavar="FILE", help="output CSV; default: stdout")


def execute(args: argparse.Namespace) -> None:
    """Run the verb."""
    repeat = read(args.repeat, empty=True) if args.repeat else None
    predictions = {name: read(path) for name, path in assignments("predicted", args.predicted).items()}
    for name, prediction in predictions.items():
        if missing := missing_columns(prediction):
            note(f"{name}: {prediction.path} has no column {', '.join(missing)}; the output lacks it too")
    columns = merge(read(args.measured), predictions, repeat if repeat is not None and repeat.size else None)
    emit_text(args, format_columns(columns))
