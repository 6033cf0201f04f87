"""``scylla-sim decay``: predict tau of long drafts from tau of short drafts, for series in a CSV file."""

from __future__ import annotations

import argparse

import numpy as np

from scylla_sim.acceptance import positions
from scylla_sim.checks import fail, one_of, whole
from scylla_sim.console import add_output, emit
from scylla_sim.number_columns import COUNT, line_of, parse_numbers
from scylla_sim.records import EVIDENCE, Row, read_columns

EPILOG = """example (columns draft_len, tokens_per_cycle and the name of the series):
  printf 'series,draft_len,tokens_per_cycle\\na,1,1.86\\na,3,3.08\\na,5,3.73\\n' > tau.csv
  printf 'b,1,1.69\\nb,3,2.37\\nb,5,2.60\\nc,1,1.83\\nc,3,2.94\\nc,5,3.47\\n' >> tau.csv
  scylla-sim decay tau.csv --by series
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the verb."""
    parser.add_argument("file", metavar="FILE", help="CSV with a header line, one row per series and draft length")
    parser.add_argument(
        "--x", default="draft_len", metavar="COL", help="column of draft lengths; default draft_len"
    )
    parser.add_argument(
        "--y", default="tokens_per_cycle", metavar="COL", help="column of tau; default tokens_per_cycle"
    )
    parser.add_argument("--by", required=True, metavar="COL,...", help="columns that identify a series")
    parser.add_argument(
        "--known-to", type=int, default=3, metavar="K", help="longest known draft length; default 3"
    )
    parser.add_argument(
        "--predict-from", type=int, default=5, metavar="K", help="shortest predicted draft length; default 5"
    )
    parser.add_argument("--evidence", choices=EVIDENCE, help="evidence level of the file, kept in every row")
    add_output(parser)


def read_series(args: argparse.Namespace) -> dict[str, tuple[list[int], list[float]]]:
    """Return draft lengths and tau by series, in file order.

    Raises
    ------
    InputError
        For a cell that is not a number, a tau out of range, and a draft length that appears twice.
    """
    columns = read_columns(args.file)
    labels = args.by.split(",")
    for name in (args.x, args.y, *labels):
        one_of("column", name, columns)
    place = line_of(args.file)
    x = parse_numbers(args.x, columns[args.x], place, rule=COUNT)
    y = parse_numbers(args.y, columns[args.y], place)
    series: dict[str, tuple[list[int], list[float]]] = {}
    for row, (length, tau) in enumerate(zip(x.tolist(), y.tolist())):
        if not 1 < tau < length + 1:
            raise fail(args.y, tau, f"must lie between 1 and {args.x} + 1 {place(row)}")
        lengths, taus = series.setdefault(" | ".join(columns[name][row] for name in labels), ([], []))
        if length in lengths:
            raise fail(args.x, int(length), f"appears twice for one series {place(row)}", "add columns to --by")
        lengths.append(int(length))
        taus.append(tau)
    return series


def execute(args: argparse.Namespace) -> None:
    """Print one row per predicted tau, and the mean errors."""
    whole("known_to", args.known_to, 1)
    if args.predict_from <= args.known_to:
        raise fail("predict_from", args.predict_from, f"must be above known_to={args.known_to}")
    pairs = positions.held_out(read_series(args), known_to=args.known_to, predict_from=args.predict_from)
    if not pairs:
        rule = f"must hold a series with a draft length up to {args.known_to} and one from {args.predict_from} on"
        raise fail("series", args.file, rule)
    rows = [{**row, "evidence": args.evidence} for row in pairs]
    emit(args, "decay", rows, footer=_summary(pairs), inputs=[args.file])


def _summary(pairs: list[Row]) -> str:
    """Return the mean absolute errors, by the known draft lengths."""
    lines = []
    for known in dict.fromkeys(str(row["known"]) for row in pairs):
        chosen = [row for row in pairs if row["known"] == known]
        law, constant = (float(np.mean([abs(row[key]) for row in chosen])) for key in ("error", "iid_error"))
        held = float(np.mean([row["lower"] <= row["measured"] <= row["upper"] for row in chosen]))
        lines.append(
            f"known {known}: mean error {law:.1%}, with one rate {constant:.1%}; "
            f"{held:.0%} of {len(chosen)} values lie in their 90% interval"
        )
    return "\n".join(lines)
