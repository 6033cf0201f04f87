"""The kernels CSV: one shape per row, as `scylla-sim kernels` and `scylla-sim calibrate` read it.

Columns are text in the file and arrays here. A file needs only the columns of the operations that occur in it; each
operation describes its columns (`scylla_sim.kernels.operation.TableColumns`). A cell that is missing, empty or not
a number is refused with its line. Unknown columns pass through unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scylla_sim.checks import FloatArray, InputError, fail
from scylla_sim.kernels.operation import Operation
from scylla_sim.kernels.registry import OPERATIONS
from scylla_sim.number_columns import NumberRule, line_of, parse_numbers
from scylla_sim.records import read_columns
from scylla_sim.specs.dtypes import canonical_dtype

MAX_NUMBER = 1e15
"""Largest number of a cell."""
LATENCY = "latency_ms"
"""Column of measured milliseconds."""
LABELS = ("op", "device", "dtype", "kv_dtype", "kernel_source", "framework")
"""Text columns."""


@dataclass(frozen=True)
class KernelTable:
    """Rows of one file.

    Attributes
    ----------
    columns
        All columns of the file as text, in file order.
    numbers
        Numeric columns as float64; NaN where the operation of a row does not use them.
    labels
        Columns of `LABELS` as text arrays; empty strings where absent.
    """

    columns: Mapping[str, list[str]]
    numbers: Mapping[str, FloatArray]
    labels: Mapping[str, NDArray[np.str_]]

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.labels["op"])

    def without_window(self) -> NDArray[np.bool_]:
        """Return a mask of the rows without a sliding window."""
        window = self.numbers.get("window")
        if window is None:
            return np.ones(len(self), dtype=np.bool_)
        free: NDArray[np.bool_] = ~(window > 0)
        return free

    def where(self, mask: NDArray[np.bool_]) -> KernelTable:
        """Return the rows of a mask."""
        at = np.flatnonzero(mask)
        return KernelTable(
            columns={name: [column[i] for i in at] for name, column in self.columns.items()},
            numbers={name: column[mask] for name, column in self.numbers.items()},
            labels={name: column[mask] for name, column in self.labels.items()},
        )


@dataclass(frozen=True)
class _NumberColumn:
    """Rules of one numeric column, over the operations that use it with one default.

    ``default`` replaces an empty cell; ``None`` makes it an error.
    """

    name: str
    ops: tuple[str, ...]
    default: float | None
    zero: bool
    fractional: bool

    def read(self, path: Path | str, cells: Sequence[str], rows: NDArray[np.intp]) -> FloatArray:
        """Return the numbers of the rows that use the column, NaN elsewhere."""
        out = np.full(len(cells), np.nan)
        rule = NumberRule(0.0, MAX_NUMBER, above=not self.zero, whole=not self.fractional)
        everywhere = None if rows.size == len(cells) else rows
        out[rows] = parse_numbers(self.name, cells, line_of(path), rule=rule, rows=everywhere, empty=self.default)
        return out


def _stripped(cells: Sequence[str]) -> NDArray[np.str_]:
    """Return cells without surrounding blanks, after checking each distinct label once."""
    if any(cell != cell.strip() for cell in set(cells)):
        cells = [cell.strip() for cell in cells]
    return np.array(cells, dtype=np.str_)


def _labels(path: Path | str, columns: Mapping[str, list[str]], device: str | None) -> dict[str, NDArray[np.str_]]:
    """Return the text columns, with data types by their canonical name and empty cells filled."""
    size = len(columns["op"])
    labels = {name: _stripped(columns[name]) if name in columns else np.full(size, "") for name in LABELS}
    unknown = ~np.isin(labels["op"], list(OPERATIONS))
    if unknown.any():
        at = int(np.flatnonzero(unknown)[0])
        raise fail(
            "op", str(labels["op"][at]), f"is not known {line_of(path)(at)}", f"known: {', '.join(OPERATIONS)}"
        )
    if device is not None:
        labels["device"] = np.where(labels["device"] == "", device, labels["device"])
    computes = np.isin(labels["op"], [name for name, item in OPERATIONS.items() if item.table.needs_dtype])
    labels["dtype"] = np.where((labels["dtype"] == "") & ~computes, "bfloat16", labels["dtype"])
    for name in ("dtype", "kv_dtype"):
        for value in np.unique(labels[name]):
            at = int(np.flatnonzero(labels[name] == value)[0])
            if value == "" and (name == "kv_dtype" or not computes[labels[name] == ""].any()):
                continue
            if value == "":
                raise fail(name, "", f"is empty {line_of(path)(at)}")
            try:
                canonical = canonical_dtype(str(value))
            except InputError as error:
                raise error.at(line_of(path)(at)) from None
            labels[name] = np.where(labels[name] == value, canonical, labels[name])
    labels["kv_dtype"] = np.where(labels["kv_dtype"] == "", labels["dtype"], labels["kv_dtype"])
    return labels


def concatenate(parts: Sequence[KernelTable]) -> KernelTable:
    """Return the rows of several files as one table; a column that a file lacks is empty there."""
    sizes = [len(part) for part in parts]
    texts = dict.fromkeys(name for part in parts for name in part.columns)
    used = dict.fromkeys(name for part in parts for name in part.numbers)
    return KernelTable(
        columns={
            name: [cell for part, size in zip(parts, sizes) for cell in part.columns.get(name, [""] * size)]
            for name in texts
        },
        numbers={
            name: np.concatenate(
                [part.numbers.get(name, np.full(size, np.nan)) for part, size in zip(parts, sizes)]
            )
            for name in used
        },
        labels={name: np.concatenate([part.labels[name] for part in parts]) for name in LABELS},
    )


def _number_columns(
    columns: Mapping[str, list[str]], path: Path | str, present: Sequence[Operation], *, measured: bool
) -> list[_NumberColumn]:
    """Return the numeric columns to read, and check that the file has the required ones."""
    users: dict[tuple[str, float | None], list[str]] = {}
    for item in present:
        table = item.table
        together = (
            table.together if any(name in columns for name in set(table.together) - set(table.required)) else ()
        )
        for name in dict.fromkeys((*table.required, *together, *((LATENCY,) if measured else ()))):
            if name not in columns:
                raise fail("column", name, f"is missing from {path}", f"op {item.name} needs it")
            users.setdefault((name, None), []).append(item.name)
        for name, default in table.optional.items():
            users.setdefault((name, default), []).append(item.name)
    may_be_zero = {name for item in present for name in item.table.may_be_zero}
    fractional = {LATENCY, *(name for item in present for name in item.table.fractional)}
    return [
        _NumberColumn(
            name=name,
            ops=tuple(ops),
            default=default,
            zero=default == 0.0 or name in may_be_zero,
            fractional=name in fractional,
        )
        for (name, default), ops in users.items()
    ]


def from_columns(
    columns: Mapping[str, list[str]], path: Path | str, *, device: str | None = None, measured: bool = False
) -> KernelTable:
    """Check the columns of a file and turn them into arrays.

    Parameters
    ----------
    columns
        Text columns by name.
    path
        Name of the file, for error lines.
    device
        Device of rows whose ``device`` is empty.
    measured
        Whether every row needs ``latency_ms``.

    Raises
    ------
    InputError
        A column is missing, or a cell breaks a rule of its column.
    """
    if "op" not in columns:
        raise fail("column", "op", f"is missing from {path}", f"columns: {', '.join(columns)}")
    if not columns["op"]:
        raise fail("file", str(path), "holds no rows")
    labels = _labels(path, columns, device)
    present = [item for name, item in OPERATIONS.items() if (labels["op"] == name).any()]
    numbers: dict[str, FloatArray] = {}
    for column in _number_columns(columns, path, present, measured=measured):
        text = columns.get(column.name, [""] * len(columns["op"]))
        found = column.read(path, text, np.flatnonzero(np.isin(labels["op"], column.ops)))
        numbers[column.name] = np.fmax(numbers[column.name], found) if column.name in numbers else found
    for table in (item.table for item in present):
        for rule in table.rules:
            if (broken := rule.broken(numbers)).any():
                at = int(np.flatnonzero(broken)[0])
                raise fail(rule.column, numbers[rule.column][at], f"{rule.text(numbers, at)} {line_of(path)(at)}")
        if table.derived is not None and not set(table.together) <= set(numbers):
            numbers |= table.derived(numbers)
    return KernelTable(columns=columns, numbers=numbers, labels=labels)


def read(path: Path | str, *, device: str | None = None, measured: bool = False) -> KernelTable:
    """Read a kernels CSV; see `from_columns` for the options."""
    return from_columns(read_columns(path), path, device=device, measured=measured)
