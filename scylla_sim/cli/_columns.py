"""Reading of the CSV files of ``steps``, ``cycles`` and ``tpot``."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from scylla_sim.calibration import device_calibration
from scylla_sim.calibration.device_calibration import Calibration
from scylla_sim.checks import FloatArray, fail
from scylla_sim.console import note
from scylla_sim.number_columns import AT_LEAST_ONE, NumberRule, errors_at, line_of, parse_numbers
from scylla_sim.prediction.device_choice import calibration_for
from scylla_sim.prediction.scenario import DEFAULT_ENGINE
from scylla_sim.prediction.steps import Deployment
from scylla_sim.records import read_columns
from scylla_sim.specs import catalog, dtypes
from scylla_sim.specs.engine import Engine
from scylla_sim.specs.model import Model

Columns = Mapping[str, list[str]]
RowNotes = tuple[int, list[str]]
"""Index of a row, and notes on it."""


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
    limits = {name: model_at(path, name, row=models.index(name)).max_context for name in dict.fromkeys(models)}
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


def model_at(path: str, name: str, *, row: int) -> Model:
    """Return the model that a row names."""
    with errors_at(line_of(path), row):
        return catalog.model(name)


def note_each(notes: Iterable[tuple[int, Iterable[str]]], path: str) -> None:
    """Print each note on the rows of a file once, with the place of its first row."""
    first: dict[str, int] = {}
    for row, texts in notes:
        for text in texts:
            first[text] = min(row, first.get(text, row))
    for text, row in first.items():
        note(f"note: {text} ({line_of(path)(row).removeprefix('on ')})")


def name_notes(columns: Columns, *, device: str = "device", models: Sequence[str] = ("model",)) -> list[RowNotes]:
    """Return notes on names that are read as another entry of the catalog, by row; each name once."""
    found = [
        (cells.index(name), catalog.alias_notes(hardware=name.strip()))
        for cells in (columns.get(device, []),)
        for name in dict.fromkeys(cells)
    ]
    return found + [
        (cells.index(name), catalog.alias_notes(models=[name.strip()]))
        for cells in (columns[label] for label in models)
        for name in dict.fromkeys(cells)
    ]


def given_calibration(args: argparse.Namespace) -> Calibration | None:
    """Return the calibration of ``--calibration``; ``None`` without the option."""
    return device_calibration.read(args.calibration) if args.calibration else None


def is_other_gpu(device: str, given: Calibration) -> bool:
    """Return whether a row names a GPU of the catalog that a calibration is not of."""
    name = catalog.canonical_name("hardware", device)
    return name in catalog.names("hardware") and name not in (given.device, given.hardware.name)


def transfer_notes(columns: Columns, given: Calibration | None, what: str) -> list[RowNotes]:
    """Return a note on each GPU of the rows that ``--calibration`` is not of; ``what`` is done with the rows."""
    if given is None:
        return []
    cells = columns["device"]
    return [
        (cells.index(name), [f"the calibration of {given.device} {what} {name.strip()}"])
        for name in dict.fromkeys(cells)
        if is_other_gpu(name.strip(), given)
    ]


TRANSFERRED = "is transferred to rows of"
"""What ``--calibration`` means for rows of another GPU."""
MAX_NUMBER = 1e12
"""Largest count of a row, far above those of servers; products of larger ones exceed float64."""


def read_rows(path: str, needed: Sequence[str]) -> dict[str, list[str]]:
    """Read a CSV file that must have some columns and at least one row."""
    columns = read_columns(path, needed=needed)
    if not next(iter(columns.values())):
        raise fail("file", path, "holds no rows")
    return columns


def read_numbers(
    place: Callable[[int], str], columns: Columns, names: Sequence[str], rule: NumberRule = AT_LEAST_ONE
) -> dict[str, FloatArray]:
    """Return some columns as numbers that obey one rule, up to `MAX_NUMBER`; ``place`` is that of a row."""
    found = {name: parse_numbers(name, columns[name], place, rule=rule) for name in names}
    for name, values in found.items():
        if (values > MAX_NUMBER).any():
            at = int(np.argmax(values > MAX_NUMBER))
            raise fail(name, columns[name][at], f"must be at most {MAX_NUMBER:g} {place(at)}")
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
        Calibration to use instead of the shipped one, transferred to a row of another GPU.
    kv_dtype
        Data type of the KV cache; default: float32 with float32 weights, else bfloat16.
    """
    name = dtypes.canonical_dtype(dtype)
    cache = dtypes.canonical_dtype(kv_dtype) if kv_dtype else "float32" if name == "float32" else "bfloat16"
    if given is not None and is_other_gpu(device, given):
        given = calibration_for(device, given)
    return Deployment(given or device_calibration.shipped(device), engine, name, cache, tp)
