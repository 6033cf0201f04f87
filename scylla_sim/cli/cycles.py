"""``scylla-sim cycles``: whole draft-verify cycles of given configurations, CSV in and out."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scylla_sim.acceptance.speculative_config import SpeculativeConfig
from scylla_sim.calibration.device_calibration import Calibration
from scylla_sim.checks import FloatArray, fail
from scylla_sim.cli import _columns, _ranks
from scylla_sim.console import add_output, emit, note
from scylla_sim.engines import overhead_fit
from scylla_sim.number_columns import COUNT, POSITIVE, errors_at, line_of, parse_numbers
from scylla_sim.prediction.model_notes import draft_notes, engine_notes
from scylla_sim.prediction.throughput import Prediction, predict
from scylla_sim.prediction.verdict import verdict
from scylla_sim.specs import catalog
from scylla_sim.specs.engine import OVERHEADS, Engine
from scylla_sim.stats.split import FIT
from scylla_sim.text.tables import Column
from scylla_sim.units import MICRO

EPILOG = """example:
  printf 'device,dtype,model,draft,draft_len,top_k,verify_tokens,tokens_per_cycle,batch_size,context_len\\n' > c.csv
  printf 'h100-sxm,bf16,llama-3.1-8b,eagle3,3,1,4,2.4,8,1024\\n' >> c.csv
  scylla-sim cycles --shapes c.csv --format csv
with --ranks: a CSV with the columns depth,rank,probability gives the tokens_per_cycle of the trees in the column
  paths ("0 1 0.0"); other columns that both files have select the profile of a row
with --fit-overheads: the rows whose column half is "fit" need measured plain_step_s and cycle_s; the overheads of
  the loop are fitted to them and added to all rows
"""

LABELS = ("device", "dtype", "model", "draft")
SHAPE = ("draft_len", "top_k", "verify_tokens")
LOAD = ("batch_size", "context_len")
TAU = "tokens_per_cycle"
MEASURED = ("cycle_s", "plain_step_s")
PASSED_ON = ("half", "paths", "graph", "new_tokens")
"""Columns that identify a row and do not change its prediction."""
TABLE_COLUMNS = (
    *(Column(name, fold=True) for name in ("device", "dtype", "model", "draft")),
    Column("batch_size", "batch", fold=True),
    Column("context_len", "context", fold=True),
    Column("draft_len", "K", fold=True),
    Column("top_k", "top-k", fold=True),
    Column("verify_tokens", "verified", fold=True),
    Column("tokens_per_cycle", "tokens/cycle"),
    *(Column(f"{name}_s", f"{name} ms", scale=1e3) for name in ("draft", "verify", "overhead", "cycle")),
    Column("plain_step_s", "plain ms", scale=1e3),
    Column("tokens_per_s", "tokens/s"),
    Column("speedup", "speed-up [90 %]", ends=("speedup_lower", "speedup_upper"), decimals=2),
    Column("naive_speedup", "naive speed-up", decimals=2, optional=True),
    Column("verdict", optional=True),
)
"""Columns of the text table."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    needed = ", ".join((*LABELS, *SHAPE, TAU, *LOAD))
    parser.add_argument("--shapes", required=True, metavar="FILE", help=f"CSV with the columns {needed}")
    _columns.add_calibration(parser)
    _columns.add_engine(parser)
    _columns.add_long_context(parser)
    parser.add_argument("--ranks", metavar="FILE", help=f"rank profiles that give {TAU} of each row's tree")
    parser.add_argument(
        "--fit-overheads", action="store_true", help="fit the overheads of the loop on the rows with half=fit"
    )
    add_output(parser, default="csv")


def _prediction(
    columns: Mapping[str, list[str]],
    numbers: Mapping[str, FloatArray],
    at: NDArray[np.intp],
    engine: Engine,
    given: Calibration | None,
    *,
    path: str,
) -> Prediction:
    """Return the prediction of the rows ``at``, which have the same labels and the same shape."""
    place, rows = line_of(path), at.reshape(-1).tolist()
    device, dtype, model, name = (columns[label][rows[0]].strip() for label in LABELS)
    length, width, verified = (int(numbers[label][rows[0]]) for label in SHAPE)
    with errors_at(place, rows[0]):
        draft = catalog.draft(name)
    configs = []
    for row in rows:
        tau = float(numbers[TAU][row])
        with errors_at(place, row):
            configs.append(SpeculativeConfig(draft, length, width, verified, tau, tau, tau))
    batch, context = (numbers[label][at] for label in LOAD)
    with errors_at(place, rows[0]):
        deployment = _columns.deployment(device, dtype, engine, given)
        found = predict(catalog.model(model), configs[0], deployment, batch=batch, context=context)
    return replace(found, each_tau=numbers[TAU][at])


def _fitted_engine(
    path: str,
    columns: Mapping[str, list[str]],
    numbers: Mapping[str, FloatArray],
    engine: Engine,
    given: Calibration | None,
) -> Engine:
    """Return the engine with overheads fitted to the measured rows."""
    for name in ("half", *MEASURED):
        if name not in columns:
            raise fail("column", name, f"is needed with --fit-overheads in {path}")
    rows = [index for index, half in enumerate(columns["half"]) if half.strip() == FIT]
    measured = {
        name: parse_numbers(name, columns[name], line_of(path), rule=POSITIVE, rows=rows) for name in MEASURED
    }
    seen: list[overhead_fit.Observation] = []
    for at, index in enumerate(rows):
        times = {name: float(values[at]) for name, values in measured.items()}
        alone = _prediction(columns, numbers, np.array(index), Engine(engine.name), given, path=path)
        seen += overhead_fit.observations(alone, **times)
    found = overhead_fit.fit_engine(f"{engine.name}, fitted", seen)
    overheads = ", ".join(f"{name} {getattr(found, name) / MICRO:.3g} us" for name in OVERHEADS)
    note(f"overheads fitted on {len(seen)} times: {overheads}")
    return found


def _roofline_columns(out: Prediction) -> dict[str, FloatArray]:
    """Return the roofline of a prediction, with the same tokens per cycle and no overheads."""
    draft, verify, plain = (np.asarray(step.datasheet_s) for step in (out.draft, out.verify, out.plain))
    tau, cycle = out.cycle.tokens_per_cycle.value, draft + verify
    return {
        "naive_draft_s": draft,
        "naive_verify_s": verify,
        "naive_cycle_s": cycle,
        "naive_plain_step_s": plain,
        "naive_tokens_per_s": out.batch * tau / cycle,
        "naive_speedup": tau * plain / cycle,
    }


def _predicted_columns(out: Prediction) -> dict[str, FloatArray]:
    """Return the predicted times and rates by row key."""
    speedup = out.speedup_estimate
    return {
        "draft_s": out.draft.seconds,
        "verify_s": out.verify.seconds,
        "overhead_s": out.overhead_s,
        "cycle_s": out.cycle_s,
        "plain_step_s": out.plain.seconds + out.plain_overhead_s,
        "tokens_per_s": out.tokens_per_s,
        "speedup": speedup.value,
        "speedup_lower": speedup.lower,
        "speedup_upper": speedup.upper,
        "tokens_per_s_lower": out.tokens_per_s_estimate.lower,
        "tokens_per_s_upper": out.tokens_per_s_estimate.upper,
        "plain_tokens_per_s_lower": out.plain_tokens_per_s_estimate.lower,
        "plain_tokens_per_s_upper": out.plain_tokens_per_s_estimate.upper,
        "p_slower": out.p_slower,
    }


def _rows(columns: Mapping[str, list[str]], at: NDArray[np.intp], out: Prediction) -> list[dict[str, Any]]:
    """Return the rows of output at some indices."""
    config = out.config
    values = _predicted_columns(out) | _roofline_columns(out)
    size = at.size
    cells: dict[str, Sequence[Any]] = {
        **{name: [columns[name][index].strip() for index in at.tolist()] for name in LABELS},
        "batch_size": out.batch.astype(np.int64).tolist(),
        "context_len": out.context.astype(np.int64).tolist(),
        **{name: [getattr(config, name)] * size for name in SHAPE},
        **{name: [columns[name][index] for index in at.tolist()] for name in PASSED_ON if name in columns},
        TAU: out.cycle.tokens_per_cycle.value.tolist(),
        **{name: np.broadcast_to(value, (size,)).tolist() for name, value in values.items()},
        "evidence": out.evidence,
        "verdict": [verdict(p, speculates=config.draft.kind != "none") for p in out.p_slower.tolist()],
    }
    return [dict(zip(cells, row)) for row in zip(*cells.values())]


def _check_drafts(path: str, columns: Mapping[str, list[str]]) -> None:
    """Raise for a row without a draft."""
    for row, name in enumerate(columns["draft"]):
        if name.strip() in ("", "none"):
            rule = f"must name a draft {line_of(path)(row)}"
            raise fail("draft", name, rule, "scylla-sim steps predicts plain decoding")


def _notes(model: str, out: Prediction) -> list[str]:
    """Return notes on a draft, and on what the engine cannot run."""
    longest, (_, most) = int(out.context.max()), out.max_sequences
    full = ["the batch does not fit in memory"] if (out.batch > most).any() else []
    return [*draft_notes(out.config.draft, catalog.model(model), longest), *engine_notes([out]), *full]


def execute(args: argparse.Namespace) -> int:
    """Print one row per configuration: predicted times, rates and speed-up, and their roofline."""
    counts = (*SHAPE, *LOAD)
    columns = _columns.read_rows(args.shapes, (*LABELS, *counts, *(() if args.ranks else (TAU,))))
    _columns.check_one_gpu(args.shapes, columns)
    numbers = _columns.read_numbers(line_of(args.shapes), columns, counts, COUNT)
    models = [name.strip() for name in columns["model"]]
    _columns.check_contexts(args, args.shapes, models, numbers["context_len"])
    _check_drafts(args.shapes, columns)
    if args.ranks:
        numbers[TAU] = _ranks.tokens_per_cycle(args.ranks, args.shapes, columns)
    else:
        numbers |= _columns.read_numbers(line_of(args.shapes), columns, [TAU])
    engine, given = catalog.engine(args.engine), _columns.given_calibration(args)
    if args.fit_overheads:
        engine = _fitted_engine(args.shapes, columns, numbers, engine, given)
    rows: list[dict[str, Any]] = [{}] * len(models)
    notes = _columns.name_notes(columns) + _columns.transfer_notes(columns, given, _columns.TRANSFERRED)
    kinds = [*(columns[name] for name in LABELS), *(numbers[name].tolist() for name in SHAPE)]
    for _, at in _columns.groups(*kinds):
        out = _prediction(columns, numbers, at, engine, given, path=args.shapes)
        notes.append((int(at[0]), _notes(models[at[0]], out)))
        found = _rows(columns, at, out)
        for index, row in zip(at.tolist(), found):
            rows[index] = row
    _columns.note_each(notes, args.shapes)
    inputs = [name for name in (args.shapes, args.calibration, args.ranks) if name]
    emit(args, "cycles", rows, columns=TABLE_COLUMNS, inputs=inputs)
    return 0
