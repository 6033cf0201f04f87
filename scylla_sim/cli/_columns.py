"""Reading of the CSV files of ``steps``, ``cycles`` and ``tpot``."""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scylla_sim.calibration import device_calibration
from scylla_sim.calibration.device_calibration import Calibration
from scylla_sim.checks import FloatArray, fail
from scylla_sim.console import note
from scylla_sim.number_columns import AT_LEAST_ONE, NumberRule, line_of, parse_numbers
from scylla_sim.prediction.scenario import DEFAULT_ENGINE
from scylla_sim.prediction.steps import Deployment
from scylla_sim.records import read_columns
from scylla_sim.specs import catalog, dtypes
from scylla_sim.specs.engine import Engine

Columns = Mapping[str, list[str]]


def add_calibration(parser: argparse.ArgumentParser) -> None:
    """Add ``--calibration`` to a verb."""
    parser.add_argument("--calibration", metavar="FILE", help="default: the shipped calibration of each device")


def add_engine(parser: argparse.ArgumentParser) -> None:
    """Add ``--engine`` to a verb."""
    parser.add_argument(
        "--engine", default=DEFAULT_ENGINE, help=f"engine whose overheads are added; default {DEFAULT_ENGINE}"
    )


def add_long_context(parser: argparse.ArgumentParser) -> None:
    """Add ``--allow-long-context`` to a verb."""
    parser.add_argument(
        "--allow-long-context", action="store_true", help="allow a context beyond the positions of the model"
    )


def check_one_gpu(path: str, columns: Columns) -> None:
    """Raise for a row of the column ``tp``, if there is one, that names several GPUs.

    Raises
    ------
    InputError
        The message names the first such row.
    """
    for at, cell in enumerate(columns.get("tp", [])):
        if cell.strip() not in ("", "1", "1.0"):
            rule = f"must be 1 {line_of(path)(at)}; this verb predicts one GPU"
            raise fail("tp", cell, rule, "see scylla-sim predict --tp")


def check_contexts(
    args: argparse.Namespace, path: str, models: Sequence[str], context: FloatArray, *, name: str = "context"
) -> None:
    """Raise for a row whose context exceeds the positions of its model, or note it with --allow-long-context.

    ``name`` is that of the number in the message.

    Raises
    ------
    InputError
        The message names the first such row.
    """
    limits = {name: catalog.model(name).max_context for name in dict.fromkeys(models)}
    limit = np.array([limits[name] or np.inf for name in models])
    beyond = np.flatnonzero(context > limit)
    if not beyond.size:
        return
    first = int(beyond[0])
    where = f"{limit[first]:.0f} positions of {models[first]} {line_of(path)(first)}"
    if not args.allow_long_context:
        rule = f"exceeds the {where}"
        raise fail(name, int(context[first]), rule, "allow it with --allow-long-context")
    note(f"note: {beyond.size} rows have a context beyond the positions of their model, the first one the {where}")


def given_calibration(args: argparse.Namespace) -> Calibration | None:
    """Return the calibration of ``--calibration``; ``None`` without the option."""
    return device_calibration.read(args.calibration) if args.calibration else None


MAX_NUMBER = 1e12
"""Largest count of a row, far above those of servers; products of larger ones exceed float64."""


def read_rows(path: str, needed: Sequence[str]) -> dict[str, list[str]]:
    """Read a CSV file that must have some columns and at least one row."""
    columns = read_columns(path, needed=needed)
    if not next(iter(columns.values())):
        raise fail("file", path, "holds no rows")
    return columns


def read_numbers(
    path: str, columns: Columns, names: Sequence[str], rule: NumberRule = AT_LEAST_ONE
) -> dict[str, FloatArray]:
    """Return some columns as numbers that obey one rule, up to `MAX_NUMBER`."""
    found = {name: parse_numbers(name, columns[name], line_of(path), rule=rule) for name in names}
    for name, values in found.items():
        if (values > MAX_NUMBER).any():
            at = int(np.argmax(values > MAX_NUMBER))
            raise fail(name, columns[name][at], f"must be at most {MAX_NUMBER:g} {line_of(path)(at)}")
    return found


def groups(*columns: Sequence[Any]) -> Iterator[tuple[tuple[Any, ...], NDArray[np.intp]]]:
    """Yield each distinct combination of cells, with the indices of its rows, in file order."""
    found: dict[tuple[Any, ...], list[int]] = {}
    for index, key in enumerate(zip(*columns)):
        found.setdefault(key, []).append(index)
    for key, rows in found.items():
        yield key, np.array(rows)


def deployment(
    device: str, dtype: str, engine: Engine, given: Calibration | None, *, kv_dtype: str = "", tp: int = 1
) -> Deployment:
    """Return the deployment that a row names.

    Parameters
    ----------
    device, dtype
        Cells of the row.
    given
        Calibration to use instead of the shipped one.
    kv_dtype
        Data type of the KV cache; default: float32 with float32 weights, else bfloat16.
    """
    name = dtypes.canonical_dtype(dtype)
    cache = dtypes.canonical_dtype(kv_dtype) if kv_dtype else "float32" if name == "float32" else "bfloat16"
    return Deployment(given or device_calibration.shipped(device), engine, name, cache, tp)
