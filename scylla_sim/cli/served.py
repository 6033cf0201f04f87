"""``scylla-sim served``: published serving runs beside their predictions and baselines, CSV in and out."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from scylla_sim.checks import FloatArray, fail, whole
from scylla_sim.cli import _columns
from scylla_sim.console import add_output, count, emit
from scylla_sim.number_columns import AT_LEAST_ONE, COUNT, POSITIVE, NumberRule, errors_at, line_of, parse_numbers
from scylla_sim.prediction import served_runs
from scylla_sim.prediction.served_runs import Columns, ServedRun
from scylla_sim.records import Row
from scylla_sim.specs import catalog
from scylla_sim.text.tables import Column
from scylla_sim.units import MILLI

EPILOG = """example:
  head -3 paper/published/served_runs.csv > runs.csv
  scylla-sim served --runs runs.csv --format csv
a blank tokens_per_cycle is fitted: one value for all rows of its series
a hardware, model or draft that ends in .json or .toml is a path relative to the file
"""

WORDS = ("engine", "hardware", "model", "precision", "kv_precision", "draft")
COUNTS = ("tp", "batch", "context")
SHAPE = ("draft_len", "top_k", "verify_tokens")
LENGTHS = ("input_len", "output_len")
RUNNING = "running"
TAU = "tokens_per_cycle"
MEASURED = ("speedup", "cycle_ms", "plain_ms", "tokens_per_s", "plain_tokens_per_s")
Place = Callable[[int], str]
"""Function from the index of a run to its place in the file."""
KEYS = ("id", "source", "series")
BATCH_KIND = "batch_kind"
PASSED_ON = (*KEYS, "task", BATCH_KIND, "lengths", "fitted", "assumed")
"""Columns that identify a run; of them, only `BATCH_KIND` changes its prediction."""
NOT_USED = ("table_figure", "how_read", "engine_version", "note")
"""Columns for readers."""
KNOWN = (*PASSED_ON, *WORDS, *COUNTS, *SHAPE, *LENGTHS, RUNNING, TAU, *MEASURED, *NOT_USED)
WHOLE = NumberRule(0.0, whole=True)
TABLE_COLUMNS = (
    Column("id"),
    *(Column(name, fold=True) for name in ("engine", "hardware", "model", "precision", "draft")),
    Column("tp", "TP", fold=True),
    Column("batch", fold=True),
    Column("context", fold=True),
    Column("draft_len", "K", fold=True),
    Column("tokens_per_cycle", "tokens/cycle"),
    Column("measured_tokens_per_s", "measured tokens/s"),
    Column("tokens_per_s", "tokens/s [90 %]", ends=("tokens_per_s_lower", "tokens_per_s_upper")),
    Column("measured_speedup", "measured speed-up", decimals=2),
    Column("speedup", "speed-up [90 %]", ends=("speedup_lower", "speedup_upper"), decimals=2),
    Column("verdict", optional=True),
)
"""Columns of the text table."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this verb."""
    needed = ", ".join((*KEYS, *WORDS, *COUNTS, *SHAPE, TAU, "speedup"))
    parser.add_argument("--runs", required=True, metavar="FILE", help=f"CSV with the columns {needed}")
    parser.add_argument("--source", metavar="NAME", help="only the runs of this source; default: all")
    parser.add_argument(
        "--one-length",
        metavar="K",
        help=f"take {TAU} of each chain from the run of its series and batch whose draft length is nearest to K",
    )
    add_output(parser, default="csv")


def _optional(place: Place, columns: _columns.Columns, name: str, rule: NumberRule) -> FloatArray:
    """Return a column of numbers; NaN where a cell is blank or the column is absent."""
    cells = columns.get(name, [""] * len(columns["id"]))
    rows = [index for index, cell in enumerate(cells) if cell.strip()]
    values = np.full(len(cells), np.nan)
    values[rows] = parse_numbers(name, cells, place, rule=rule, rows=rows)
    return values


def _read(path: str, source: str | None) -> tuple[dict[str, list[str]], Place]:
    """Read the runs of a file, or of one source, with their places; refuse columns that nothing reads."""
    columns = _columns.read_rows(path, (*KEYS, *WORDS, *COUNTS, *SHAPE, TAU, "speedup"))
    for name in columns:
        if name not in KNOWN:
            raise fail("column", name, f"in {path} is not known", f"known: {', '.join(KNOWN)}")
    if source is None:
        return columns, line_of(path)
    keep = [index for index, name in enumerate(columns["source"]) if name == source]
    if not keep:
        raise fail("source", source, f"must be a source of {path}", ", ".join(dict.fromkeys(columns["source"])))
    kept = {name: [cells[index] for index in keep] for name, cells in columns.items()}
    return kept, lambda index: line_of(path)(keep[index])


def _local(path: str, name: str) -> str:
    """Return a name, or the path of a configuration that lies beside the file of runs."""
    return str(Path(path).parent / name) if name.endswith((".json", ".toml")) else name


def _runs(path: str, columns: _columns.Columns, place: Place) -> list[ServedRun]:
    """Return the settings of every run."""
    counts = _columns.read_numbers(place, columns, COUNTS, COUNT)
    shape = {name: _optional(place, columns, name, WHOLE) for name in (*SHAPE, *LENGTHS, RUNNING)}
    for index, draft in enumerate(columns["draft"]):
        for name in SHAPE:
            if draft != "none" and not np.isfinite(shape[name][index]):
                raise fail(name, "", f"must be given {place(index)}", "a run without a draft has draft=none")
    numbers = {name: np.nan_to_num(values).astype(int).tolist() for name, values in (counts | shape).items()}
    words = {name: [_local(path, cell.strip()) for cell in columns[name]] for name in WORDS}
    kinds = columns.get(BATCH_KIND, [""] * len(columns["id"]))
    settings = zip(*(words[name] for name in WORDS), *_in_order(numbers), kinds)
    return [ServedRun(*values) for values in settings]


def _in_order(numbers: dict[str, list[int]]) -> list[list[int]]:
    """Return the columns of numbers in the order of the fields of `ServedRun`."""
    return [numbers[name] for name in ("tp", *SHAPE, "batch", "context", *LENGTHS, RUNNING)]


def _predicted(place: Place, runs: Sequence[ServedRun], rows: Iterable[int], tau: Sequence[float]) -> list[Columns]:
    """Return the predicted columns of some runs; an error names the line of its run."""
    found = []
    for index, value in zip(rows, tau):
        with errors_at(place, index):
            found.append(served_runs.predict_run(runs[index], value))
    return found


def _fitted(place: Place, runs: Sequence[ServedRun], rows: Sequence[int], measured: FloatArray) -> float:
    """Return the tokens per cycle of a series without a stated value."""
    return served_runs.fitted_tokens_per_cycle(
        lambda tau: [float(one["speedup"]) for one in _predicted(place, runs, rows, [tau] * len(rows))],
        measured,
        draft_len=max(runs[row].draft_len for row in rows),
    )


def _tokens_per_cycle(
    place: Place, columns: _columns.Columns, runs: Sequence[ServedRun], speedups: FloatArray
) -> tuple[FloatArray, list[str]]:
    """Return the tokens per cycle of every run, and whether they were given, fitted or not needed."""
    tau = _optional(place, columns, TAU, AT_LEAST_ONE)
    origin = ["given" if run.drafts else "none" for run in runs]
    for _, at in _columns.groups(columns["series"]):
        blank = [index for index in at if runs[index].drafts and not np.isfinite(tau[index])]
        if not blank:
            continue
        if not np.isfinite(speedups[blank]).all():
            at_line = place(next(index for index in blank if not np.isfinite(speedups[index])))
            raise fail("speedup", "", f"must be given {at_line}", f"its {TAU} is blank and is fitted")
        tau[blank] = _fitted(place, runs, blank, speedups[blank])
        for index in blank:
            origin[index] = "fitted"
    return np.where(np.isfinite(tau), tau, 1.0), origin


def _from_one_length(
    columns: _columns.Columns, runs: Sequence[ServedRun], tau: FloatArray, origin: Sequence[str], known: int
) -> None:
    """Replace the given tokens per cycle of chains by those that follow from one draft length of their ladder."""
    chains = [run.drafts and run.top_k == 1 for run in runs]
    batches = [run.batch for run in runs]
    drafts = [run.draft for run in runs]
    for (draft, _, _, kind, chain), at in _columns.groups(drafts, columns["series"], batches, origin, chains):
        if kind == "given" and chain:
            lengths = [runs[index].draft_len for index in at]
            tau[at] = served_runs.from_one_length(draft, lengths, tau[at], known=known)


def _refitted(baseline: FloatArray, columns: _columns.Columns, origin: Sequence[str], speedups: FloatArray) -> None:
    """Scale a baseline at one token per cycle by its own fit, in every series whose tokens per cycle are fitted."""
    for (_, kind), at in _columns.groups(columns["series"], origin):
        if kind == "fitted":
            baseline[at] *= max(served_runs.fitted_scale(baseline[at], speedups[at]), 1.0)


def _baselines(
    columns: _columns.Columns,
    predicted: Sequence[Columns],
    tau: FloatArray,
    origin: Sequence[str],
    speedups: FloatArray,
) -> dict[str, FloatArray]:
    """Return the speed-up by roofline, by a constant, and by the tokens per cycle times a constant."""
    naive = np.array([float(row["naive_speedup"]) for row in predicted])
    fitted = np.array(origin) == "fitted"
    naive[fitted] /= tau[fitted]
    _refitted(naive, columns, origin, speedups)
    stated = np.where(np.array(origin) == "given", speedups / tau, np.nan)
    share = served_runs.mean_of_other_sources(stated, columns["source"])
    times_tau = np.where(fitted, share, tau * share)
    _refitted(times_tau, columns, origin, speedups)
    constant = served_runs.mean_of_other_sources(speedups, columns["source"])
    return {"naive_speedup": naive, "constant_speedup": constant, "tau_constant_speedup": times_tau}


def execute(args: argparse.Namespace) -> int:
    """Print one row per run: measured values, predictions with their intervals, and baselines."""
    columns, place = _read(args.runs, args.source)
    runs = _runs(args.runs, columns, place)
    measured = {name: _optional(place, columns, name, POSITIVE) for name in MEASURED}
    tau, origin = _tokens_per_cycle(place, columns, runs, measured["speedup"])
    if args.one_length is not None:
        _from_one_length(
            columns, runs, tau, origin, int(whole("one_length", count("one-length", args.one_length), 1))
        )
    predicted = _predicted(place, runs, range(len(runs)), tau.tolist())
    baselines = _baselines(columns, predicted, tau, origin, measured["speedup"])
    rows: list[Row] = []
    for index, run in enumerate(runs):
        given = {name: columns[name][index] for name in (*PASSED_ON, *WORDS) if name in columns}
        row = {
            **given,
            **{name: getattr(run, name) for name in (*COUNTS, *SHAPE, *LENGTHS, RUNNING)},
            TAU: float(tau[index]),
            "tau_from": origin[index],
            "preset": catalog.engine(run.engine).name,
            **_measured_columns(measured, index),
            **predicted[index],
            **{name: float(values[index]) for name, values in baselines.items()},
        }
        rows.append({name: None if value != value else value for name, value in row.items()})  # NaN is blank
    emit(args, "served", rows, columns=TABLE_COLUMNS, inputs=[args.runs])
    return 0


def _measured_columns(measured: dict[str, FloatArray], index: int) -> dict[str, float]:
    """Return the measured values of a run in SI units; NaN where the source has none."""
    return {
        "measured_speedup": float(measured["speedup"][index]),
        "measured_cycle_s": MILLI * float(measured["cycle_ms"][index]),
        "measured_plain_step_s": MILLI * float(measured["plain_ms"][index]),
        "measured_tokens_per_s": float(measured["tokens_per_s"][index]),
        "measured_plain_tokens_per_s": float(measured["plain_tokens_per_s"][index]),
    }
