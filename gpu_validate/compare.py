"""The verb ``compare``: predicted rows against measured rows of the same shapes, per group and beside the noise.

Errors are absolute percentage errors ``|predicted / measured - 1|`` as fractions. The noise floor says how far two
measurements of the same shape are apart: from a repeat (another run, another framework) after the median ratio is
taken out, or from the measurement's own intervals.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from scylla_sim.checks import FloatArray, InputError, fail
from scylla_sim.console import FORMATS, emit_text, format_table
from scylla_sim.records import EVIDENCE, dump_json, format_csv, provenance, read_columns

EPILOG = """examples:
  gpu-validate compare --predicted predicted.csv --measured test.csv --repeat again.csv --by dtype --out errors.json
  gpu-validate compare --predicted predicted.csv --measured test.csv --by op,dtype --format table
"""

SCHEMA = "gpu-validate/compare/1"

SHAPE = (
    *("op", "device", "dtype", "kv_dtype", "m", "n", "k", "batch", "kv_len", "q_len", "num_heads", "num_kv_heads"),
    *("head_dim", "num_gpus", "bytes", "window", "graph", "model", "context", "tokens"),
)
"""Columns that say what was run; framework, version and kernel source say with what."""
TIE_BREAKERS = ("kernel_source", "framework", "version")
"""Added to the key of predicted and measured rows, in this order, only while a key occurs twice."""

_DEFAULTS = {"window": "0", "q_len": "1"}
_SAME = {"bf16": "bfloat16", "fp32": "float32"}

COLUMNS = (
    "n",
    "median_ape",
    "mape",
    "p90_ape",
    "bias",
    "naive_median_ape",
    "naive_bias",
    "coverage",
    "floor_median",
)
"""What the table shows after the group."""


@dataclass(frozen=True)
class Columns:
    """Columns of one file as text; ``path`` is for error lines."""

    path: str
    cells: Mapping[str, list[str]]

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
                raise fail(name, cell, f"must be a number on line {line + 2} of {self.path}") from None
            if not (np.isfinite(values[line]) and values[line] > 0):
                raise fail(name, cell, f"must be finite and above 0 on line {line + 2} of {self.path}")
        return values

    def keys(self, names: Sequence[str]) -> list[tuple[str, ...]]:
        """Key of each row: ``4096.0`` is 4096, ``bf16`` is bfloat16, an empty window or q_len is its default."""
        return list(zip(*([_canonical(name, cell) for cell in self.cells[name]] for name in names)))


def _canonical(name: str, cell: str) -> str:
    text = cell.strip() or _DEFAULTS.get(name, "")
    text = _SAME.get(text, text)
    try:
        return f"{float(text):.12g}"
    except ValueError:
        return text


def read(path: str) -> Columns:
    """Read a CSV file that holds at least one row."""
    columns = Columns(path, read_columns(path))
    if not columns.size:
        raise fail("file", path, "holds no rows")
    return columns


def _shared(one: Columns, other: Columns) -> list[str]:
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
    names = _shared(predicted, measured)
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


def error_summary(predicted_s: FloatArray, measured_s: FloatArray) -> dict[str, float]:
    """Median, mean and 90th percentile of the absolute percentage error, and the median signed one (bias).

    Examples
    --------
    >>> error_summary(np.array([1.1, 1.0, 0.8]), np.ones(3))["median_ape"].round(3).item()
    0.1
    """
    signed = predicted_s / measured_s - 1.0
    size = np.abs(signed)
    return {
        "median_ape": np.median(size),
        "mape": size.mean(),
        "p90_ape": np.quantile(size, 0.9),
        "bias": np.median(signed),
    }


def repeat_ratio(measured: Columns, measured_s: FloatArray, repeat: Columns) -> FloatArray:
    """Repeat over measurement for each measured row, NaN where the repeat lacks the shape.

    Several repeats of a shape (kernels of one library) count by their median.
    """
    names = _shared(measured, repeat)
    found: dict[tuple[str, ...], list[float]] = {}
    for key, seconds in zip(repeat.keys(names), repeat.numbers("latency_ms") * 1e-3):
        found.setdefault(key, []).append(float(seconds))
    again = np.array([np.median(found[key]) if key in found else np.nan for key in measured.keys(names)])
    if np.isnan(again).all():
        raise InputError(f"{repeat.path} repeats no row of {measured.path}; joined on {', '.join(names)}")
    ratio: FloatArray = again / measured_s
    return ratio


def _floor(ratio: FloatArray | None, half_width: FloatArray | None) -> dict[str, Any]:
    """Noise floor of a group: repeats where there are any, else the measurement's own intervals."""
    if ratio is not None and np.isfinite(ratio).any():
        ratio = ratio[np.isfinite(ratio)]
        size = np.abs(ratio / np.median(ratio) - 1.0)
        kind, middle = "repeat", float(np.median(ratio))
    elif half_width is not None:
        size, kind, middle = half_width, "intervals", None
    else:
        return {"floor_kind": None, "floor_n": 0, "floor_median": None, "floor_p90": None, "repeat_ratio": None}
    return {
        "floor_kind": kind,
        "floor_n": int(size.size),
        "floor_median": float(np.median(size)),
        "floor_p90": float(np.quantile(size, 0.9)),
        "repeat_ratio": middle,
    }


@dataclass(frozen=True)
class Joined:
    """Predicted and measured seconds of the rows in common; optional columns are ``None`` where absent."""

    predicted_s: FloatArray
    measured_s: FloatArray
    naive_s: FloatArray | None
    bounds_s: tuple[FloatArray, FloatArray] | None
    half_width: FloatArray | None
    ratio: FloatArray | None

    def row(self, chosen: FloatArray) -> dict[str, Any]:
        """Errors of the chosen rows."""
        measured_s = self.measured_s[chosen]
        row: dict[str, Any] = {"n": int(chosen.sum())}
        row |= {key: float(value) for key, value in error_summary(self.predicted_s[chosen], measured_s).items()}
        if self.naive_s is not None:
            naive = error_summary(self.naive_s[chosen], measured_s)
            row |= {f"naive_{key}": float(value) for key, value in naive.items()}
        if self.bounds_s is not None:
            low, high = (bound[chosen] for bound in self.bounds_s)
            row["coverage"] = float(np.mean((low <= measured_s) & (measured_s <= high)))
        own = None if self.half_width is None else self.half_width[chosen]
        return row | _floor(None if self.ratio is None else self.ratio[chosen], own)


def join(predicted: Columns, measured: Columns, repeat: Columns | None = None) -> tuple[Joined, list[int]]:
    """Join the files; also the line numbers of the measured rows in the result."""
    p, m = match(predicted, measured)
    measured_s = measured.numbers("latency_ms") * 1e-3
    half_width = None
    if "interval_low_ms" in measured.cells and "interval_high_ms" in measured.cells:
        width = measured.numbers("interval_high_ms") - measured.numbers("interval_low_ms")
        half_width = (0.5e-3 * width / measured_s)[m]
    bounds = None
    if "lower_s" in predicted.cells and "upper_s" in predicted.cells:
        bounds = (predicted.numbers("lower_s")[p], predicted.numbers("upper_s")[p])
    joined = Joined(
        predicted_s=predicted.numbers("predicted_s")[p],
        measured_s=measured_s[m],
        naive_s=predicted.numbers("naive_s")[p] if "naive_s" in predicted.cells else None,
        bounds_s=bounds,
        half_width=half_width,
        ratio=None if repeat is None else repeat_ratio(measured, measured_s, repeat)[m],
    )
    return joined, m


def compare(
    predicted: Columns,
    measured: Columns,
    *,
    repeat: Columns | None = None,
    by: Sequence[str] = (),
    evidence: str = "",
) -> list[dict[str, Any]]:
    """Rows of errors: one per group of the columns ``by`` of the measured file, then one of all rows.

    ``evidence`` is the level of the measured rows where their file has no such column.
    """
    joined, lines = join(predicted, measured, repeat)
    for name in by:
        if name not in measured.cells:
            raise fail("by", name, f"is no column of {measured.path}", f"columns: {', '.join(measured.cells)}")
    keys = [tuple(measured.cells[name][line] for name in by) for line in lines] if by else []
    levels = [measured.cells["evidence"][line] for line in lines] if "evidence" in measured.cells else []
    rows = []
    for key in sorted(set(keys)):
        chosen = np.array([other == key for other in keys])
        rows.append({"group": ",".join(key), **dict(zip(by, key)), **joined.row(chosen)})
    rows.append({"group": "all", **dict.fromkeys(by, "all"), **joined.row(np.ones(len(lines), dtype=bool))})
    level = ",".join(sorted(set(levels))) or evidence
    return [{**row, "unmatched": measured.size - len(lines), "evidence": level} for row in rows]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--predicted", metavar="FILE", required=True, help="CSV with predicted_s (scylla-sim kernels)"
    )
    parser.add_argument("--measured", metavar="FILE", required=True, help="CSV with latency_ms (rows, silicon)")
    parser.add_argument("--repeat", metavar="FILE", help="the same shapes measured again: the noise floor")
    parser.add_argument("--by", default="", metavar="COL,...", help="columns of the measured file to group by")
    parser.add_argument(
        "--evidence",
        choices=EVIDENCE,
        default="silicon",
        help="level of rows without that column; default: silicon",
    )
    parser.add_argument("--format", choices=FORMATS, default="json", help="default: json")
    parser.add_argument("--out", metavar="FILE", help="write there (whole or not at all) instead of stdout")


def execute(args: argparse.Namespace) -> None:
    by = [name.strip() for name in args.by.split(",") if name.strip()]
    paths = [path for path in (args.predicted, args.measured, args.repeat) if path]
    files = [read(path) for path in paths]
    rows = compare(files[0], files[1], repeat=files[2] if args.repeat else None, by=by, evidence=args.evidence)
    if args.format == "json":
        table = {"schema": SCHEMA, "rows": rows, "provenance": provenance(inputs=paths, by=by)}
        emit_text(args, dump_json(table))
    elif args.format == "csv":
        emit_text(args, format_csv(rows))
    else:
        shown = [name for name in COLUMNS if any(name in row for row in rows)]
        emit_text(args, format_table(rows, [*(by or ["group"]), *shown]))
