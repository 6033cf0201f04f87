"""The verb ``rows``: a measured record as CSV, in the columns that `scylla-sim kernels` and `calibrate` read.

The split is by shape: all rows of a weight matrix (n, k), of an attention (batch, kv_len) or of a step (batch,
context) are on one side, so a test row's neighbour in m or in tokens was never fitted.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gpu_validate import records
from gpu_validate.hardware import write_hardware
from scylla_sim.checks import InputError, fail, one_of
from scylla_sim.console import note
from scylla_sim.records import format_csv, write_text

EPILOG = """examples:
  gpu-validate rows --record results/measure/kernels.json --part train --out results/measure/kernels-train.csv
  gpu-validate rows --record results/measure/step.json --part all
  gpu-validate rows --record results/measure/step.json --pass 2 --out again.csv
"""

PARTS = ("train", "test", "all")

SPLIT_BY = {
    "gemm": ("n", "k"),
    "decode_attention": ("batch", "kv_len", "num_heads", "num_kv_heads", "head_dim"),
    "all_reduce": ("num_gpus", "bytes"),
    "step": ("model", "batch", "context"),
    "specdecode": ("model", "draft", "batch_size", "context_len"),
}
"""Columns that decide the side of a row."""

STREAMS = ("copy", "read", "launch")
"""What only moves bytes: calibrates ``elementwise`` kernels, and is never scored."""

_TEST_SHARE = 0.33
PARTS_OF_A_CYCLE = ("draft", "verify", "cycle")
BYTES_ARE_SHAPE = ("elementwise", "all_reduce")
"""Operations whose bytes are what was asked for; of the others the shape implies them."""
_RATES = ("flop", "bytes", "flop_per_s", "bytes_per_s", "peak_fraction", "cpu_share", "pass", "case")


def shape_key(row: Mapping[str, Any]) -> str:
    """What a row shares with the rows that must be on its side of the split.

    Examples
    --------
    >>> shape_key({"op": "gemm", "m": 64, "n": 4096, "k": 1024})
    'gemm,4096,1024'
    """
    op = str(row["op"])
    return ",".join([op, *(str(row[name]) for name in SPLIT_BY[op])])


def held_out_keys(rows: Sequence[Mapping[str, Any]]) -> set[str]:
    """Keys of the test part: of each operation the third with the lowest hashes, at least one.

    The hash makes the choice arbitrary but the same on every machine; taking a share of them, and not all below a
    threshold, keeps both parts filled on small grids.
    """
    chosen: set[str] = set()
    for op in {str(row["op"]) for row in rows}:
        keys = {shape_key(row) for row in rows if row["op"] == op}
        ordered = sorted(keys, key=lambda key: hashlib.sha256(key.encode()).hexdigest())
        chosen.update(ordered[: max(1, round(_TEST_SHARE * len(ordered)))])
    return chosen


def cycle_rows(values: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row per drafting configuration, in the column names of ``scylla-sim predict``.

    ``speedup`` is relative to the target's plain step measured at the same batch and context. Acceptance was given,
    so ``tokens_per_cycle`` is its exact mean and not the scatter of the few cycles that were timed.
    """
    where = ("model", "batch", "context")
    plain = {tuple(row[name] for name in where): row["latency_ms"] for row in values if row["op"] == "plain"}
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in values:
        if row["op"] not in PARTS_OF_A_CYCLE:
            continue
        key = tuple(row[name] for name in (*where, "draft", "draft_len", "top_k", "verify_tokens"))
        same = {name: row[name] for name in ("device", "dtype", "model", "draft", "draft_len", "top_k")}
        same |= {"verify_tokens": row["verify_tokens"], "tokens_per_cycle": row["tokens_per_cycle"]}
        shape = {"batch_size": row["batch"], "context_len": row["context"], **same}
        found.setdefault(key, {"op": "specdecode", **shape})[f"{row['op']}_s"] = 1e-3 * row["latency_ms"]
    parts = [f"{part}_s" for part in PARTS_OF_A_CYCLE]
    # what did not fit into the memory leaves a configuration without one of its parts
    found = {k: out for k, out in found.items() if k[: len(where)] in plain and all(part in out for part in parts)}
    for key, out in found.items():
        out["plain_step_s"] = 1e-3 * plain[key[: len(where)]]
        out["tokens_per_s"] = out["batch_size"] * out["tokens_per_cycle"] / out["cycle_s"]
        out["speedup"] = out["tokens_per_cycle"] * out["plain_step_s"] / out["cycle_s"]
    return list(found.values())


def export(
    record: Mapping[str, Any], part: str, *, number: int = 1, device: str = "", evidence: str = ""
) -> list[dict[str, Any]]:
    """Rows of a part of a record.

    ``number`` is the pass over the grid: the second one repeats the first. ``device`` renames the device, for
    calibrating a catalogued GPU as ``local``; ``evidence`` replaces the record's ``live`` where it was measured
    earlier and committed.

    Raises
    ------
    InputError
        When the pass was not measured, or the part holds no row.
    """
    one_of("part", part, PARTS)
    if record["suite"] in ("trained", records.TRAINING):
        raise fail("suite", record["suite"], "holds no kernels, steps or cycles", "its rows: gpu-validate curves")
    passes = sorted({row.get("pass", 1) for row in record["values"]})
    if number not in passes:
        raise fail("pass", number, f"was not measured by suite {record['suite']}", f"passes: {passes}")
    values = [row for row in record["values"] if row.get("pass", 1) == number]
    measured = cycle_rows(values) if record["suite"] == "specdecode" else values
    rows = [row for row in measured if row["op"] in SPLIT_BY]
    streams = [{**row, "op": "elementwise"} for row in values if row["op"] in STREAMS and part != "test"]
    if part != "all":
        held_out = held_out_keys(rows)
        rows = [row for row in rows if (shape_key(row) in held_out) == (part == "test")]
    if not rows:
        raise InputError(f"part={part!r} of suite {record['suite']} holds no row; measure at a larger --scale")
    said: dict[str, Any] = {"evidence": evidence or record["evidence"]} | ({"device": device} if device else {})
    return [{**_columns(row), **said} for row in [*rows, *streams]]


def _columns(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row without what its shape implies."""
    kept = {key: value for key, value in row.items() if key not in _RATES}
    return kept | ({"bytes": row["bytes"]} if row["op"] in BYTES_ARE_SHAPE else {})


def _write(rows: Sequence[Mapping[str, Any]], out: str | None) -> None:
    text = format_csv(rows)
    if out is None:
        sys.stdout.write(text)
    else:
        write_text(out, text)
        note(f"wrote {len(rows)} rows to {out}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--record", metavar="FILE", required=True, help="written by gpu-validate measure")
    parser.add_argument("--part", choices=PARTS, default="all", help="default: all")
    parser.add_argument(
        "--pass",
        dest="number",
        type=int,
        metavar="N",
        default=1,
        help="pass over the grid; 2 is the repeat, default 1",
    )
    parser.add_argument("--device", metavar="NAME", default="", help="name the device so, instead of as recorded")
    parser.add_argument("--evidence", choices=("live", "recorded"), default="", help="default: as in the record")
    parser.add_argument("--out", metavar="FILE", help="write there instead of stdout")
    parser.add_argument(
        "--hardware", metavar="FILE", help="also describe the device, peaks as measured (kernels record)"
    )


def execute(args: argparse.Namespace) -> None:
    record = records.read(args.record)
    exported = export(record, args.part, number=args.number, device=args.device, evidence=args.evidence)
    if args.hardware:
        write_hardware(Path(args.hardware), record)
        note(f"wrote {args.hardware}")
    _write(exported, args.out)
