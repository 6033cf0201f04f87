"""``scylla-sim steps``: seconds of given decode and verify steps of a model, CSV in and out."""

from __future__ import annotations

import argparse

import numpy as np

from scylla_sim.cli import _columns
from scylla_sim.console import add_output, emit_columns
from scylla_sim.prediction.overheads import step_overhead_counts, with_overheads
from scylla_sim.prediction.steps import target_step
from scylla_sim.specs import catalog

EPILOG = """example:
  printf 'device,dtype,model,batch,context,tokens\\nh100-sxm,bf16,llama-3.1-8b,8,1024,4\\n' > steps.csv
  scylla-sim steps --shapes steps.csv --format csv
"""

LABELS = ("device", "dtype", "model")
NUMBERS = ("batch", "context", "tokens")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    parser.add_argument(
        "--shapes", required=True, metavar="FILE", help=f"CSV with the columns {','.join((*LABELS, *NUMBERS))}"
    )
    _columns.add_calibration(parser)
    _columns.add_engine(parser)
    _columns.add_long_context(parser)
    add_output(parser, default="csv")


def execute(args: argparse.Namespace) -> int:
    """Print the columns of the file with predicted, roofline, lower and upper seconds."""
    columns = _columns.read_rows(args.shapes, (*LABELS, *NUMBERS))
    numbers = _columns.read_numbers(args.shapes, columns, NUMBERS)
    _columns.check_contexts(args, args.shapes, columns["model"], numbers["context"])
    given, engine = _columns.given_calibration(args), catalog.engine(args.engine)
    out = {name: np.empty(len(columns["batch"])) for name in ("predicted_s", "naive_s", "lower_s", "upper_s")}
    for (device, dtype, model), at in _columns.groups(*(columns[name] for name in LABELS)):
        deployment = _columns.deployment(device, dtype, engine, given)
        shape = {name: numbers[name][at] for name in NUMBERS}
        step = target_step(catalog.model(model), deployment, **shape)
        verified = np.where(shape["tokens"] > 1, shape["batch"] * shape["tokens"], 0.0)
        time = with_overheads(step, engine, step_overhead_counts(verified=verified))
        out["predicted_s"][at], out["lower_s"][at], out["upper_s"][at] = time.value, time.lower, time.upper
        out["naive_s"][at] = step.datasheet_s
    inputs = [args.shapes, *([args.calibration] if args.calibration else [])]
    emit_columns(args, "steps", columns, out, inputs=inputs)
    return 0
