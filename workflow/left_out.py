"""Predict published serving runs with presets that are fitted without their source.

Usage: ``python workflow/left_out.py SERVED.json FOLDER OUT.json``. The first file is the output of ``scylla-sim
served``, whose configurations lie in FOLDER. The new file has its rows of chains, trees and plain steps.

Each source is left out in turn, and of SpecBundle each model. Without it, these are fitted: the overheads of all
presets, the overlap of experts, and the size of what differs between sources. A preset whose only source is left
out has the mean of the other presets. Kernels, the compute rate of FlashAttention-2, the lengths of tasks and the
time of an eager prefill are not fitted again; they were chosen with all sources in view.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from fit_between_sources import MEASURED, SIZES, as_text, of_preset, scored
from overhead_fit import CYCLE, PLAIN, PLAIN_RATE, RATE, SPEEDUP, Fit, Runs, fit, predicted, supported
from overhead_rows import CHAIN, FITTED, TREE, System, equation

from paper.sources import served_runs as published
from scylla_sim.checks import FloatArray
from scylla_sim.prediction import between_sources
from scylla_sim.prediction.served_runs import (
    RAGGED,
    ServedRun,
    fitted_tokens_per_cycle,
    predicted_columns,
    scenario,
)
from scylla_sim.prediction.verdict import probability_below, verdict
from scylla_sim.records import Row, dump_json, read_json, table, write_text
from scylla_sim.specs import catalog
from scylla_sim.specs.engine import Engine
from scylla_sim.stats.estimate import Estimate

LARGE = "specbundle"
"""Source whose models are left out one by one: no other source has its preset."""
STEADY = "request rate"
"""Kind of batch whose rates are those between two tokens of one user, without the ramp and the drain of a run."""
LARGEST_RATE_BATCH = 8
"""Largest batch whose throughput is fitted; that of larger ones holds the ramp and the drain of a run.

Source: swiss-ai/apertus-speculative-decoding, plain decoding of an 8B on GH200: 24 of 32 and 105 of 128 requests
run in the mean, because the longest answers end a run alone.
"""
FIELDS = (SPEEDUP, CYCLE, PLAIN, RATE, PLAIN_RATE)


def fitted_rows(rows: Sequence[Row]) -> list[Row]:
    """Return the runs that can be fitted: chains and trees of a preset, and those that only give plain steps."""
    kinds = (published.MAIN, published.PLAIN, published.NGRAM)
    return [row for row in rows if published.kind(row) in kinds and _fits(str(row["preset"]))]


def _fits(preset: str) -> bool:
    """Return whether an engine is a preset of a served engine."""
    return between_sources.applies(catalog.engine(preset))


def left_out(row: Row) -> str:
    """Return the name of the group of runs that a run is left out with."""
    model = str(row["model"]).rpartition("/")[2].removesuffix(".json")
    return f"{row['source']}, {model}" if row["source"] == LARGE else str(row["source"])


def served_run(row: Row, folder: Path) -> ServedRun:
    """Return the settings of a run, whose configurations lie in a folder."""
    values: dict[str, Any] = {}
    for item in fields(ServedRun):
        cell = row.get(item.name)
        if item.type == "int":
            values[item.name] = int(cell or 0)
        else:
            local = str(cell).endswith((".json", ".toml"))
            values[item.name] = str(folder / str(cell)) if local else str(cell or "")
    return ServedRun(**values)


def runs_of(rows: Sequence[Row], folder: Path) -> Runs:
    """Return the equations of some runs.

    Throughput is fitted where it is that of one user, and at small batches where lengths are known and requests are
    refilled; other throughput holds more than cycles and prefills. Median steps and cycles of a run whose sequences
    ramp and drain are scored, and not fitted: they lie between those of several batches.
    """
    tau = published.numbers(rows, "tokens_per_cycle")
    equations = [equation(served_run(row, folder), at) for row, at in zip(rows, tau.tolist())]
    measured = {name: published.numbers(rows, f"measured_{name}") for name in FIELDS}
    drafted = np.array([published.kind(row) == published.MAIN for row in rows])
    ragged = np.array([row["batch_kind"] == RAGGED for row in rows])
    loaded = np.array([one.load_s > 0.0 for one in equations]) & ~ragged
    loaded &= published.numbers(rows, "batch") <= LARGEST_RATE_BATCH
    loaded |= np.array([row["batch_kind"] == STEADY for row in rows])
    steady = ~(published.numbers(rows, "running") > 0)
    for name in FIELDS:
        usable = {
            SPEEDUP: drafted & ~ragged,
            CYCLE: drafted & steady,
            PLAIN: steady,
            RATE: drafted & loaded,
            PLAIN_RATE: loaded,
        }
        measured[name] = np.where(usable.get(name, True), measured[name], np.nan)
    texts = (np.array([str(row[name]) for row in rows]) for name in ("preset", "series"))
    presets, series = texts
    return Runs(
        System.of(equations, tau),
        presets,
        np.array([left_out(row) for row in rows]),
        series,
        published.numbers(rows, "batch"),
        measured,
        np.array([row["tau_from"] == "fitted" for row in rows]),
    )


def engine_with(preset: str, found: Fit) -> Engine:
    """Return a preset with fitted overheads."""
    base = catalog.engine(preset)
    values = found.of(preset)
    ends = {name: (float(one.lower), float(one.upper)) for name, one in values.items()}
    changes: dict[str, Any] = {name: float(one.value) for name, one in values.items()}
    return replace(base, **changes, intervals={**base.intervals, **ends})


def refitted_tau(runs: Runs, found: Fit) -> FloatArray:
    """Return the tokens per cycle of every run, fitted again for the series that state none."""
    tau = runs.system.tokens_per_cycle.copy()
    overlap = {kind: float(one.value) for kind, one in found.overlap.items()}
    overheads = np.array([found.overheads.value[found.presets.index(name)] for name in runs.presets])
    for one in np.unique(runs.series[runs.free_tau]):
        at = runs.free_tau & (runs.series == one) & np.isfinite(runs.measured[SPEEDUP])
        members = runs.at(at)

        def speedups(value: float, members: Runs = members, own: FloatArray = overheads[at]) -> list[float]:
            system = replace(members.system, tokens_per_cycle=np.full(own.shape[0], value))
            return [float(one) for one in predicted(replace(members, system=system), own, overlap)[SPEEDUP]]

        longest = round(float(runs.system.counts[at][:, FITTED.index("draft_pass_host_s")].max()))
        tau[runs.free_tau & (runs.series == one)] = fitted_tokens_per_cycle(
            speedups, members.measured[SPEEDUP], draft_len=max(longest, 1)
        )
    return tau


def predicted_row(row: Row, folder: Path, found: Fit, tokens_per_cycle: float) -> Row:
    """Return a row with the predictions of a fit; baselines stay."""
    run = served_run(row, folder)
    base = scenario(run, tokens_per_cycle)
    model = base.target_model()
    if model.moe is not None:
        one = found.overlap[TREE if int(row["top_k"] or 1) > 1 else CHAIN]
        ends = (float(one.lower), float(one.upper))
        moe = replace(model.moe, expert_overlap=float(one.value), expert_overlap_range=ends)
        model = replace(model, moe=moe)
    served = replace(base, model=model, engine=engine_with(str(row["preset"]), found))
    columns = predicted_columns(served)
    kept = {name: value for name, value in columns.items() if not name.startswith("naive_")}
    return {
        **row,
        **kept,
        "tokens_per_cycle": tokens_per_cycle,
        "left_out": left_out(row),
        "unseen": row["source"] != LARGE,
    }


def all_left_out(rows: Sequence[Row], folder: Path) -> list[Row]:
    """Return the rows as predicted without their sources; intervals hold the shipped `between_sources`."""
    runs = runs_of(rows, folder)
    presets = tuple(dict.fromkeys(runs.presets.tolist()))
    free = supported(runs, presets)
    done: dict[int, Row] = {}
    for source in dict.fromkeys(runs.sources.tolist()):
        out = runs.sources == source
        found = fit(runs.at(~out), presets, free)
        tau = refitted_tau(runs, found)
        for at in np.flatnonzero(out).tolist():
            done[at] = predicted_row(rows[at], folder, found, float(tau[at]))
    return [done[at] for at in range(len(rows))]


def with_differences(rows: Sequence[Row]) -> list[Row]:
    """Return rows whose intervals hold the differences between sources that the other sources show.

    The sizes are in the columns of `fit_between_sources.SIZES`. SpecBundle, of which only one model is left out at
    a time, shows none.
    """
    found = [dict(row) for row in rows]
    columns = as_text(rows)
    for quantity in MEASURED:
        runs = scored(columns, quantity)
        required = between_sources.required_sd(
            runs.measured, runs.predicted.value, runs.predicted.lower, runs.predicted.upper
        )
        every = between_sources.estimated_sd(required, runs.sources)
        sizes = dict(zip(runs.sources, between_sources.estimated_without_each(required, runs.sources).tolist()))
        for row in found:
            if of_preset(str(row["preset"]), quantity):
                row[SIZES[quantity]] = float(np.nan_to_num(sizes.get(row["source"], every), nan=every))
                _replace_intervals(row, quantity)
    return found


def _replace_intervals(row: Row, quantity: str) -> None:
    """Replace the shipped differences between sources in the intervals of a row by those of ``sd_...``."""
    included, sd = between_sources.shipped_sd(quantity), row[SIZES[quantity]]
    for name in MEASURED[quantity]:
        value, low, high = (
            np.asarray(row[key], dtype=np.float64) for key in (name, f"{name}_lower", f"{name}_upper")
        )
        down, up = (between_sources.without(end, included) for end in (value / low, high / value))
        new = between_sources.interval_with(value, value / down, value * up, sd)
        upper = float(new.upper)
        if name == SPEEDUP:
            upper = max(min(upper, row["tokens_per_cycle"]), float(value))
            p_slower = float(probability_below(1.0, Estimate.of(value, new.lower, upper)))
            speculates = row["draft"] != "none"
            row |= {"p_slower": p_slower, "verdict": verdict(p_slower, speculates=speculates)} if speculates else {}
        row |= {f"{name}_lower": float(new.lower), f"{name}_upper": upper}


def main(served: Path, folder: Path, out: Path) -> None:
    """Write the rows of all sources, each left out."""
    rows = fitted_rows(read_json(served)["rows"])
    found = with_differences(all_left_out(rows, folder))
    write_text(out, dump_json(table("scylla-sim/served/1", found, inputs=[served])))


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:4]))
