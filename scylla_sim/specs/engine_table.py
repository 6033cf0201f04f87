"""The engine that a table of quantities with intervals, units and sources describes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scylla_sim.checks import fail, one_of
from scylla_sim.specs.engine import OVERHEADS, Engine, MemoryUse, Reserve
from scylla_sim.specs.hardware_table import quantity
from scylla_sim.units import MEBI

_MEMORY_FIELDS = {
    "memory_share": "share",
    "runtime_memory": "runtime_bytes",
    "communicator_memory": "communicator_bytes",
    "graph_memory": "graph_bytes",
    "profiled_tokens": "profiled_tokens",
    "profiled_sequences": "profiled_sequences",
    "small_gpu_sequences": "small_gpu_sequences",
    "block_tokens": "block_tokens",
    "pad_below": "pad_below",
}
"""Key in engines.toml -> field of `MemoryUse`."""

_RESERVE_SIZES = (
    *("base_bytes", "rank_bytes", "token_bytes", "sequence_bytes", "head_bytes", "model_bytes", "floor_bytes"),
    "floor_above_bytes",
)
"""Fields of `Reserve` that a table gives in MiB, without the suffix."""

_ENGINE_FIELDS = (
    *("framework", "fuses_quantizer", "max_graph_tokens", "max_graph_batch", "memory_reserve", "fitted_runs"),
    "superseded",
)
"""Fields of an engine without an interval."""


def engine_from(name: str, entry: Mapping[str, Any]) -> Engine:
    """Return the engine of a table, in SI base units.

    Raises
    ------
    InputError
        For an unknown field, and for a quantity without an end of its interval, a unit or a source.
    """
    for field in entry:
        one_of(f"{name} field", field, (*OVERHEADS, *_ENGINE_FIELDS, *_MEMORY_FIELDS))
    given = {field: entry[field] for field in OVERHEADS if field in entry}
    values = {field: quantity(name, field, item) for field, item in given.items()}
    intervals = {field: _interval(name, field, item) for field, item in given.items()}
    sources = {field: str(item["source"]) for field, item in given.items()}
    tokens, batch, runs = (
        int(entry.get(limit, {"value": 0})["value"])
        for limit in ("max_graph_tokens", "max_graph_batch", "fitted_runs")
    )
    return Engine(
        name=name,
        framework=str(entry.get("framework", {"value": ""})["value"]),
        fuses_quantizer=bool(entry.get("fuses_quantizer", {"value": False})["value"]),
        eager=False,
        max_graph_tokens=tokens,
        max_graph_batch=batch,
        fitted_runs=runs,
        superseded=bool(entry.get("superseded", {"value": False})["value"]),
        memory=MemoryUse(
            **{use: _interval(name, key, entry[key]) for key, use in _MEMORY_FIELDS.items() if key in entry},
            reserve=_reserve(entry["memory_reserve"]) if "memory_reserve" in entry else None,
        ),
        intervals=intervals,
        sources=sources,
        theory=frozenset(field for field, item in given.items() if item.get("evidence") == "theory"),
        **values,
    )


def _reserve(entry: Mapping[str, Any]) -> Reserve:
    """Return the memory that an engine keeps free, from its table in MiB."""
    sizes = {key: MEBI * entry[key[: -len("_bytes")]] for key in _RESERVE_SIZES}
    return Reserve(
        below_bytes=tuple(MEBI * size for size in entry["below"]),
        chunk_tokens=tuple(entry["chunk_tokens"]),
        graph_sequences=tuple(entry["graph_sequences"]),
        graph_sequences_tp4=tuple(entry["graph_sequences_tp4"]),
        **sizes,
    )


def _interval(entry: str, field: str, given: Mapping[str, Any]) -> tuple[float, float]:
    """Return the lower and upper end of a quantity in SI base units."""
    for key in ("lower", "upper"):
        if key not in given:
            raise fail(f"{entry}.{field}", given["value"], f"lacks its {key} end")
    lower, upper = (quantity(entry, field, {**given, "value": given[key]}) for key in ("lower", "upper"))
    return lower, upper
