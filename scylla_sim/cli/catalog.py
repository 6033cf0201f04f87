"""``scylla-sim catalog``: list hardware, models, drafts and engines, or show one with its sources."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Any

from scylla_sim.calibration import device_calibration
from scylla_sim.checks import one_of
from scylla_sim.console import add_output, emit
from scylla_sim.specs import catalog
from scylla_sim.text.tables import Column
from scylla_sim.units import GIBI, GIGA, TERA

EPILOG = """examples:
  scylla-sim catalog hardware
  scylla-sim catalog hardware h100-sxm
  scylla-sim catalog models llama-3.1-8b --format json
"""

ENTRY_COLUMNS = (
    Column("field"),
    Column("value", ends=("lower", "upper"), right=True),
    *(Column("unit"), Column("source", fold=True)),
)
"""Columns of the table of one entry."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the verb."""
    parser.add_argument("kind", nargs="?", default="hardware", help=f"one of {', '.join(catalog.KINDS)}")
    parser.add_argument("name", nargs="?", help="entry to show, with the value, unit and source of every field")
    add_output(parser)


def _hardware_row(name: str) -> dict[str, Any]:
    item = catalog.hardware(name)
    source = catalog.calibration_name(name)
    fitted = "own" if source == name else f"of {source}"
    if source not in device_calibration.shipped_devices():
        fitted = "-"
    return {
        "name": name,
        "family": item.family,
        "memory_GiB": item.memory_bytes / GIBI,
        "memory_TB_per_s": item.memory_bytes_per_s / TERA,
        "bf16_TFLOP_per_s": item.peak_flop_per_s.get("bf16", 0.0) / TERA,
        "fp8_TFLOP_per_s": item.peak_flop_per_s["fp8"] / TERA if "fp8" in item.peak_flop_per_s else None,
        "link": item.link,
        "link_GB_per_s": item.link_bytes_per_s / GIGA,
        "calibration": fitted,
    }


def _model_row(name: str) -> dict[str, Any]:
    item = catalog.model(name)
    return {
        "name": name,
        "parameters_B": item.parameters / GIGA,
        "layers": item.num_layers,
        "hidden": item.hidden_size,
        "heads": item.num_heads,
        "kv_heads": item.num_kv_heads,
        "vocab": item.vocab_size,
        "kv_KiB_per_token_bf16": 2.0 * item.kv_elements_per_token / 1024.0,
    }


def _draft_row(name: str) -> dict[str, Any]:
    item = catalog.draft(name)
    shown = "scylla-Nl" if name == "scylla" else name
    return {"name": shown, "kind": item.kind, "layers": item.num_layers, "source": _source("drafts", name)}


def _source(kind: str, name: str) -> str:
    return str(catalog.describe(kind, name)[0]["source"])


def _engine_row(name: str) -> dict[str, Any]:
    item = catalog.engine(name)
    fields = ("host_s", "token_s", "draft_host_s", "draft_pass_host_s", "tree_host_s")
    return {"name": name, **{field: getattr(item, field) for field in fields}}


def _exact(row: Mapping[str, Any]) -> Any:
    """Return the value of a field; a number without an interval keeps all digits."""
    value = row["value"]
    return f"{value:.6g}" if isinstance(value, float) and row.get("lower") is None else value


def _with_note(row: Mapping[str, Any]) -> str:
    """Return the source of a field with its note, if there is one."""
    return "; ".join(text for text in (row.get("source"), row.get("note")) if text)


def execute(args: argparse.Namespace) -> int:
    """Print the entries of a kind, or the fields of one entry."""
    kind = one_of("kind", args.kind, catalog.KINDS)
    if args.name is not None:
        rows = catalog.describe(kind, args.name)
        if args.format == "table":
            rows = [{**row, "value": _exact(row), "source": _with_note(row)} for row in rows]
        emit(args, "catalog", rows, columns=ENTRY_COLUMNS)
        return 0
    make = {"hardware": _hardware_row, "models": _model_row, "drafts": _draft_row, "engines": _engine_row}[kind]
    emit(args, "catalog", [make(name) for name in catalog.names(kind)])
    return 0
