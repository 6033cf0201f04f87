"""``scylla-sim decay``: predict tau of long drafts from tau of short drafts, for series in a CSV file."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

import numpy as np

from scylla_sim.acceptance import method_laws, position_fit, positions
from scylla_sim.acceptance.method_laws import TauSeries
from scylla_sim.checks import InputError, fail, one_of, whole
from scylla_sim.console import add_output, emit
from scylla_sim.number_columns import COUNT, errors_at, line_of, parse_numbers
from scylla_sim.records import EVIDENCE, Row, read_columns
from scylla_sim.text.tables import text_table

EPILOG = """example (columns draft_len, tokens_per_cycle and the name of the series):
  printf 'series,draft_len,tokens_per_cycle\\na,1,1.86\\na,3,3.08\\na,5,3.73\\n' > tau.csv
  printf 'b,1,1.69\\nb,3,2.37\\nb,5,2.60\\nc,1,1.83\\nc,3,2.94\\nc,5,3.47\\n' >> tau.csv
  scylla-sim decay tau.csv --by series
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the verb."""
    parser.add_argument("file", metavar="FILE", help="CSV with a header line, one row per series and draft length")
    parser.add_argument("--more", metavar="FILE[,FILE]", help="further files with the same columns")
    parser.add_argument(
        "--method",
        metavar="COL",
        help="column of draft methods: fit one position law per method, and predict each source by the others",
    )
    parser.add_argument(
        "--origin", default="origin", metavar="COL", help="column of sources, for --method; default origin"
    )
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


Key = tuple[str, ...]
"""Label, method and source of a series."""


def read_series(args: argparse.Namespace, extra: Sequence[str] = ()) -> dict[Key, tuple[list[int], list[float]]]:
    """Return draft lengths and tau by series, in file order.

    The key of a series holds its label and its values in the columns ``extra``.

    Raises
    ------
    InputError
        For a cell that is not a number, a tau out of range, and a draft length that appears twice.
    """
    series: dict[Key, tuple[list[int], list[float]]] = {}
    for path in _files(args):
        _read_file(args, path, extra, series)
    return series


def _files(args: argparse.Namespace) -> list[str]:
    return [args.file, *((args.more or "").split(",") if args.more else [])]


def _read_file(
    args: argparse.Namespace, path: str, extra: Sequence[str], series: dict[Key, tuple[list[int], list[float]]]
) -> None:
    """Add the rows of a file to ``series``."""
    columns = read_columns(path)
    labels = args.by.split(",")
    for name in (args.x, args.y, *labels, *extra):
        one_of("column", name, columns)
    place = line_of(path)
    for method in dict.fromkeys(columns[args.method]) if args.method is not None else ():
        with errors_at(place, columns[args.method].index(method)):
            one_of("method", method, positions.laws())
    x = parse_numbers(args.x, columns[args.x], place, rule=COUNT)
    y = parse_numbers(args.y, columns[args.y], place)
    for row, (length, tau) in enumerate(zip(x.tolist(), y.tolist())):
        if not 1 < tau < length + 1:
            raise fail(args.y, tau, f"must lie between 1 and {args.x} + 1 {place(row)}")
        key = (" | ".join(columns[name][row] for name in labels), *(columns[name][row] for name in extra))
        lengths, taus = series.setdefault(key, ([], []))
        if length in lengths:
            raise fail(args.x, int(length), f"appears twice for one series {place(row)}", "add columns to --by")
        lengths.append(int(length))
        taus.append(tau)


def execute(args: argparse.Namespace) -> None:
    """Print one row per predicted tau, and the mean errors."""
    whole("known_to", args.known_to, 1)
    if args.predict_from <= args.known_to:
        raise fail("predict_from", args.predict_from, f"must be above known_to={args.known_to}")
    if args.method is not None:
        _by_method(args)
        return
    series = {label: points for (label,), points in read_series(args).items()}
    pairs = position_fit.held_out(series, known_to=args.known_to, predict_from=args.predict_from)
    if not pairs:
        raise _nothing(args)
    rows = [{**row, "evidence": args.evidence} for row in pairs]
    emit(args, "decay", rows, footer=_summary(pairs), inputs=_files(args))


def _nothing(args: argparse.Namespace) -> InputError:
    """Return the error for series without a pair of a short and a long draft."""
    rule = f"must hold a series with a draft length up to {args.known_to} and one from {args.predict_from} on"
    return fail("series", args.file, rule)


def _by_method(args: argparse.Namespace) -> None:
    """Print the predictions of each source by the laws of the others, and the laws of all sources."""
    series = [
        TauSeries(label, method, origin, tuple(lengths), tuple(taus))
        for (label, method, origin), (lengths, taus) in read_series(args, (args.method, args.origin)).items()
    ]
    pairs = method_laws.left_out(series, known=args.known_to, predict_from=args.predict_from)
    if not pairs:
        raise _nothing(args)
    rows = [{**row, "evidence": args.evidence} for row in pairs]
    fitted = method_laws.law_rows(series, method_laws.fit_laws(series))
    emit(args, "decay-laws", rows, footer=text_table(fitted) + _method_summary(pairs), inputs=_files(args))


def _method_summary(pairs: list[Row]) -> str:
    """Return the mean absolute errors by method."""
    lines = []
    for method in dict.fromkeys(str(row["method"]) for row in pairs):
        chosen = [row for row in pairs if row["method"] == method]
        errors = [
            float(np.mean([abs(row[key]) for row in chosen])) for key in ("error", "iid_error", "pooled_error")
        ]
        inside = float(np.mean([row["lower"] <= row["measured"] <= row["upper"] for row in chosen]))
        lines.append(
            f"{method}: mean error {errors[0]:.1%}, with one rate {errors[1]:.1%}, with the exponent "
            f"{position_fit.POSITION_EXPONENT:g} {errors[2]:.1%}; {inside:.0%} of {len(chosen)} values lie in "
            "their 90% interval"
        )
    return "\n".join(lines)


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
