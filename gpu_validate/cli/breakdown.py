"""The verb ``breakdown``: whole steps beside the kernels that were measured alone.

A step is the sum of its matrix products, its attention and the rest: small kernels, and gaps between kernels.
Products and attention come from rows of kernels of the same shapes; what the step takes beyond them is the rest.
The same three parts of a prediction, beside them, say where it is wrong.
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
"""Columns that both files must have."""


def _is_positive(text: str) -> bool:
    try:
        return 0.0 < float(text) < float("inf")
    except ValueError:
        return False


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--kernels", metavar="FILE", required=True, help="kernels of gpu-validate merge")
    parser.add_argument("--steps", metavar="FILE", required=True, help="steps of gpu-validate merge")
    parser.add_argument("--out", metavar="FILE", help="write there (whole or not at all) instead of stdout")


def execute(args: argparse.Namespace) -> None:
    files = {"steps": read(args.steps), "kernels": read(args.kernels)}
    for name, needed in NEEDED.items():
        for column in needed:
            if column not in files[name].cells:
                raise fail(name, getattr(args, name), f"has no column {column!r}", "gpu-validate merge writes it")
        if not all(_is_positive(text) for text in files[name].cells["latency_ms"]):
            raise fail(name, getattr(args, name), "must hold latencies above 0 in every row")
    try:
        found = breakdown(files["steps"], files["kernels"])
    except ValueError:
        raise fail("steps", args.steps, "or the kernels hold text where a number belongs") from None
    rows = [{name: row.get(name, "") for name in COLUMNS} for row in found]
    emit_text(args, format_csv(rows) if rows else ",".join(COLUMNS) + "\n")
