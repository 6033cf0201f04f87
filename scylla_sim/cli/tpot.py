"""``scylla-sim tpot``: mean time per output token of serving runs, CSV in and out."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scylla_sim.calibration import device_calibration
from scylla_sim.checks import FloatArray, fail
from scylla_sim.console import add_output, emit_columns, note
from scylla_sim.prediction import aggregated_serving
from scylla_sim.prediction.aggregated_serving import ServingOverheads
from scylla_sim.prediction.steps import Deployment
from scylla_sim.records import read_columns
from scylla_sim.specs import catalog, dtypes
from scylla_sim.stats.split import FIT, HELD_OUT
from scylla_sim.units import MILLI

EPILOG = """example:
  echo device,engine,model,dtype,tp,batch,input_len,output_len > runs.csv
  echo h100-sxm,vllm,llama-3.1-70b,fp8,4,32,1024,1024 >> runs.csv
  scylla-sim tpot --runs runs.csv --format csv
"""

LABELS = ("device", "engine", "model", "dtype")
NUMBERS = ("tp", "batch", "input_len", "output_len")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--runs", required=True, metavar="FILE", help=f"CSV: {','.join((*LABELS, *NUMBERS))}[,kv_dtype,tpot_ms]"
    )
    parser.add_argument("--calibration", metavar="FILE", help="default: each device's shipped one")
    parser.add_argument(
        "--fit-half",
        action="store_true",
        help="fit each engine's share and host seconds to tpot_ms on half of the (tp, input, output) groups",
    )
    add_output(parser, default="csv")


def _numbers(path: str, name: str, cells: Sequence[str], low: float) -> FloatArray:
    """A column of numbers, whole ones from 1 on or measured ones above 0; the error names the line."""
    values = np.empty(len(cells))
    for index, cell in enumerate(cells):
        try:
            values[index] = float(cell)
        except ValueError:
            values[index] = np.nan
        good = np.isfinite(values[index]) and values[index] > 0 and values[index] >= low
        if not good or (low >= 1 and values[index] % 1):
            rule = "must be a whole number of at least 1" if low >= 1 else "must be a number above 0"
            raise fail(name, cell, f"{rule} on line {index + 2} of {Path(path).name}")
    return values


def _read(path: str, needed: Sequence[str]) -> dict[str, list[str]]:
    columns = read_columns(path, needed=needed)
    if not columns["batch"]:
        raise fail("file", path, "holds no rows")
    return columns


def _work(
    columns: Mapping[str, list[str]],
    numbers: Mapping[str, FloatArray],
    given: device_calibration.Calibration | None,
) -> dict[str, FloatArray]:
    """Fields of `aggregated.Work` of every run; one call for each device, model, precision and number of ranks."""
    size = len(columns["batch"])
    kv_dtypes = columns.get("kv_dtype", [""] * size)
    keys = list(zip(columns["device"], columns["model"], columns["dtype"], kv_dtypes, numbers["tp"].tolist()))
    out = {name: np.empty(size) for name in ("step_s", "waiting_s", "lower_s", "upper_s", "naive_s", "least_s")}
    engine = catalog.engine("ideal")  # what an engine adds is the two scalars, and nothing else
    for key in dict.fromkeys(keys):
        at = np.array([index for index, other in enumerate(keys) if other == key])
        device, model, dtype, kv_dtype, tp = key
        deployment = Deployment(
            given or device_calibration.shipped(device),
            engine,
            dtypes.canonical_dtype(dtype),
            dtypes.canonical_dtype(kv_dtype or "bfloat16"),
            int(tp),
        )
        runs = aggregated_serving.ServingRuns(*(numbers[name][at] for name in ("batch", "input_len", "output_len")))
        found = aggregated_serving.token_time(catalog.model(model), deployment, runs)
        out["step_s"][at], out["waiting_s"][at] = found.step_s, found.prefill_s
        out["lower_s"][at], out["upper_s"][at] = found.total.lower, found.total.upper
        out["naive_s"][at], out["least_s"][at] = found.roofline_s, found.bound_s
    return out


def _fitted(
    engines: Sequence[str], half: NDArray[np.bool_], parts: Mapping[str, FloatArray], measured_s: FloatArray
) -> dict[str, ServingOverheads]:
    """The two scalars of each engine, from the runs of the fitting half."""
    found = {}
    names = np.array(engines)
    for name in dict.fromkeys(engines):
        at = half & (names == name)
        found[name] = aggregated_serving.fit(parts["step_s"][at], parts["waiting_s"][at], measured_s[at])
        scored = int((names == name).sum() - at.sum())
        note(
            f"{name}: share {found[name].share:.3f}, host {found[name].host_s / MILLI:.3f} ms a step; fitted on "
            f"{int(at.sum())} runs, {scored} held out"
        )
    return found


def execute(args: argparse.Namespace) -> int:
    columns = _read(args.runs, (*LABELS, *NUMBERS, *(("tpot_ms",) if args.fit_half else ())))
    numbers = {name: _numbers(args.runs, name, columns[name], 1) for name in NUMBERS}
    parts = _work(columns, numbers, device_calibration.read(args.calibration) if args.calibration else None)
    overheads = dict.fromkeys(columns["engine"], aggregated_serving.NOT_FITTED)
    given: dict[str, list[str]] = dict(columns)
    if args.fit_half:
        half = aggregated_serving.in_fit_half(numbers["tp"], numbers["input_len"], numbers["output_len"])
        measured_s = MILLI * _numbers(args.runs, "tpot_ms", columns["tpot_ms"], 0)
        overheads = _fitted(columns["engine"], half, parts, measured_s)
        given["half"] = [FIT if first else HELD_OUT for first in half]
    share = np.array([overheads[name].share for name in columns["engine"]])
    host_s = np.array([overheads[name].host_s for name in columns["engine"]])
    predicted = parts["step_s"] + share * parts["waiting_s"] + host_s
    shift = predicted / (parts["step_s"] + parts["waiting_s"])  # an interval keeps its relative width
    out = {
        "predicted_s": predicted,
        "naive_s": parts["naive_s"],
        "lower_s": shift * parts["lower_s"],
        "upper_s": shift * parts["upper_s"],
        "least_s": parts["least_s"],
        "share": share,
        "host_s": host_s,
    }
    inputs = [args.runs, *([args.calibration] if args.calibration else [])]
    emit_columns(args, "tpot", given, out, inputs=inputs)
    return 0
