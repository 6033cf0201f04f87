"""Join of two CSV files by the shape of the kernel, step or cycle."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scylla_sim.checks import FloatArray, InputError, fail
from scylla_sim.number_columns import POSITIVE, parse_numbers
from scylla_sim.records import check_sums, read_columns
from scylla_sim.specs.dtypes import WEIGHT_PRECISIONS

SHAPE = (
    *("op", "device", "dtype", "kv_dtype", "m", "n", "k", "batch", "kv_len", "q_len", "num_heads", "num_kv_heads"),
    *("head_dim", "kv_rank", "rope_dim"),
    *("num_tokens", "experts_per_token", "num_experts", "hidden_size", "inter_size", "groups"),
    *("distribution", "num_gpus", "bytes", "rows", "window", "graph", "model", "context", "tokens"),
    *("draft", "batch_size", "context_len", "draft_len", "top_k", "verify_tokens", "paths"),
    *("engine", "engine_version", "checkpoint", "tp", "input_len", "output_len", "new_tokens"),
)
"""Columns of a shape. Framework, version and kernel source are not part of it."""
DRAFTING = ("draft", "draft_len", "top_k", "verify_tokens", "paths")
"""Shape columns that a scheduler chooses; the others describe the situation of the choice."""

TIE_BREAKERS = ("kernel_source", "framework", "version")
"""Columns that are added to the key, in this order, while a key occurs twice."""

Lines = list[int]

_DEFAULTS = {"window": "0", "q_len": "1", "rows": "0"}
"""Column -> meaning of an empty cell."""


@dataclass(frozen=True)
class CsvTable:
    """Rows of one or more CSV files as columns of text.

    Attributes
    ----------
    files
        Path and number of rows of each file, for error messages.
    cells
        Column -> its cells, over all files.
    """

    files: tuple[tuple[str, int], ...]
    cells: Mapping[str, list[str]]

    @property
    def path(self) -> str:
        """Paths of the files, separated by commas."""
        return ",".join(path for path, _ in self.files)

    def place(self, row: int) -> str:
        """Return the line and file of a row, for an error message."""
        for path, rows in self.files:
            if row < rows:
                return f"on line {row + 2} of {path}"
            row -= rows
        raise IndexError(row)

    @property
    def size(self) -> int:
        """Number of rows."""
        return len(next(iter(self.cells.values())))

    def numbers(self, name: str, *, blanks: bool = False) -> FloatArray:
        """Return a column of finite numbers above zero.

        Parameters
        ----------
        name
            Name of the column.
        blanks
            Whether an empty cell is allowed; it becomes NaN.

        Raises
        ------
        InputError
            If the column is missing or a cell is not such a number.
        """
        if name not in self.cells:
            raise fail("column", name, f"is missing from {self.path}", f"columns: {', '.join(self.cells)}")
        empty = float("nan") if blanks else None
        return parse_numbers(name, self.cells[name], self.place, rule=POSITIVE, empty=empty)

    def keys(self, names: Sequence[str]) -> list[tuple[str, ...]]:
        """Return the key of each row in canonical form.

        ``4096.0`` becomes ``4096``, ``bf16`` becomes ``bfloat16``, and an empty cell becomes its default.
        """
        return list(zip(*(_canonical_column(name, self.cells[name]) for name in names)))


def _canonical_column(name: str, cells: Sequence[str]) -> list[str]:
    """Return the cells of a column in canonical form; each distinct cell is converted once."""
    known = {cell: _canonical(name, cell) for cell in set(cells)}
    return [known[cell] for cell in cells]


def _canonical(name: str, cell: str) -> str:
    """Return a cell in canonical form, for the comparison of keys."""
    text = cell.strip() or _DEFAULTS.get(name, "")
    text = WEIGHT_PRECISIONS.get(text, text)
    try:
        return f"{float(text):.12g}"
    except ValueError:
        return text


def read(*paths: str, empty: bool = False) -> CsvTable:
    """Read CSV files into one table.

    If the folder of a file holds checksums, the file must match them. A prediction made before a measurement then
    cannot be edited after it.

    Parameters
    ----------
    *paths
        Files. If a file lacks a column, the cells of its rows are empty.
    empty
        Whether a file may have no rows.

    Raises
    ------
    InputError
        If a file is missing, not CSV, empty, or does not match its checksum.
    """
    for path in paths:
        check_sums(Path(path))
    parts = [(path, read_columns(path)) for path in paths]
    files = tuple((path, len(next(iter(cells.values())))) for path, cells in parts)
    for path, rows in files:
        if not rows and not empty:
            raise fail("file", path, "has no rows")
    names = dict.fromkeys(name for _, cells in parts for name in cells)
    return CsvTable(
        files,
        {
            name: [cell for (_, cells), (_, rows) in zip(parts, files) for cell in cells.get(name, [""] * rows)]
            for name in names
        },
    )


def shared_columns(one: CsvTable, other: CsvTable) -> list[str]:
    """Return the shape columns that both tables have.

    Raises
    ------
    InputError
        If there is none.
    """
    names = [name for name in SHAPE if name in one.cells and name in other.cells]
    if not names:
        raise InputError(f"{one.path} and {other.path} share no shape column; one of: {', '.join(SHAPE)}")
    return names


def _ambiguous(one: CsvTable, other: CsvTable, names: Sequence[str]) -> tuple[CsvTable, tuple[str, ...]] | None:
    """Return a file and a key that occurs twice in it and at least once in the other file, if there is one."""
    keys = [file.keys(names) for file in (one, other)]
    for file, mine, others in ((one, keys[0], set(keys[1])), (other, keys[1], set(keys[0]))):
        double = _twice(key for key in mine if key in others)
        if double is not None:
            return file, double
    return None


def key_columns(one: CsvTable, other: CsvTable) -> list[str]:
    """Return the shape columns of two tables, and the `TIE_BREAKERS` that are needed to join them row by row."""
    names = shared_columns(one, other)
    for extra in TIE_BREAKERS:
        if _ambiguous(one, other, names) is None:
            break
        more = [*names, extra]
        # a column in which the files never agree, such as the version, cannot join them
        if extra in one.cells and extra in other.cells and set(one.keys(more)) & set(other.keys(more)):
            names = more
    return names


def _twice(keys: Iterable[tuple[str, ...]]) -> tuple[str, ...] | None:
    """Return the first key that occurs twice."""
    seen: set[tuple[str, ...]] = set()
    for key in keys:
        if key in seen:
            return key
        seen.add(key)
    return None


def match(predicted: CsvTable, measured: CsvTable) -> tuple[list[int], list[int]]:
    """Return the indices of predicted and measured rows of the same shape, pair by pair.

    Raises
    ------
    InputError
        If a shape that both tables have occurs twice in one, or no shape is in both.
    """
    names = key_columns(predicted, measured)
    found = _ambiguous(predicted, measured, names)
    if found is not None:
        shape = ", ".join(f"{name}={value}" for name, value in zip(names, found[1]))
        raise InputError(f"the shape {shape} appears twice in {found[0].path}")
    where = {key: line for line, key in enumerate(predicted.keys(names))}
    pairs = [(where[key], line) for line, key in enumerate(measured.keys(names)) if key in where]
    if not pairs:
        raise InputError(
            f"{predicted.path} and {measured.path} have no row in common; joined on {', '.join(names)}"
        )
    return [p for p, _ in pairs], [m for _, m in pairs]
