"""Joining two CSV files by the shape of what was run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from scylla_sim.checks import FloatArray, InputError, fail
from scylla_sim.number_columns import POSITIVE, parse_numbers
from scylla_sim.records import check_sums, read_columns

SHAPE = (
    *("op", "device", "dtype", "kv_dtype", "m", "n", "k", "batch", "kv_len", "q_len", "num_heads", "num_kv_heads"),
    *("head_dim", "kv_rank", "rope_dim"),
    *("num_tokens", "experts_per_token", "num_experts", "hidden_size", "inter_size", "groups"),
    *("distribution", "num_gpus", "bytes", "rows", "window", "graph", "model", "context", "tokens"),
    *("draft", "batch_size", "context_len", "draft_len", "top_k", "verify_tokens", "paths"),
    *("engine", "engine_version", "checkpoint", "tp", "input_len", "output_len", "new_tokens"),
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
class CsvTable:
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

    def numbers(self, name: str, *, blanks: bool = False) -> FloatArray:
        """A column of finite numbers above zero; with ``blanks`` an empty cell is NaN."""
        if name not in self.cells:
            raise fail("column", name, f"is missing from {self.path}", f"columns: {', '.join(self.cells)}")
        empty = float("nan") if blanks else None
        return parse_numbers(name, self.cells[name], self.place, rule=POSITIVE, empty=empty)

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


def read(*paths: str, empty: bool = False) -> CsvTable:
    """Read CSV files, one after the other; a column that a file lacks is empty there.

    A file needs at least one row unless ``empty`` allows none. A file whose folder holds checksums must match them:
    predictions made before a measurement are not edited after it.
    """
    for path in paths:
        check_sums(Path(path))
    parts = [(path, read_columns(path)) for path in paths]
    files = tuple((path, len(next(iter(cells.values())))) for path, cells in parts)
    for path, rows in files:
        if not rows and not empty:
            raise fail("file", path, "holds no rows")
    names = dict.fromkeys(name for _, cells in parts for name in cells)
    return CsvTable(
        files,
        {
            name: [cell for (_, cells), (_, rows) in zip(parts, files) for cell in cells.get(name, [""] * rows)]
            for name in names
        },
    )


def shared_columns(one: CsvTable, other: CsvTable) -> list[str]:
    """Shape columns that both files have."""
    names = [name for name in SHAPE if name in one.cells and name in other.cells]
    if not names:
        raise InputError(f"{one.path} and {other.path} share no shape column; one of: {', '.join(SHAPE)}")
    return names


def _ambiguous(one: CsvTable, other: CsvTable, names: Sequence[str]) -> tuple[CsvTable, tuple[str, ...]] | None:
    """A key that occurs twice in one file and at all in the other, with the file it is twice in."""
    keys = [file.keys(names) for file in (one, other)]
    for file, mine, others in ((one, keys[0], set(keys[1])), (other, keys[1], set(keys[0]))):
        double = _twice(key for key in mine if key in others)
        if double is not None:
            return file, double
    return None


def told_apart(one: CsvTable, other: CsvTable) -> list[str]:
    """Shape columns of two files, and as many of `TIE_BREAKERS` as it takes to join them row to row."""
    names = shared_columns(one, other)
    for extra in TIE_BREAKERS:
        if _ambiguous(one, other, names) is None:
            break
        more = [*names, extra]
        # a column in which the files never agree (versions, say) tells nothing apart
        if extra in one.cells and extra in other.cells and set(one.keys(more)) & set(other.keys(more)):
            names = more
    return names


def _twice(keys: Iterable[tuple[str, ...]]) -> tuple[str, ...] | None:
    seen: set[tuple[str, ...]] = set()
    for key in keys:
        if key in seen:
            return key
        seen.add(key)
    return None


def match(predicted: CsvTable, measured: CsvTable) -> tuple[list[int], list[int]]:
    """Line numbers of predicted and measured rows of the same shape.

    Raises
    ------
    InputError
        When a shape that occurs in both files occurs twice in one, or none occurs in both.
    """
    names = told_apart(predicted, measured)
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


def assignments(name: str, text: str) -> dict[str, str]:
    """Read ``a=b,c=d``, naming the argument in any error.

    Examples
    --------
    >>> assignments("where", "graph=1,role=verify")
    {'graph': '1', 'role': 'verify'}
    """
    found = {}
    for part in filter(None, text.split(",")):
        key, equals, value = part.partition("=")
        if not (key and equals):
            raise fail(name, part, "must be NAME=VALUE")
        if key.strip() in found:
            raise fail(name, part, f"names {key.strip()} a second time")
        found[key.strip()] = value.strip()
    return found
