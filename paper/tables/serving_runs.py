"""Tables of serving runs, and of fits carried to another GPU: nothing that is scored here was fitted to."""

from __future__ import annotations

from pathlib import PurePosixPath

from paper.render.table import Column, Table, joined
from paper.sources.results import Results, commits, value
from paper.sources.results import Table as ResultTable
from scylla_sim.checks import InputError
from scylla_sim.records import Row
from scylla_sim.units import MILLI

_MAKE = "snakemake"


def _percent(key: str, heading: str, *, signed: bool = False) -> Column:
    return Column(key, heading, "%", digits=1, scale=100, signed=signed)


_RUN_ERRORS = (
    Column("n", "runs", digits=0),
    _percent("median_ape", "median error"),
    _percent("mape", "mean"),
    _percent("p90_ape", "p90"),
    _percent("bias", "bias", signed=True),
    _percent("naive_median_ape", "naive roofline: median"),
    _percent("naive_bias", "its bias", signed=True),
    Column("coverage", "in 90 % interval of the kernels", "%", digits=0, scale=100),
)
_RUN_SOURCE = ["runs of the Python package aiconfigurator-core (Apache-2.0), systems/silicon_sample.csv"]
_RUN_NOTE = (
    "Time per output token of aggregated serving: a decode step at the mean context, and the prefills of the other "
    "requests in flight, batch - 1 of them per output. Runs with more than 5 s to the first token are left out as "
    "saturated. A precision that the source leaves blank (H100 only) is taken as bf16."
)


def _runs(results: Results, scalars: str) -> list[tuple[str, ResultTable]]:
    """Comparisons of serving runs with their device and choice of precision."""
    pattern = f"compare/endtoend-*-{scalars}.json"
    paths = results.matching(pattern)
    if not paths:
        raise InputError(f"file={str(results.root / pattern)!r} is missing; make it with: {_MAKE}")
    stems = [PurePosixPath(path).stem.removeprefix("endtoend-").removesuffix(f"-{scalars}") for path in paths]
    return [(stem, results.table(path, _MAKE)) for stem, path in zip(stems, paths)]


def _impossible(results: Results, path: str) -> dict[tuple[str, str, str], tuple[int, float]]:
    """(engine, checkpoint, dtype) -> runs faster than their datasheet allows, and the largest least / measured."""
    names = ("engine", "checkpoint", "dtype", "tpot_ms", "least_s")
    columns = results.columns(path, _MAKE, names)
    found: dict[tuple[str, str, str], tuple[int, float]] = {}
    for engine, checkpoint, dtype, tpot, least in zip(*(columns[name] for name in names)):
        ratio = float(least) / (MILLI * float(tpot))
        count, most = found.get((engine, checkpoint, dtype), (0, 0.0))
        found[engine, checkpoint, dtype] = (count + (ratio > 1), max(most, ratio))
    return found


def serving_runs(results: Results) -> Table:
    """Serving runs of dense models with nothing fitted end to end, cells that fail included."""
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
        "Time per output token of serving runs, nothing fitted end to end",
        (
            Column("device", "device"),
            Column("engine", "engine"),
            Column("checkpoint", "checkpoint"),
            Column("dtype", "weights"),
            *_RUN_ERRORS,
            Column("least_share", "datasheet's least / measured, largest", "%", digits=0, scale=100),
            Column("impossible", "runs below it", digits=0),
            Column("evidence", "evidence"),
        ),
        rows,
        joined({"measured": "silicon", "predicted": "kernels calibrated on kernels"}),
        commits(table for _, table in tables),
        sources=_RUN_SOURCE,
        notes=[
            _RUN_NOTE,
            "The interval is that of the kernels alone: schedulers, host work and bursts are not in it.",
            "Datasheet's least: all FLOPs of decode and prefill at peak, or the bytes of the decode step at full "
            "bandwidth, whichever takes longer. A run below it did less work than it says (prompts found in a "
            "prefix cache, or fewer requests in flight), and so, likely, did its neighbours close to it.",
            "TensorRT-LLM's 8-bit layers are priced as vLLM's, which quantize their input each time.",
        ],
    )


def serving_runs_fitted(results: Results) -> Table:
    """The same with two scalars an engine, fitted on half of the configurations and scored on the other half."""
    rows: list[Row] = []
    tables = _runs(results, "fitted")
    for stem, table in tables:
        device, _, chosen = stem.rpartition("-")
        path = f"endtoend/{stem}-fitted.csv"
        names = ("engine", "share", "host_s")
        columns = results.columns(path, _MAKE, names)
        scalars = {engine: (float(share), float(host)) for engine, share, host in zip(*columns.values())}
        for row in table.rows:
            engine, half = (str(value(row, name, table.path)) for name in ("engine", "half"))
            if half == "all":
                continue
            share, host = scalars.get(engine, (None, None))
            rows.append(
                {"device": device, "chosen": {"bfloat16": "bf16"}.get(chosen, chosen), **row}
                | {"share": share, "host_s": host}
            )
    return Table(
        "serving-runs-fitted",
        "Time per output token of serving runs, two scalars an engine",
        (
            Column("device", "device"),
            Column("chosen", "weights"),
            Column("half", "half"),
            Column("engine", "engine"),
            Column("share", "share of prefills waited for", digits=2),
            Column("host_s", "host", "ms", digits=2, scale=1e3),
            *_RUN_ERRORS,
            Column("evidence", "evidence"),
        ),
        rows,
        joined({"measured": "silicon", "predicted": "kernels calibrated on kernels, two scalars an engine"}),
        commits(table for _, table in tables),
        sources=_RUN_SOURCE,
        notes=[
            _RUN_NOTE,
            "The scalars of an engine minimise the mean error of the runs in the half `fit`; groups of (GPUs, "
            "input, output) fall on one side by a hash. A share near a half: requests come in waves, and wait for "
            "the earlier half of their wave before their first token.",
        ],
    )


FEW_ROWS = 32
"""Rows of each precision that a GPU of its own contributes to the second half of the table."""
FITS = {"carried": "H100 and priors, datasheet peaks", "few": f"{FEW_ROWS} rows of its own"}


def transfer(results: Results) -> Table:
    """GEMMs of a GPU from another one's calibration and the datasheet, and from 32 rows of its own."""
    rows: list[Row] = []
    tables = []
    for kind, words in FITS.items():
        for path in results.matching(f"compare/transfer-{kind}-*.json"):
            table = results.table(path, _MAKE)
            tables.append(table)
            device = PurePosixPath(path).stem.removeprefix(f"transfer-{kind}-")
            for row in table.rows:
                dtype, regime = (str(value(row, name, path)) for name in ("dtype", "regime"))
                if dtype == "all":
                    continue
                rows.append(
                    {"device": device, "fit": words, **row}
                    | {"dtype": {"bfloat16": "bf16"}.get(dtype, dtype)}
                    | {"regime": {"drafting": "small batch", "large": "large batch"}.get(regime, regime)}
                )
    if not rows:
        raise InputError(f"file='compare/transfer-*' is missing in {str(results.root)!r}; make it with: {_MAKE}")
    return Table(
        "transfer",
        "GEMMs of GPUs that the calibration has not seen, or has seen 32 rows of",
        (
            Column("device", "device"),
            Column("fit", "calibrated on"),
            Column("dtype", "weights"),
            Column("regime", "shapes"),
            Column("n", "shapes scored", digits=0),
            _percent("median_ape", "median error"),
            _percent("mape", "mean"),
            _percent("p90_ape", "p90"),
            _percent("bias", "bias", signed=True),
            _percent("naive_median_ape", "naive roofline: median"),
            Column("coverage", "in 90 % interval", "%", digits=0, scale=100),
            _percent("floor_median", "noise floor"),
            Column("evidence", "evidence"),
        ),
        rows,
        joined({"measured": "silicon", "predicted": "calibrated as named"}),
        commits(tables),
        sources=["measurements of the Python package aiconfigurator-core (Apache-2.0)"],
        notes=[
            "A carried calibration takes bandwidth, peak, SMs and L2 from the datasheet. In its family (H200) it "
            "keeps the kernels' shape parameters; elsewhere they count for a quarter beside the prior of the form, "
            "and its interval is wider. That prior is a joint fit to training shapes of H100, B300, GB200, GB300: "
            "no row of a GPU that is scored here, but B300 and GB200 are relatives of B200, which helps. H100 "
            "has no nvfp4: there it is the prior alone.",
            "Noise floor: the same shapes measured by another framework, its median ratio taken out.",
        ],
    )
