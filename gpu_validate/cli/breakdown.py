"""The verb ``breakdown``: measured steps split into the kernels that were measured alone.

A step is the sum of its GEMMs, its attention and a rest: small kernels, and gaps between kernels. GEMMs and
attention come from kernel rows of the same shapes. The rest is the difference. The same parts of each prediction
show where its error comes from.
"""

from __future__ import annotations

import argparse

from gpu_validate.comparison.breakdown import COLUMNS, breakdown
from gpu_validate.comparison.join import read
from scylla_sim.checks import fail
from scylla_sim.console import emit_text
from scylla_sim.records import format_csv

EPILOG = """example:
  gpu-validate breakdown --kernels kernels-rows.csv --steps step-rows.csv --out step-parts.csv
"""


NEEDED = {
    "steps": ("role", "model", "batch", "context", "tokens", "graph", "dtype", "kernel_source", "latency_ms"),
    "kernels": ("op", "dtype", "kv_dtype", "m", "n", "k", "batch", "kv_len", "q_len", "window", "latency_ms"),
}
"""File -> columns that it must have."""


def _is_positive(text: str) -> bool:
    try:
        return 0.0 < float(text) < float("inf")
    except ValueError:
        return False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the verb to its parser."""
    parser.add_argument("--kernels", metavar="FILE", required=True, help="kernel rows of gpu-validate merge")
    parser.add_argument("--steps", metavar="FILE", required=True, help="step rows of gpu-validate merge")
    parser.add_argument("--out", metavar="FILE", help="output CSV; default: stdout")


def execute(args: argparse.Namespace) -> None:
    """Run the verb."""
    files = {"steps": read(args.steps), "kernels": read(args.kernels)}
    for name, needed in NEEDED.items():
        for column in needed:
            if column not in files[name].cells:
                raise fail(name, getattr(args, name), f"has no column {column!r}", "gpu-validate merge writes it")
        if not all(_is_positive(text) for text in files[name].cells["latency_ms"]):
            raise fail(name, getattr(args, name), "must have a latency above 0 in every row")
    try:
        found = breakdown(files["steps"], files["kernels"])
    except ValueError:
        raise fail("steps", args.steps, "or the kernels have a cell that must be a number") from None
    rows = [{name: row.get(name, "") for name in COLUMNS} for row in found]
    emit_text(args, format_csv(rows) if rows else ",".join(COLUMNS) + "\n")
