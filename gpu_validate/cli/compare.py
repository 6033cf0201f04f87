"""The verb ``compare``: errors of predicted rows against measured rows of the same shapes, by group.

Errors are absolute percentage errors ``|predicted / measured - 1|`` as fractions. The noise floor is the difference
between two measurements of the same shape. It comes from a repeat by another run or framework, with the median
ratio removed. Without a repeat, it comes from the intervals of the measurement.
"""

from __future__ import annotations

import argparse

from gpu_validate.comparison.errors import CHOICE_COLUMNS, COLUMNS, SCHEMA, compare
from gpu_validate.comparison.join import read
from scylla_sim.checks import fail
from scylla_sim.console import FORMATS, assignments, emit_text, name_list
from scylla_sim.records import EVIDENCE, dump_json, format_csv, provenance
from scylla_sim.text.tables import text_table

EPILOG = """examples:
  gpu-validate compare --predicted predicted.csv --measured test.csv --repeat again.csv --by dtype --out errors.json
  gpu-validate compare --predicted predict.csv --measured cycles.csv --columns cycle_s,speedup --best speedup
  gpu-validate compare --predicted blind/step.csv --measured step.csv --where graph=1 --by role,model,batch
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the verb to its parser."""
    parser.add_argument(
        "--predicted", metavar="FILE,...", required=True, help="CSV with predicted_s (scylla-sim kernels)"
    )
    parser.add_argument(
        "--measured", metavar="FILE,...", required=True, help="CSV with latency_ms or tpot_ms (rows, silicon)"
    )
    parser.add_argument(
        "--repeat", metavar="FILE,...", help="second measurement of the shapes, for the noise floor"
    )
    parser.add_argument(
        "--columns",
        default="",
        metavar="COL,...",
        help="compare these columns, which both files have, instead of times",
    )
    parser.add_argument(
        "--best", default="", metavar="COL", help="one of --columns, largest is best: judge the predicted choice"
    )
    parser.add_argument("--by", default="", metavar="COL,...", help="columns of the measured file to group by")
    parser.add_argument(
        "--where", default="", metavar="COL=VALUE,...", help="use only measured rows with these values"
    )
    parser.add_argument(
        "--evidence",
        choices=EVIDENCE,
        default="silicon",
        help="level of measured rows without that column; default: silicon",
    )
    parser.add_argument("--format", choices=FORMATS, default="json", help="default: json")
    parser.add_argument("--out", metavar="FILE", help="output file; default: stdout")


def execute(args: argparse.Namespace) -> None:
    """Run the verb."""
    by, columns = name_list(args.by), name_list(args.columns)
    if args.best and args.best not in columns:
        raise fail("best", args.best, "must be one of --columns", f"columns: {args.columns or 'none given'}")
    for name in ("predicted", "measured"):
        if not getattr(args, name):
            raise fail(name, "", "must name a file")
    where = assignments("where", args.where)
    lists = [name_list(text) for text in (args.predicted, args.measured, args.repeat) if text]
    repeat = read(*lists[2], empty=True) if args.repeat else None
    rows = compare(
        read(*lists[0]),
        read(*lists[1]),
        repeat=repeat if repeat is not None and repeat.size else None,
        by=by,
        columns=columns,
        best=args.best,
        evidence=args.evidence,
        where=where,
    )
    if args.format == "json":
        table = {
            "schema": SCHEMA,
            "rows": rows,
            "provenance": provenance(inputs=[path for paths in lists for path in paths], by=by, columns=columns),
        }
        emit_text(args, dump_json(table))
    elif args.format == "csv":
        emit_text(args, format_csv(rows))
    else:
        shown = [name for name in (*COLUMNS, *CHOICE_COLUMNS) if any(name in row for row in rows)]
        emit_text(args, text_table(rows, ["quantity", *(by or ["group"]), *shown]))
