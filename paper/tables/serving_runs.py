"""Tables ``serving-runs`` and ``serving-runs-fitted``: time per output token of serving runs of dense models."""

from __future__ import annotations

from pathlib import PurePosixPath

from paper.render.table import EVIDENCE, Column, Table, ms_column, percent_column
from paper.render.values import joined
from paper.sources.results import Results, ResultTable, commits, value
from paper.tables.errors import ERROR_COLUMNS, ROOFLINE_NOTE, WIDTH, word
from scylla_sim.records import Row
from scylla_sim.units import MILLI

_ERRORS = (
    Column("n", "runs", digits=0),
    *ERROR_COLUMNS,
    percent_column("coverage", "inside 90 % interval of the kernels", digits=0),
    WIDTH,
)
_SOURCES = ["runs of the Python package aiconfigurator-core (Apache-2.0), systems/silicon_sample.csv"]
_RUN_NOTES = (
    "Predicted time per output token of aggregated serving: a decode step at the mean context, plus the prefills "
    "of the other requests in flight, batch - 1 of them for each output.",
    "Runs with more than 5 s to the first token are left out as saturated. Where the source leaves the precision "
    "blank (H100 only), bf16 is assumed.",
    ROOFLINE_NOTE,
)


def _runs(results: Results, scalars: str) -> list[tuple[str, ResultTable]]:
    """Return comparisons of serving runs by ``DEVICE-PRECISION``; ``scalars`` is fitted or unfitted."""
    paths = results.require(f"compare/endtoend-*-{scalars}.json")
    stems = [PurePosixPath(path).stem.removeprefix("endtoend-").removesuffix(f"-{scalars}") for path in paths]
    return [(stem, results.table(path)) for stem, path in zip(stems, paths)]


def _impossible(results: Results, path: str) -> dict[tuple[str, str, str], tuple[int, float]]:
    """Return by (engine, checkpoint, dtype) the runs faster than their datasheet allows.

    Returns
    -------
    dict
        Number of such runs, and the largest ratio of the shortest possible to the measured time.
    """
    words = results.columns(path, ("engine", "checkpoint", "dtype"))
    times = results.numbers(path, ("tpot_ms", "least_s"))
    found: dict[tuple[str, str, str], tuple[int, float]] = {}
    for engine, checkpoint, dtype, tpot, least in zip(*words.values(), *times.values()):
        ratio = least / (MILLI * tpot)
        count, most = found.get((engine, checkpoint, dtype), (0, 0.0))
        found[engine, checkpoint, dtype] = (count + (ratio > 1), max(most, ratio))
    return found


def serving_runs(results: Results) -> Table:
    """Return errors of serving runs without a fit to them, for every engine, checkpoint and weight dtype."""
    rows: list[Row] = []
    tables = _runs(results, "unfitted")
    for stem, table in tables:
        device = stem.removesuffix("-all")
        least = _impossible(results, f"endtoend/{stem}-unfitted.csv")
        for row in table.rows:
            key = tuple(str(value(row, name, table.path)) for name in ("engine", "checkpoint", "dtype"))
            if "all" not in key:
                count, most = least[key[0], key[1], key[2]]
                rows.append({"device": device, **row, "impossible": count, "least_share": most})
    return Table(
        "serving-runs",
        "Time per output token of serving runs, without a fit to serving runs",
        (
            Column("device", "device"),
            Column("engine", "engine"),
            Column("checkpoint", "checkpoint"),
            Column("dtype", "weights"),
            *_ERRORS,
            percent_column("least_share", "largest ratio of shortest possible to measured time", digits=0),
            Column("impossible", "runs below shortest possible time", digits=0),
            EVIDENCE,
        ),
        rows,
        joined({"measured": "silicon", "predicted": "kernels calibrated on kernels"}),
        commits(table for _, table in tables),
        sources=_SOURCES,
        notes=[
            *_RUN_NOTES,
            "The interval covers the kernels only. It does not cover schedulers, host time and bursts.",
            "Shortest possible time: all FLOPs of decode and prefill at the datasheet peak, or the bytes of the "
            "decode step at full bandwidth, whichever takes longer. A run below it did less work than the source "
            "states, for example because a prefix cache held the prompts. Runs close to it probably did too.",
            "8-bit layers of TensorRT-LLM are estimated like those of vLLM, which quantize their input at every "
            "call.",
        ],
    )


def serving_runs_fitted(results: Results) -> Table:
    """Return errors with two scalars per engine, fitted to one half of the runs and scored on the other."""
    rows: list[Row] = []
    tables = _runs(results, "fitted")
    for stem, table in tables:
        device, _, chosen = stem.rpartition("-")
        path = f"endtoend/{stem}-fitted.csv"
        engines = results.columns(path, ("engine",))["engine"]
        scalars = dict(zip(engines, zip(*results.numbers(path, ("share", "host_s")).values())))
        for row in table.rows:
            engine, half = (str(value(row, name, table.path)) for name in ("engine", "half"))
            if half == "all":
                continue
            share, host = scalars.get(engine, (None, None))
            rows.append(
                {"device": device, "chosen": word("dtype", chosen), **row} | {"share": share, "host_s": host}
            )
    return Table(
        "serving-runs-fitted",
        "Time per output token of serving runs, with two scalars per engine",
        (
            Column("device", "device"),
            Column("chosen", "weights"),
            Column("half", "half"),
            Column("engine", "engine"),
            Column("share", "share of prefills in the wait", digits=2),
            ms_column("host_s", "host"),
            *_ERRORS,
            EVIDENCE,
        ),
        rows,
        joined({"measured": "silicon", "predicted": "calibrated kernels, two scalars per engine"}),
        commits(table for _, table in tables),
        sources=_SOURCES,
        notes=[
            *_RUN_NOTES,
            "The scalars of an engine minimize the mean error of the runs in the half `fit`. A hash assigns each "
            "group of (GPUs, input length, output length) to one half.",
            "A share near one half means that requests arrive in waves: each waits for the earlier half of its "
            "wave before its first token.",
        ],
    )
