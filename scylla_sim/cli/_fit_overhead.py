"""``ingest --fit-overhead``: overheads of an engine from measured served runs."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scylla_sim.checks import fail
from scylla_sim.cli import _compare, _options
from scylla_sim.console import emit_text, note
from scylla_sim.engines import overhead_fit
from scylla_sim.engines.overhead_fit import Observation
from scylla_sim.engines.served_observation import UNITS, engine_table, fitted_names, observation_of
from scylla_sim.prediction.scenario import DEFAULT_ENGINE, Scenario
from scylla_sim.records import Row, format_csv
from scylla_sim.specs import catalog
from scylla_sim.specs.engine import Engine
from scylla_sim.text.tables import Column, text_table
from scylla_sim.units import MILLI

NEEDED = ("hardware", "model")
"""Options that name the deployment."""
TOML, REPORT = "toml", "table"
"""Outputs: the engine, or what changed."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the fit."""
    group = parser.add_argument_group("fit of an engine's overhead")
    group.add_argument(
        "--fit-overhead",
        nargs="*",
        metavar="FILE",
        help="fit the engine's overhead to the measured times of FILE and of these further files, and write an "
        "engine for --engine FILE.toml; --format table shows what changed",
    )
    group.add_argument("--hardware", metavar="NAME|FILE.toml", help="GPU of the runs")
    group.add_argument("--tp", type=int, default=1, help="tensor-parallel GPUs; default 1")
    group.add_argument("--model", metavar="NAME|config.json", help="model of the runs")
    group.add_argument(
        "--precision", help="precision of the weights; default: of the checkpoint or release, or bf16"
    )
    group.add_argument("--kv-precision", help="of the KV cache; default: of the checkpoint, or bf16")
    group.add_argument(
        "--engine", metavar="NAME", help=f"preset to start from; default {DEFAULT_ENGINE}", default=DEFAULT_ENGINE
    )
    group.add_argument("--context", metavar="N", help="tokens in each KV cache; default: from the lengths of a run")


def execute(args: argparse.Namespace) -> int:
    """Fit the overheads and write the engine."""
    for name in NEEDED:
        if getattr(args, name) is None:
            raise fail(name, None, "must be given with --fit-overhead", f"name the {name} of the runs")
    preset = catalog.engine(args.engine)
    paths = list(dict.fromkeys([args.file, *args.fit_overhead]))
    observed, rows = [], []
    notes: list[str] = []
    for path in paths:
        one, words = _observed(args, path, notes)
        observed.append(one)
        rows.append({"file": Path(path).name, "from": words})
    source = f"fitted by scylla-sim ingest --fit-overhead to {len(paths)} runs: {', '.join(paths)}"
    engine = overhead_fit.fitted_to_runs(preset, observed, source=source)
    _options.print_notes(notes)
    left_out = overhead_fit.errors_left_out(preset, observed)
    _report(rows, observed, preset, engine, left_out)
    if args.format == "table":
        emit_text(args, _tables(rows, preset, engine))
    elif args.format == "csv":
        emit_text(args, format_csv(rows))
    else:
        emit_text(args, engine_table(engine, preset))
    return 0


def _observed(args: argparse.Namespace, path: str, notes: list[str]) -> tuple[Observation, str]:
    """Return the decoding cycle of one file, and where it was measured; add the notes of its prediction."""
    measured, facts = _compare.measured_file("fit_overhead", path)
    draft = args.draft or facts.get("method") or ("none" if "acceptance_rate" not in facts else None)
    if draft is None:
        raise fail(
            "draft", None, "must be given with --fit-overhead", f"{path} does not name the method of its draft"
        )
    given: dict[str, Any] = {name: getattr(args, name) for name in ("precision", "kv_precision", "engine", "tp")}
    context = None if args.context is None else [int(args.context)]
    length = {} if draft == "none" or args.draft_len is None else {"draft_len": args.draft_len}
    scenario = Scenario(args.model, hardware=args.hardware, draft=draft, context=context, **given, **length)
    scenario, remarks = _compare.placed(scenario, measured, facts, path=path, option="fit-overhead")
    result = scenario.predict()
    notes += [*remarks, *result.notes]
    (out,) = result.predictions
    return observation_of(out, measured)


def _report(
    rows: list[Row], observed: Sequence[Observation], preset: Engine, engine: Engine, left_out: Sequence[float]
) -> None:
    """Add the errors to the rows of the runs, and print their means."""
    for row, one, other in zip(rows, observed, left_out):
        row["measured_s"] = one.measured_s
        row["preset_error"] = one.predicted_s(preset) / one.measured_s - 1.0
        row["fitted_error"] = one.predicted_s(engine) / one.measured_s - 1.0
        row["left_out_error"] = other if len(rows) > 1 else None
    before, after = (100.0 * np.mean([abs(row[f"{key}_error"]) for row in rows]) for key in ("preset", "fitted"))
    text = f"cycles of {len(rows)} runs: mean error {before:.1f} % with {preset.name}, {after:.1f} % after the fit"
    if len(rows) > 1:
        text += f", {100.0 * np.mean(np.abs(left_out)):.1f} % on each run when it is left out"
    note(f"note: {text}")
    if len(rows) == 1:
        note("note: one run cannot tell the overheads apart, nor test the fit; give runs at several concurrencies")


def _tables(rows: Sequence[Row], preset: Engine, engine: Engine) -> str:
    """Return the runs with their errors, and the overheads before and after."""
    titles = {
        "preset_error": f"error {preset.name}",
        "fitted_error": "error fitted",
        "left_out_error": "error left out",
    }
    runs = [
        Column("file"),
        Column("from"),
        Column("measured_s", "cycle, ms", scale=1e3),
        *(Column(key, title, scale=100.0, unit=" %", decimals=1) for key, title in titles.items()),
    ]
    overheads = []
    for name in fitted_names(engine, preset):
        unit, size = UNITS.get(name, ("ms", MILLI))
        row: Row = {"overhead": name.removesuffix("_s"), "unit": unit}
        for key, one in (("preset", preset), ("fitted", engine)):
            ends = (getattr(one, name), *one.intervals[name])
            row |= {f"{key}{end}": value / size for end, value in zip(("", "_lower", "_upper"), ends)}
        overheads.append(row)
    columns = [
        Column("overhead"),
        Column("unit"),
        *(
            Column(key, f"{title} [90 %]", ends=(f"{key}_lower", f"{key}_upper"), decimals=3, right=True)
            for key, title in (("preset", preset.name), ("fitted", "fitted"))
        ),
    ]
    return f"{text_table(rows, runs)}\n{text_table(overheads, columns)}"
