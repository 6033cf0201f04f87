"""``scylla-sim tpot``: latencies of closed-loop serving runs, CSV in and out."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scylla_sim.checks import FloatArray, fail
from scylla_sim.cli import _columns
from scylla_sim.cli._loop_columns import (
    LABELS,
    MEASURED,
    NUMBERS,
    costs_of,
    documented_ttft_s,
    load_of,
    local,
    measured_s,
)
from scylla_sim.console import add_output, emit_columns, note
from scylla_sim.number_columns import COUNT, line_of
from scylla_sim.serving.closed_load import ClosedLoad
from scylla_sim.serving.closed_loop import closed_loop
from scylla_sim.serving.closed_loop_runs import QUANTITIES, ROOFLINE, VALUE, RunCosts, estimates, excluded
from scylla_sim.serving.scalar_fit import MIN_FIT_ROWS, Measured, fit, in_fit_half, medians_of_others
from scylla_sim.serving.serving_scalars import ServingScalars, serving_scalars
from scylla_sim.specs import catalog
from scylla_sim.stats.estimate import Estimate
from scylla_sim.stats.split import FIT, HELD_OUT
from scylla_sim.units import MILLI

EPILOG = """example:
  echo device,engine,model,dtype,tp,batch,input_len,output_len > runs.csv
  echo h100-sxm,vllm,llama-3.1-70b,fp8,4,32,1024,1024 >> runs.csv
  scylla-sim tpot --runs runs.csv --format csv
speculative decoding: draft, draft_len and tokens_per_cycle; a model that ends in .json lies beside the file
columns of the protocol, all optional:
  shortest                lengths are uniform between this share of the stated length and the stated length
  rounds                  requests per request in flight; those of the first round start together
  max_num_seqs, max_num_batched_tokens    limits of the scheduler
  prefill_first           yes: prompts run in iterations of their own
  poll_iterations, hold_iterations, hold_tokens    how the scheduler takes in prompts
  cached_len              tokens of each prompt in the prefix cache
  documented              no: ttft_ms is not used in a fit
"""

SHIPPED, OTHERS, HALF = "shipped", "others", "half"
"""Origins of the scalars: the package, the other groups of the file, half of the group."""
LEFT_OUT = "which predict, plan and serve-sim leave out"
SCALARS = ("host_s", "slow", "first_token_s")
WRITTEN = (
    *("predicted_s", "naive_s", "lower_s", "upper_s", "least_s", "seats", "scalars", "half", "excluded"),
    *(f"{name}{end}" for name in (*QUANTITIES[1:], *SCALARS) for end in ("", "_lower", "_upper")),
    *(f"naive_{name}" for name in QUANTITIES[1:]),
)
"""Columns that this verb adds."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    parser.add_argument(
        "--runs",
        required=True,
        metavar="FILE",
        help=f"CSV with the columns {', '.join((*LABELS, *NUMBERS))} [, kv_dtype, {MEASURED}, ttft_ms, protocol]",
    )
    _columns.add_calibration(parser)
    parser.add_argument(
        "--fit-half",
        action="store_true",
        help=f"fit three scalars of each group to {MEASURED} and ttft_ms on half of its (tp, input, output)",
    )
    parser.add_argument(
        "--fit-others",
        action="store_true",
        help="take the scalars of each group from fits to the other groups of its engine in the file",
    )
    _columns.add_long_context(parser)
    add_output(parser, default="csv")


@dataclass(frozen=True)
class _Runs:
    """Runs of a file beside their costs and measurements; arrays of shape (runs,)."""

    columns: _columns.Columns
    load: ClosedLoad
    costs: RunCosts
    tpot_s: FloatArray
    ttft_s: FloatArray
    half: NDArray[np.bool_]
    excluded: NDArray[np.str_]

    def default(self, row: int) -> ServingScalars:
        """Return the scalars of the package for the engine and device of a run."""
        engine = catalog.engine(self.columns["engine"][row]).name
        return serving_scalars(engine, catalog.hardware(self.columns["device"][row]).name)

    def fit(self, rows: NDArray[np.intp], source: str) -> ServingScalars:
        """Return scalars fitted to some runs."""
        part = Measured(self.costs.at(rows).ends[VALUE], self.load.at(rows), self.tpot_s[rows], self.ttft_s[rows])
        return fit(part, default=serving_scalars("", ""), source=source)


def _groups(columns: _columns.Columns) -> list[tuple[tuple[str, ...], NDArray[np.intp]]]:
    """Return groups of runs by (engine, device, model, precision), in the words of the file."""
    engine, model, dtype = (
        columns.get(name, columns[other])
        for name, other in (("framework", "engine"), ("checkpoint", "model"), ("precision", "dtype"))
    )
    return list(_columns.groups(engine, columns["device"], model, dtype))


def _used(runs: _Runs, rows: NDArray[np.intp]) -> NDArray[np.intp]:
    """Return the runs of a group that a fit may use."""
    used: NDArray[np.intp] = rows[(runs.excluded[rows] == "") & np.isfinite(runs.tpot_s[rows])]
    return used


def _shipped(runs: _Runs) -> list[tuple[NDArray[np.intp], ServingScalars]]:
    """Return the scalars of the package by rows, and note which of them are a default."""
    found, missing = [], []
    for (engine, device), rows in _columns.groups(runs.columns["engine"], runs.columns["device"]):
        scalars = runs.default(int(rows[0]))
        found.append((rows, scalars))
        if scalars.fitted:
            note(f"note: times of {engine} on {device} include {scalars.in_words()}, {LEFT_OUT}")
        elif engine != "ideal":
            missing.append(f"{engine} on {device}")
    if missing:
        words = serving_scalars("", "").in_words()
        note(
            f"note: no serving runs behind the scalars of {', '.join(missing)}: a default with a wide interval, "
            f"{words}, {LEFT_OUT}"
        )
    return found


def _others(runs: _Runs) -> list[tuple[NDArray[np.intp], ServingScalars]]:
    """Return scalars of each group from the other groups of its engine."""
    groups = _groups(runs.columns)
    fits = {}
    for key, rows in groups:
        if (used := _used(runs, rows)).size >= 2 * MIN_FIT_ROWS:
            fits[key] = runs.fit(used, ", ".join(key))
    return [
        (
            rows,
            medians_of_others(
                [one for other, one in fits.items() if other != key and other[0] == key[0]],
                serving_scalars("", ""),
                source=f"other groups of {key[0]}",
            ),
        )
        for key, rows in groups
    ]


def _halves(runs: _Runs) -> list[tuple[NDArray[np.intp], ServingScalars]]:
    """Return scalars of each group that are fitted to its half; the package's where that half has too few runs."""
    found = []
    for key, rows in _groups(runs.columns):
        used = _used(runs, rows)
        half = used[runs.half[used]]
        label = " ".join(word for word in key if word)
        if half.size < MIN_FIT_ROWS:
            note(f"{label}: {half.size} runs in its half are too few to fit; the shipped scalars are used")
            found.append((rows, runs.default(int(rows[0]))))
            continue
        scalars = runs.fit(half, f"{half.size} runs of {label}")
        host, slow, first = (float(getattr(scalars, name).value) for name in SCALARS)
        note(
            f"{label}: host {host / MILLI:.1f} ms an iteration, prompts {slow:+.0%}, first token "
            f"{first / MILLI:.0f} ms; fitted on {half.size} runs, {used.size - half.size} held out"
        )
        found.append((rows, scalars))
    return found


def _spread(parts: Sequence[tuple[NDArray[np.intp], ServingScalars]], size: int) -> ServingScalars:
    """Return scalars as arrays over all runs."""
    out = {name: np.zeros((3, size)) for name in SCALARS}
    for rows, scalars in parts:
        for name in SCALARS:
            one: Estimate = getattr(scalars, name)
            for at, end in enumerate((one.value, one.lower, one.upper)):
                out[name][at, rows] = end
    host, slow, first = (Estimate(*out[name]) for name in SCALARS)
    return ServingScalars(host, slow, first, source="")


def _predicted(runs: _Runs, scalars: ServingScalars) -> dict[str, FloatArray]:
    """Return the predicted columns of all runs."""
    found = estimates(runs.costs, runs.load, scalars)
    roofline = closed_loop(runs.costs.ends[ROOFLINE], runs.load)
    tpot = found["tpot_s"]
    out = {
        "predicted_s": tpot.value,
        "naive_s": roofline.tpot_s,
        "lower_s": tpot.lower,
        "upper_s": tpot.upper,
        "least_s": runs.costs.least_s,
    }
    for name in QUANTITIES[1:]:
        one = found[name]
        out |= {name: one.value, f"{name}_lower": one.lower, f"{name}_upper": one.upper}
        out[f"naive_{name}"] = getattr(roofline, name)
    out["seats"] = runs.costs.ends[VALUE].seats
    for name in SCALARS:
        one = getattr(scalars, name)
        out |= {name: one.value, f"{name}_lower": one.lower, f"{name}_upper": one.upper}
    return out


def execute(args: argparse.Namespace) -> int:
    """Print the columns of the file with predicted times, their intervals, and the scalars behind them."""
    fits = [name for name, chosen in ((OTHERS, args.fit_others), (HALF, args.fit_half)) if chosen]
    columns = _columns.read_rows(args.runs, (*LABELS, *NUMBERS, *((MEASURED,) if fits else ())))
    for column in columns:
        if column in WRITTEN:
            raise fail("column", column, f"in {args.runs} is one that tpot writes", f"rename it: measured_{column}")
    numbers = _columns.read_numbers(line_of(args.runs), columns, NUMBERS, COUNT)
    _columns.check_contexts(
        args,
        args.runs,
        [local(args.runs, name) for name in columns["model"]],
        numbers["input_len"] + numbers["output_len"],
    )
    load = load_of(args.runs, columns, numbers)
    tpot_s = measured_s(args.runs, columns, MEASURED, needed=bool(fits))
    costs = costs_of(args, columns, load, numbers["tp"])
    runs = _Runs(
        columns,
        load,
        costs,
        tpot_s,
        documented_ttft_s(args.runs, columns),
        in_fit_half(numbers["tp"], numbers["input_len"], numbers["output_len"]),
        excluded(costs, tpot_s, [rows for _, rows in _groups(columns)]),
    )
    _columns.note_each(
        ((row, [f"excluded: {text}"]) for row, text in enumerate(runs.excluded.tolist()) if text), args.runs
    )
    size = tpot_s.size
    choices = {SHIPPED: _shipped, OTHERS: _others, HALF: _halves}
    given: dict[str, list[str]] = {name: [] for name in (*columns, "scalars", "half", "excluded")}
    out: dict[str, list[FloatArray]] = {}
    for name in fits or [SHIPPED]:
        for column, values in _predicted(runs, _spread(choices[name](runs), size)).items():
            out.setdefault(column, []).append(values)
        for column, cells in columns.items():
            given[column] += cells
        given["scalars"] += [name] * size
        given["half"] += [FIT if first else HELD_OUT for first in runs.half] if name == HALF else [""] * size
        given["excluded"] += runs.excluded.tolist()
    inputs = [args.runs, *([args.calibration] if args.calibration else [])]
    emit_columns(args, "tpot", given, {name: np.concatenate(values) for name, values in out.items()}, inputs=inputs)
    return 0
