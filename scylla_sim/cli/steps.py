"""``scylla-sim steps``: seconds of given decode and verify steps of a model, CSV in and out."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from scylla_sim.calibration import device_calibration
from scylla_sim.checks import FloatArray, fail
from scylla_sim.console import add_output, emit_columns
from scylla_sim.prediction.overheads import step_overhead_counts, with_overheads
from scylla_sim.prediction.steps import Deployment, target_step
from scylla_sim.records import read_columns
from scylla_sim.specs import catalog, dtypes

EPILOG = """example:
  printf 'device,dtype,model,batch,context,tokens\\nh100-sxm,bf16,llama-3.1-8b,8,1024,4\\n' > steps.csv
  scylla-sim steps --shapes steps.csv --format csv
"""

LABELS = ("device", "dtype", "model")
NUMBERS = ("batch", "context", "tokens")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--shapes", required=True, metavar="FILE", help="CSV: device,dtype,model,batch,context,tokens"
    )
    parser.add_argument("--calibration", metavar="FILE", help="default: each device's shipped one")
    parser.add_argument("--engine", default="ideal", help="its launch and host work are added; default ideal")
    add_output(parser, default="csv")


def number_columns(path: str, columns: Mapping[str, list[str]], names: Sequence[str]) -> dict[str, FloatArray]:
    """Columns of numbers of at least 1, naming the line of whatever is not."""
    found = {}
    for name in names:
        values = []
        for index, text in enumerate(columns[name]):
            try:
                value = float(text)
            except ValueError:
                value = float("nan")
            if not (np.isfinite(value) and value >= 1):
                where = f"on line {index + 2} of {Path(path).name}"
                raise fail(name, text, f"must be a number of at least 1 {where}")
            values.append(value)
        found[name] = np.array(values)
    return found


def execute(args: argparse.Namespace) -> int:
    columns = read_columns(args.shapes, needed=(*LABELS, *NUMBERS))
    if not columns["batch"]:
        raise fail("file", args.shapes, "holds no rows")
    numbers = number_columns(args.shapes, columns, NUMBERS)
    given = device_calibration.read(args.calibration) if args.calibration else None
    engine = catalog.engine(args.engine)
    out = {name: np.empty(len(columns["batch"])) for name in ("predicted_s", "naive_s", "lower_s", "upper_s")}
    keys = list(zip(*(columns[name] for name in LABELS)))
    for key in dict.fromkeys(keys):
        at = np.array([index for index, other in enumerate(keys) if other == key])
        device, dtype, model = key
        calibration = given or device_calibration.shipped(device)
        name = dtypes.canonical_dtype(dtype)
        kv_dtype = "float32" if name == "float32" else "bfloat16"
        deployment = Deployment(calibration, engine, name, kv_dtype)
        shape = {column: numbers[column][at] for column in NUMBERS}
        step = target_step(catalog.model(model), deployment, **shape)
        found = with_overheads(step, engine, step_overhead_counts(shape["batch"] * shape["tokens"]))
        out["predicted_s"][at], out["lower_s"][at], out["upper_s"][at] = found.value, found.lower, found.upper
        out["naive_s"][at] = sum(np.maximum(part.memory_s, part.compute_s) for part in step.parts)
    inputs = [args.shapes, *([args.calibration] if args.calibration else [])]
    emit_columns(args, "steps", columns, out, inputs=inputs)
    return 0
