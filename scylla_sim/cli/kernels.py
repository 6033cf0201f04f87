"""``scylla-sim kernels``: seconds of given kernel shapes, CSV in and out."""

from __future__ import annotations

import argparse

import numpy as np

from scylla_sim.calibration import device_calibration, kernel_table, op_time
from scylla_sim.checks import FloatArray, fail
from scylla_sim.console import add_output, emit_columns
from scylla_sim.kernels.device_rates import rates
from scylla_sim.kernels.registry import roofline_seconds
from scylla_sim.ops.op import ATTENTION, Columns
from scylla_sim.specs import catalog

EPILOG = """example:
  printf 'op,device,dtype,m,n,k\\ngemm,h100-sxm,bf16,64,4096,4096\\n' > shapes.csv
  scylla-sim kernels --shapes shapes.csv --format csv
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--shapes", required=True, metavar="FILE", help="CSV: op,device,dtype,... (see docs)")
    parser.add_argument(
        "--calibration", metavar="FILE", help="made by scylla-sim calibrate; default: each device's shipped one"
    )
    parser.add_argument(
        "--carry",
        action="store_true",
        help="carry --calibration to each row's own device: its kernels' shapes at that datasheet's rates",
    )
    parser.add_argument(
        "--without",
        default="",
        metavar="OP,...",
        help="take these operations as never fitted: what stands in for them, or the priors of their forms",
    )
    add_output(parser, default="csv")


def predict(
    rows: kernel_table.KernelTable, calibrations: dict[str, device_calibration.Calibration]
) -> dict[str, FloatArray]:
    """Predicted, naive, lower and upper seconds of every row.

    A row is predicted as a benchmark measures it: weights that its rotation of copies leaves in L2 are warm.
    """
    size = len(rows)
    out = {name: np.full(size, np.nan) for name in ("predicted_s", "naive_s", "lower_s", "upper_s")}
    labels = rows.labels
    group = np.zeros(size, dtype=np.int64)
    for column in (
        *(labels[name] for name in kernel_table.LABELS),
        *(rows.numbers[name] for name in ("head_dim", "graph") if name in rows.numbers),
    ):
        values, code = np.unique(column, return_inverse=True)
        group = group * values.size + code
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    for at in np.split(order, starts[1:]):
        first = at[0]
        op, dtype = str(labels["op"][first]), str(labels["dtype"][first])
        sources = str(labels["kernel_source"][first]), str(labels["framework"][first])
        calibration = calibrations[str(labels["device"][first])]
        kv_dtype = str(labels["kv_dtype"][first]) if op in ATTENTION else ""
        columns: Columns = {name: numbers[at] for name, numbers in rows.numbers.items()}
        r = rates(calibration.hardware, dtype or "bfloat16", kv_dtype)
        out["naive_s"][at] = roofline_seconds(op, columns, r)
        if op == "gemm":
            kernel = calibration.gemm(dtype, *sources)
        elif op == "decode_attention":
            kernel = calibration.attention(kv_dtype, int(rows.numbers["head_dim"][first]), *sources)
        elif op == "latent_attention":
            kernel, columns = op_time.latent_kernel(calibration, columns, kv_dtype, *sources)
        elif op == "experts":
            kernel = calibration.experts(dtype, *sources)
        elif op == "elementwise":
            kernel = calibration.elementwise()
        else:
            kernel = calibration.all_reduce(*sources, graph=bool(rows.numbers["graph"][first]))
        seconds = kernel.seconds(columns, r)
        out["predicted_s"][at] = seconds
        out["lower_s"][at], out["upper_s"][at] = kernel.interval(seconds)
    return out


def execute(args: argparse.Namespace) -> int:
    given = device_calibration.read(args.calibration) if args.calibration else None
    rows = kernel_table.read(args.shapes, device=given.device if given else None)
    devices = set(rows.labels["device"].tolist())
    calibrations = {name: given or device_calibration.shipped(name) for name in devices}
    if args.carry:
        if given is None:
            raise fail("carry", "yes", "needs --calibration", "the one to carry")
        calibrations = {name: given.transferred_to(catalog.hardware(name)) for name in devices}
    unfitted = [name for name in args.without.split(",") if name]
    calibrations = {name: calibration.without(*unfitted) for name, calibration in calibrations.items()}
    inputs = [args.shapes, *([args.calibration] if args.calibration else [])]
    emit_columns(args, "kernels", rows.columns, predict(rows, calibrations), inputs=inputs)
    return 0
