"""``scylla-sim tpot``: mean time per output token of serving runs, CSV in and out."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from scylla_sim.calibration.device_calibration import Calibration
from scylla_sim.checks import FloatArray
from scylla_sim.cli import _columns
from scylla_sim.console import add_output, emit_columns, note
from scylla_sim.number_columns import COUNT, POSITIVE
from scylla_sim.prediction import aggregated_serving
from scylla_sim.prediction.aggregated_serving import ServingOverheads
from scylla_sim.specs import catalog
from scylla_sim.stats.split import FIT, HELD_OUT
from scylla_sim.units import MILLI

EPILOG = """example:
  echo device,engine,model,dtype,tp,batch,input_len,output_len > runs.csv
  echo h100-sxm,vllm,llama-3.1-70b,fp8,4,32,1024,1024 >> runs.csv
  scylla-sim tpot --runs runs.csv --format csv
"""

LABELS = ("device", "engine", "model", "dtype")
NUMBERS = ("tp", "batch", "input_len", "output_len")
MEASURED = "tpot_ms"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    parser.add_argument(
        "--runs", required=True, metavar="FILE", help=f"CSV: {','.join((*LABELS, *NUMBERS))}[,kv_dtype,{MEASURED}]"
    )
    _columns.add_calibration(parser)
    parser.add_argument(
        "--fit-half",
        action="store_true",
        help=f"fit share and host seconds of each engine to {MEASURED} on half of the (tp, input, output) groups",
    )
    _columns.add_long_context(parser)
    add_output(parser, default="csv")


def _token_times(
    columns: Mapping[str, list[str]], numbers: Mapping[str, FloatArray], given: Calibration | None
) -> dict[str, FloatArray]:
    """Return the fields of `TokenTime` of every run as flat arrays."""
    size = len(columns["batch"])
    kv_dtypes = columns.get("kv_dtype", [""] * size)
    names = ("step_s", "prefill_s", "lower_s", "upper_s", "roofline_s", "bound_s")
    out = {name: np.empty(size) for name in names}
    engine = catalog.engine("ideal")  # the two scalars are the only overheads of an engine here
    keys = (columns["device"], columns["model"], columns["dtype"], kv_dtypes, numbers["tp"].tolist())
    for (device, model, dtype, kv_dtype, tp), at in _columns.groups(*keys):
        deployment = _columns.deployment(device, dtype, engine, given, kv_dtype=kv_dtype or "bfloat16", tp=int(tp))
        load = (numbers[name][at] for name in ("batch", "input_len", "output_len"))
        time = aggregated_serving.token_time(
            catalog.model(model), deployment, aggregated_serving.ServingRuns(*load)
        )
        found = (time.step_s, time.prefill_s, time.total.lower, time.total.upper, time.roofline_s, time.bound_s)
        for name, values in zip(names, found):
            out[name][at] = values
    return out


def _fitted(
    engines: Sequence[str], half: NDArray[np.bool_], times: Mapping[str, FloatArray], measured_s: FloatArray
) -> dict[str, ServingOverheads]:
    """Return the two scalars of each engine, fitted on the runs of ``half``."""
    found = {}
    names = np.array(engines)
    for name in dict.fromkeys(engines):
        at = half & (names == name)
        found[name] = aggregated_serving.fit(times["step_s"][at], times["prefill_s"][at], measured_s[at])
        fitted = int(at.sum())
        note(
            f"{name}: share {found[name].share:.3f}, host {found[name].host_s / MILLI:.3f} ms per step; "
            f"fitted on {fitted} runs, {int((names == name).sum()) - fitted} held out"
        )
    return found


def execute(args: argparse.Namespace) -> int:
    """Print the columns of the file with predicted, roofline, lower and upper seconds per token."""
    columns = _columns.read_rows(args.runs, (*LABELS, *NUMBERS, *((MEASURED,) if args.fit_half else ())))
    numbers = _columns.read_numbers(args.runs, columns, NUMBERS, COUNT)
    context = numbers["input_len"] + numbers["output_len"]
    _columns.check_contexts(args, args.runs, columns["model"], context)
    times = _token_times(columns, numbers, _columns.given_calibration(args))
    overheads = dict.fromkeys(columns["engine"], aggregated_serving.NOT_FITTED)
    given: dict[str, list[str]] = dict(columns)
    if args.fit_half:
        half = aggregated_serving.in_fit_half(numbers["tp"], numbers["input_len"], numbers["output_len"])
        measured_s = MILLI * _columns.read_numbers(args.runs, columns, [MEASURED], POSITIVE)[MEASURED]
        overheads = _fitted(columns["engine"], half, times, measured_s)
        given["half"] = [FIT if first else HELD_OUT for first in half]
    share = np.array([overheads[name].share for name in columns["engine"]])
    host_s = np.array([overheads[name].host_s for name in columns["engine"]])
    predicted = times["step_s"] + share * times["prefill_s"] + host_s
    shift = predicted / (times["step_s"] + times["prefill_s"])  # the interval keeps its relative width
    out = {
        "predicted_s": predicted,
        "naive_s": times["roofline_s"],
        "lower_s": shift * times["lower_s"],
        "upper_s": shift * times["upper_s"],
        "least_s": times["bound_s"],
        "share": share,
        "host_s": host_s,
    }
    inputs = [args.runs, *([args.calibration] if args.calibration else [])]
    emit_columns(args, "tpot", given, out, inputs=inputs)
    return 0
