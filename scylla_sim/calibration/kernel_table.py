"""The kernels CSV: rows of shapes, in the columns that `scylla-sim kernels` and `scylla-sim calibrate` read.

Columns are text in the file and arrays here. Only the columns of the operations that occur are needed; whatever is
missing, empty or no number is refused with the line it is on. Unknown columns pass through untouched. Layers of
experts whose rows spread unevenly say so in `scylla_sim.ops.expert_routing.LOADS`; without those columns they
spread evenly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scylla_sim.calibration.device_calibration import OPS
from scylla_sim.checks import FloatArray, InputError, fail
from scylla_sim.ops.expert_routing import LOADS, even_loads
from scylla_sim.ops.op import ATTENTION
from scylla_sim.records import read_columns
from scylla_sim.specs.dtypes import canonical_dtype

NEEDED = {
    "gemm": ("m", "n", "k"),
    "decode_attention": ("batch", "kv_len", "num_heads", "num_kv_heads", "head_dim"),
    "latent_attention": ("batch", "kv_len", "num_heads", "kv_rank", "rope_dim"),
    "experts": ("num_tokens", "experts_per_token", "hidden_size", "inter_size", "groups"),
    "all_reduce": ("num_gpus", "bytes"),
    "elementwise": ("bytes",),
}
OPTIONAL = {
    "decode_attention": {"q_len": 1.0, "window": 0.0, "calls_per_graph": 0.0},
    "latent_attention": {"q_len": 1.0},
    "all_reduce": {"graph": 1.0},
    "gemm": {"calls_per_graph": 0.0},
    "experts": {},
    "elementwise": {"rows": 0.0, "calls_per_graph": 0.0},
}
MAX_NUMBER = 1e15
MEASURED = ("latency_ms", "bytes", *LOADS)
"""Columns that need not be whole numbers: measurements and expectations."""
LABELS = ("op", "device", "dtype", "kv_dtype", "kernel_source", "framework")


@dataclass(frozen=True)
class KernelTable:
    """Shapes of one file.

    Attributes
    ----------
    columns
        Every column of the file as text, in file order.
    numbers
        Numeric columns as float64, NaN where the row's operation does not use them.
    labels
        The columns of `LABELS` as text arrays, empty where absent.
    """

    columns: Mapping[str, list[str]]
    numbers: Mapping[str, FloatArray]
    labels: Mapping[str, NDArray[np.str_]]

    def __len__(self) -> int:
        return len(self.labels["op"])

    def without_window(self) -> NDArray[np.bool_]:
        """Rows without a sliding window: with one, a long context repeats the keys of a short one."""
        window = self.numbers.get("window")
        if window is None:
            return np.ones(len(self), dtype=np.bool_)
        free: NDArray[np.bool_] = ~(window > 0)
        return free

    def where(self, mask: NDArray[np.bool_]) -> KernelTable:
        """The rows of a mask."""
        at = np.flatnonzero(mask)
        return KernelTable(
            columns={name: [column[i] for i in at] for name, column in self.columns.items()},
            numbers={name: column[mask] for name, column in self.numbers.items()},
            labels={name: column[mask] for name, column in self.labels.items()},
        )


def _line(path: Path | str, index: int) -> str:
    return f"on line {index + 2} of {Path(path).name}"


def _number_column(
    path: Path | str, name: str, text: Sequence[str], rows: NDArray[np.intp], default: float | None
) -> FloatArray:
    """Numbers of the rows that use a column; ``4096.0`` is 4096, an empty cell is the default or an error."""
    out = np.full(len(text), np.nan)
    cells = list(text) if rows.size == len(text) else [text[i] for i in rows]
    if default is not None and not all(map(str.strip, set(cells))):
        cells = [cell.strip() or str(default) for cell in cells]
    try:
        values = np.array(cells, dtype=np.float64)
    except ValueError:
        cells = [cell.strip() for cell in cells]
        for i, cell in zip(rows, cells):
            if not cell:
                raise fail(name, "", f"is empty {_line(path, int(i))}") from None
            try:
                float(cell)
            except ValueError:
                raise fail(name, cell, f"must be a number {_line(path, int(i))}") from None
        raise
    low = 0.0 if default == 0.0 or name in ("graph", "ragged") else 1e-300
    bad = ~np.isfinite(values) | (values < low) | (values > MAX_NUMBER)
    if bad.any():
        at = int(np.flatnonzero(bad)[0])
        rule = "must be at least 0" if low == 0.0 else "must be a number above 0"
        rule = f"must be at most {MAX_NUMBER:g}" if values[at] > MAX_NUMBER else rule
        raise fail(name, cells[at], f"{rule} {_line(path, int(rows[at]))}")
    broken = values != np.floor(values) if name not in MEASURED else np.zeros(values.shape, dtype=np.bool_)
    if broken.any():
        at = int(np.flatnonzero(broken)[0])
        raise fail(name, cells[at], f"must be a whole number {_line(path, int(rows[at]))}")
    out[rows] = values
    return out


def _stripped(cells: Sequence[str]) -> NDArray[np.str_]:
    """Cells without blanks around them; a million cells hold few different labels, so those are looked at."""
    if any(cell != cell.strip() for cell in set(cells)):
        cells = [cell.strip() for cell in cells]
    return np.array(cells, dtype=np.str_)


def _labels(path: Path | str, columns: Mapping[str, list[str]], device: str | None) -> dict[str, NDArray[np.str_]]:
    size = len(columns["op"])
    labels = {name: _stripped(columns[name]) if name in columns else np.full(size, "") for name in LABELS}
    unknown = ~np.isin(labels["op"], OPS)
    if unknown.any():
        at = int(np.flatnonzero(unknown)[0])
        raise fail("op", str(labels["op"][at]), f"is not known {_line(path, at)}", f"known: {', '.join(OPS)}")
    if device is not None:
        labels["device"] = np.where(labels["device"] == "", device, labels["device"])
    computes = np.isin(labels["op"], ["gemm", *ATTENTION, "experts"])
    labels["dtype"] = np.where((labels["dtype"] == "") & ~computes, "bfloat16", labels["dtype"])
    for name in ("dtype", "kv_dtype"):
        for value in np.unique(labels[name]):
            at = int(np.flatnonzero(labels[name] == value)[0])
            if value == "" and (name == "kv_dtype" or not computes[labels[name] == ""].any()):
                continue
            if value == "":
                raise fail(name, "", f"is empty {_line(path, at)}")
            try:
                canonical = canonical_dtype(str(value))
            except InputError as error:
                raise InputError(f"{error} {_line(path, at)}") from None
            labels[name] = np.where(labels[name] == value, canonical, labels[name])
    labels["kv_dtype"] = np.where(labels["kv_dtype"] == "", labels["dtype"], labels["kv_dtype"])
    return labels


def concatenate(parts: Sequence[KernelTable]) -> KernelTable:
    """Rows of several files as one; a column that a file lacks is empty there."""
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


def _even_loads(numbers: Mapping[str, FloatArray]) -> dict[str, FloatArray]:
    """Tiles of layers of experts whose file names none: rows spread evenly over the experts that are met."""
    used = np.isfinite(numbers["groups"])
    routed = numbers["num_tokens"][used] * numbers["experts_per_token"][used]
    found = {name: np.full(used.shape, np.nan) for name in LOADS}
    for name, values in even_loads(routed, numbers["groups"][used]).items():
        found[name][used] = values
    return found


def from_columns(
    columns: Mapping[str, list[str]], path: Path | str, *, device: str | None = None, measured: bool = False
) -> KernelTable:
    """Check the columns of a file and turn them into arrays; ``path`` is for error lines."""
    if "op" not in columns:
        raise fail("column", "op", f"is missing from {path}", f"columns: {', '.join(columns)}")
    if not columns["op"]:
        raise fail("file", str(path), "holds no rows")
    labels = _labels(path, columns, device)
    users: dict[str, list[tuple[str, float | None]]] = {}
    for op in OPS:
        if not (labels["op"] == op).any():
            continue
        uneven = LOADS if op == "experts" and any(name in columns for name in LOADS[1:]) else ()
        for name in dict.fromkeys((*NEEDED[op], *uneven, *(("latency_ms",) if measured else ()))):
            if name not in columns:
                raise fail("column", name, f"is missing from {path}", f"op {op} needs it")
            users.setdefault(name, []).append((op, None))
        for name, default in OPTIONAL[op].items():
            users.setdefault(name, []).append((op, default))
    numbers = {}
    for name, uses in users.items():
        rows = np.flatnonzero(np.isin(labels["op"], [op for op, _ in uses]))
        text = columns.get(name, [""] * len(columns["op"]))
        numbers[name] = _number_column(path, name, text, rows, uses[0][1])
    if "groups" in numbers:
        routed = numbers["num_tokens"] * numbers["experts_per_token"]
        more = np.isfinite(routed) & (numbers["groups"] > routed)
        if more.any():
            at = int(np.flatnonzero(more)[0])
            rule = f"must be at most num_tokens x experts_per_token = {routed[at]:g} {_line(path, at)}"
            raise fail("groups", numbers["groups"][at], rule, "experts that any token is routed to")
    if "groups" in numbers and LOADS[-1] not in numbers:
        numbers |= _even_loads(numbers)
    if "num_kv_heads" in numbers:
        heads, kv_heads = numbers["num_heads"], numbers["num_kv_heads"]
        unequal = np.isfinite(kv_heads) & (np.mod(heads, kv_heads) != 0)
        if unequal.any():
            at = int(np.flatnonzero(unequal)[0])
            raise fail("num_kv_heads", kv_heads[at], f"must divide num_heads={heads[at]:g} {_line(path, at)}")
    return KernelTable(columns=columns, numbers=numbers, labels=labels)


def read(path: Path | str, *, device: str | None = None, measured: bool = False) -> KernelTable:
    """Read a kernels CSV; ``measured`` demands ``latency_ms``, ``device`` fills an empty device column."""
    return from_columns(read_columns(path), path, device=device, measured=measured)
