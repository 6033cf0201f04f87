"""Joining two CSV files by the shape of what was run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from scylla_sim.checks import FloatArray, InputError, fail
from scylla_sim.records import read_columns

SHAPE = (
    *("op", "device", "dtype", "kv_dtype", "m", "n", "k", "batch", "kv_len", "q_len", "num_heads", "num_kv_heads"),
    *("head_dim", "kv_rank", "rope_dim"),
    *("num_tokens", "experts_per_token", "num_experts", "hidden_size", "inter_size", "groups"),
    *("distribution", "num_gpus", "bytes", "rows", "window", "graph", "model", "context", "tokens"),
    *("draft", "batch_size", "context_len", "draft_len", "top_k", "verify_tokens", "paths"),
    *("engine", "engine_version", "checkpoint", "tp", "input_len", "output_len"),
)
"""Columns that say what was run; framework, version and kernel source say with what."""
DRAFTING = ("draft", "draft_len", "top_k", "verify_tokens", "paths")
"""What a scheduler chooses; the other shape columns are the situation it chooses in."""

TIE_BREAKERS = ("kernel_source", "framework", "version")
"""Added to the key of predicted and measured rows, in this order, only while a key occurs twice."""

Lines = list[int]

_DEFAULTS = {"window": "0", "q_len": "1", "rows": "0"}
_SAME = {"bf16": "bfloat16", "fp32": "float32"}


@dataclass(frozen=True)
class Columns:
    """Columns of files, one after the other, as text; ``files`` (path, rows) are for error lines."""

    files: tuple[tuple[str, int], ...]
    cells: Mapping[str, list[str]]

    @property
    def path(self) -> str:
        """The files by name."""
        return ",".join(path for path, _ in self.files)

    def place(self, row: int) -> str:
        """Where a row stands, as an error line says it."""
        for path, rows in self.files:
            if row < rows:
                return f"on line {row + 2} of {path}"
            row -= rows
        raise IndexError(row)

    @property
    def size(self) -> int:
        return len(next(iter(self.cells.values())))

    def numbers(self, name: str) -> FloatArray:
        """A column of finite numbers above zero."""
        if name not in self.cells:
            raise fail("column", name, f"is missing from {self.path}", f"columns: {', '.join(self.cells)}")
        values = np.empty(self.size)
        for line, cell in enumerate(self.cells[name]):
            try:
                values[line] = float(cell)
            except ValueError:
                raise fail(name, cell, f"must be a number {self.place(line)}") from None
            if not (np.isfinite(values[line]) and values[line] > 0):
                raise fail(name, cell, f"must be finite and above 0 {self.place(line)}")
        return values

    def keys(self, names: Sequence[str]) -> list[tuple[str, ...]]:
        """Key of each row: ``4096.0`` is 4096, ``bf16`` is bfloat16, an empty window, say, is its default."""
        return list(zip(*([_canonical(name, cell) for cell in self.cells[name]] for name in names)))


def _canonical(name: str, cell: str) -> str:
    text = cell.strip() or _DEFAULTS.get(name, "")
    text = _SAME.get(text, text)
    try:
        return f"{float(text):.12g}"
    except ValueError:
        return text


def read(*paths: str) -> Columns:
    """Read CSV files of at least one row each, one after the other; a column that a file lacks is empty there."""
    parts = [(path, read_columns(path)) for path in paths]
    files = tuple((path, len(next(iter(cells.values())))) for path, cells in parts)
    for path, rows in files:
        if not rows:
            raise fail("file", path, "holds no rows")
    names = dict.fromkeys(name for _, cells in parts for name in cells)
    return Columns(
        files,
        {
            name: [cell for (_, cells), (_, rows) in zip(parts, files) for cell in cells.get(name, [""] * rows)]
            for name in names
        },
    )


def shared_columns(one: Columns, other: Columns) -> list[str]:
    """Shape columns that both files have."""
    names = [name for name in SHAPE if name in one.cells and name in other.cells]
    if not names:
        raise InputError(f"{one.path} and {other.path} share no shape column; one of: {', '.join(SHAPE)}")
    return names


def _twice(keys: Sequence[tuple[str, ...]]) -> tuple[str, ...] | None:
    seen: set[tuple[str, ...]] = set()
    for key in keys:
        if key in seen:
            return key
        seen.add(key)
    return None


def match(predicted: Columns, measured: Columns) -> tuple[list[int], list[int]]:
    """Line numbers of predicted and measured rows of the same shape.

    Raises
    ------
    InputError
        When a shape occurs twice in a file, or none occurs in both.
    """
    names = shared_columns(predicted, measured)
    for extra in ("", *TIE_BREAKERS):
        if extra and (extra not in predicted.cells or extra not in measured.cells):
            continue
        names = [*names, extra] if extra else names
        doubles = [(file, _twice(file.keys(names))) for file in (predicted, measured)]
        if all(double is None for _, double in doubles):
            break
    for file, double in doubles:
        if double is not None:
            shape = ", ".join(f"{name}={value}" for name, value in zip(names, double))
            raise InputError(f"the shape {shape} appears twice in {file.path}")
    where = {key: line for line, key in enumerate(predicted.keys(names))}
    pairs = [(where[key], line) for line, key in enumerate(measured.keys(names)) if key in where]
    if not pairs:
        raise InputError(
            f"{predicted.path} and {measured.path} have no row in common; joined on {', '.join(names)}"
        )
    return [p for p, _ in pairs], [m for _, m in pairs]
