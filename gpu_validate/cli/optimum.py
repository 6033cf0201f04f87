"""The verb ``optimum``: the best number of verified tokens at each batch, from measured acceptance and passes.

Theorem 1.3 gives the number of tokens to verify in a cycle if only verification takes time: the n that maximizes
b tau(n) / T(b, n). Both curves are measured, and interpolated along log n between measured points.
"""

from __future__ import annotations

import argparse

from gpu_validate.training.optimum import curve, optima
from scylla_sim.console import note
from scylla_sim.records import format_csv, read_columns, write_text

EPILOG = """example:
  gpu-validate optimum --acceptance acceptance.csv --verify verify.csv --out optimum.csv
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the verb to its parser."""
    parser.add_argument("--acceptance", metavar="FILE", required=True, help="CSV of curves --table acceptance")
    parser.add_argument("--verify", metavar="FILE", required=True, help="CSV of curves --table verify")
    parser.add_argument("--out", metavar="FILE", required=True, help="output CSV")


def execute(args: argparse.Namespace) -> None:
    """Run the verb."""
    needed = ("drafting", "temperature", "nodes", "tokens_per_cycle")
    tokens, tau = curve(read_columns(args.acceptance, needed=needed), args.acceptance)
    timed = read_columns(args.verify, needed=("batch_size", "tokens", "verify_s"))
    rows = optima(timed, args.verify, tokens, tau)
    write_text(args.out, format_csv(rows))
    note(f"wrote {len(rows)} rows to {args.out}")
