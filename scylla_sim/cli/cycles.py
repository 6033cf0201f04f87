"""``scylla-sim cycles``: whole draft-verify cycles of given configurations, CSV in and out."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from scylla_sim.acceptance import trees
from scylla_sim.acceptance.speculative_config import SpeculativeConfig
from scylla_sim.calibration import device_calibration
from scylla_sim.checks import FloatArray, InputError, fail, whole
from scylla_sim.cli.steps import number_columns
from scylla_sim.console import add_output, emit, note
from scylla_sim.engines import overhead_fit
from scylla_sim.prediction.steps import Deployment
from scylla_sim.prediction.throughput import Prediction, predict
from scylla_sim.records import read_columns
from scylla_sim.specs import catalog, dtypes
from scylla_sim.specs.engine import OVERHEADS, Engine
from scylla_sim.stats.split import FIT
from scylla_sim.units import MICRO

EPILOG = """example:
  printf 'device,dtype,model,draft,draft_len,top_k,verify_tokens,tokens_per_cycle,batch_size,context_len\\n' > c.csv
  printf 'h100-sxm,bf16,llama-3.1-8b,eagle3,3,1,4,2.4,8,1024\\n' >> c.csv
  scylla-sim cycles --shapes c.csv --format csv
with --ranks: a CSV of depth,rank,probability gives tokens_per_cycle of the trees in the column paths ("0 1 0.0");
  other columns that both files have choose the profile
with --fit-overheads: rows whose column half says fit, with plain_step_s and cycle_s measured, give the loop's own
  overheads; the other rows score them
"""

LABELS = ("device", "dtype", "model", "draft")
COUNTS = ("draft_len", "top_k", "verify_tokens")
NUMBERS = (*COUNTS, "tokens_per_cycle", "batch_size", "context_len")
MEASURED = ("cycle_s", "plain_step_s")
PASSED_ON = ("half", "paths", "graph", "new_tokens")
"""Columns that tell rows apart and do not change the prediction."""
RANKS = ("depth", "rank", "probability")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--shapes", required=True, metavar="FILE", help=f"CSV with the columns {','.join(LABELS)},..."
    )
    parser.add_argument("--calibration", metavar="FILE", help="default: each device's shipped one")
    parser.add_argument("--engine", default="ideal", help="its launch and host work are added; default ideal")
    parser.add_argument("--ranks", metavar="FILE", help="rank profiles: predict tokens_per_cycle from them")
    parser.add_argument(
        "--fit-overheads", action="store_true", help="fit what the loop adds on the rows of half=fit"
    )
    add_output(parser, default="csv")


def _profiles(path: str, shapes: Mapping[str, list[str]]) -> tuple[list[str], dict[tuple[str, ...], FloatArray]]:
    """Columns that choose a profile, and the profiles ``(depth, rank)`` by their values."""
    columns = read_columns(path, needed=RANKS)
    shared = [name for name in columns if name in shapes and name not in (*RANKS, "evidence")]
    cells: dict[tuple[str, ...], dict[tuple[int, int], float]] = {}
    for index in range(len(columns["depth"])):
        key = tuple(columns[name][index].strip() for name in shared)
        try:
            place = (int(columns["depth"][index]), int(columns["rank"][index]))
            chance = float(columns["probability"][index])
        except ValueError:
            raise InputError(f"ranks={path!r} must hold whole depths and ranks on line {index + 2}") from None
        if place[0] < 1 or place[1] < 0:
            raise fail("ranks", path, f"must hold depths from 1 and ranks from 0 on line {index + 2}")
        if place in cells.setdefault(key, {}):
            raise fail("ranks", path, f"holds depth {place[0]}, rank {place[1]} twice, again on line {index + 2}")
        cells[key][place] = chance
    found = {}
    for key, cell in cells.items():
        size = (max(depth for depth, _ in cell), max(rank for _, rank in cell) + 1)
        if len(cell) != size[0] * size[1]:
            raise fail("ranks", path, f"must hold each of {size[0]} depths and {size[1]} ranks once", f"for {key}")
        found[key] = np.array([[cell[depth + 1, rank] for rank in range(size[1])] for depth in range(size[0])])
    return shared, found


def _tokens_per_cycle(path: str, shapes: Mapping[str, list[str]]) -> FloatArray:
    """tau of each row's tree by its rank profile."""
    if "paths" not in shapes:
        raise fail("column", "paths", "is needed with --ranks", "rank paths of a tree, as 0 1 0.0")
    shared, profiles = _profiles(path, shapes)
    values = []
    for index, text in enumerate(shapes["paths"]):
        key = tuple(shapes[name][index].strip() for name in shared)
        if key not in profiles:
            raise fail("ranks", path, f"has no profile for {dict(zip(shared, key))}")
        try:
            paths = [tuple(map(int, part.split("."))) for part in text.split()]
        except ValueError:
            raise fail("paths", text, f"must be rank paths such as 0 1 0.0 on line {index + 2}") from None
        tree = trees.from_paths(paths)
        for name, size in (("draft_len", tree.draft_len), ("verify_tokens", tree.verify_tokens)):
            if float(shapes[name][index]) != size:
                raise fail(name, shapes[name][index], f"must be {size}, of the tree in paths, on line {index + 2}")
        values.append(float(trees.tokens_per_cycle(tree, profiles[key])))
    return np.array(values)


def _predictions(
    columns: Mapping[str, list[str]],
    numbers: Mapping[str, FloatArray],
    engine: Engine,
    given: device_calibration.Calibration | None,
) -> list[Prediction]:
    """One prediction a row, with the calibration given or the shipped one of each device."""
    found = []
    for index, tau in enumerate(numbers["tokens_per_cycle"].tolist()):
        dtype = dtypes.canonical_dtype(columns["dtype"][index].strip())
        kv_dtype = "float32" if dtype == "float32" else "bfloat16"
        deployment = Deployment(
            given or device_calibration.shipped(columns["device"][index].strip()), engine, dtype, kv_dtype
        )
        length, width, verified = (int(numbers[name][index]) for name in COUNTS)
        drafting = SpeculativeConfig(
            catalog.draft(columns["draft"][index].strip()), length, width, verified, tau, tau, tau
        )
        batch, context = numbers["batch_size"][index], numbers["context_len"][index]
        model = catalog.model(columns["model"][index].strip())
        found.append(predict(model, drafting, deployment, batch=batch, context=context))
    return found


def _fitted(columns: Mapping[str, list[str]], path: str, priced: Sequence[Prediction], engine: Engine) -> Engine:
    """The engine with the overheads of the fitting rows; ``priced`` is without any."""
    for name in ("half", *MEASURED):
        if name not in columns:
            raise fail("column", name, f"is needed with --fit-overheads in {path}")
    seen: list[overhead_fit.Observation] = []
    for index, out in enumerate(priced):
        if columns["half"][index].strip() == FIT:
            try:
                measured = {name: float(columns[name][index]) for name in MEASURED}
            except ValueError:
                raise InputError(f"cycle_s and plain_step_s must be numbers on line {index + 2}") from None
            if not all(0 < value < np.inf for value in measured.values()):
                raise InputError(f"cycle_s and plain_step_s must be above 0 on line {index + 2}")
            seen += overhead_fit.observations(out, **measured)
    found = overhead_fit.fit_engine(f"{engine.name}, fitted", seen)
    scalars = ", ".join(f"{name} {getattr(found, name) / MICRO:.3g} us" for name in OVERHEADS)
    note(f"overheads fitted on {len(seen)} times: {scalars}")
    return found


def _naive(out: Prediction) -> dict[str, FloatArray]:
    """What the datasheet's roofline says of the same, with the same tokens per cycle and no overhead."""
    draft, verify, plain = (np.asarray(step.datasheet_s) for step in (out.draft, out.verify, out.plain))
    tau, cycle = out.config.tokens_per_cycle, draft + verify
    return {
        "draft_s": draft,
        "verify_s": verify,
        "cycle_s": cycle,
        "plain_step_s": plain,
        "tokens_per_s": out.batch * tau / cycle,
        "speedup": tau * plain / cycle,
    }


def execute(args: argparse.Namespace) -> int:
    needed = [name for name in NUMBERS if not (args.ranks and name == "tokens_per_cycle")]
    columns = read_columns(args.shapes, needed=(*LABELS, *needed))
    numbers = number_columns(args.shapes, columns, needed)
    for name in (*COUNTS, "batch_size", "context_len"):
        whole(name, numbers[name], 1)
    if not numbers["batch_size"].size:
        raise fail("file", args.shapes, "holds no rows")
    if args.ranks:
        numbers["tokens_per_cycle"] = _tokens_per_cycle(args.ranks, columns)
    engine = catalog.engine(args.engine)
    given = device_calibration.read(args.calibration) if args.calibration else None
    if args.fit_overheads:
        bare = Engine(engine.name)
        priced = _predictions(columns, numbers, bare, given)
        engine = _fitted(columns, args.shapes, priced, engine)
    rows: list[dict[str, Any]] = []
    for index, out in enumerate(_predictions(columns, numbers, engine, given)):
        label = {name: columns[name][index].strip() for name in LABELS}
        shape = {name: int(numbers[name][index]) for name in ("batch_size", "context_len", *COUNTS)}
        more: dict[str, Any] = {name: columns[name][index] for name in PASSED_ON if name in columns}
        arrays = {
            "draft_s": out.draft.seconds,
            "verify_s": out.verify.seconds,
            "overhead_s": out.overhead_s,
            "cycle_s": out.cycle_s,
            "plain_step_s": out.plain.seconds + out.plain_overhead_s,
            "tokens_per_s": out.tokens_per_s,
            "speedup": out.speedup,
            "speedup_lower": out.speedup_estimate.lower,
            "speedup_upper": out.speedup_estimate.upper,
        }
        arrays |= {f"naive_{name}": value for name, value in _naive(out).items()}
        values = {name: float(np.asarray(value)) for name, value in arrays.items()}
        tau = {"tokens_per_cycle": out.config.tokens_per_cycle}
        rows.append({**label, **shape, **more, **tau, **values, "evidence": out.verify.evidence()})
    inputs = [name for name in (args.shapes, args.calibration, args.ranks) if name]
    emit(args, "cycles", rows, inputs=inputs)
    return 0
