"""Results of training and of trained loops as CSV rows, for ``scylla-sim laws`` and ``cycles``."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gpu_validate.records import record_file
from scylla_sim.records import dump_json, write_text

Row = dict[str, Any]
_MILLI = 1e-3
_HALVES = ("fit", "held out")


def acceptance_rows(record: Mapping[str, Any]) -> list[Row]:
    """Tokens per cycle of every draft, point, domain and tree; ``last`` marks the last point of an arm's curve."""
    rows = [row for row in record["values"] if row["op"] == "acceptance"]
    last: dict[str, int] = {}
    for row in rows:
        last[row["arm"]] = max(last.get(row["arm"], 0), row["train_tokens"])
    return [
        {**_without(row, ("op", "case")), "last": "yes" if row["train_tokens"] == last[row["arm"]] else "no"}
        for row in rows
    ]


def rank_rows(record: Mapping[str, Any]) -> list[Row]:
    """Rank profiles at temperature 0, by decoder layers."""
    kept = ("decoder_layers", "depth", "rank", "probability")
    rows = [row for row in record["values"] if row["op"] == "rank" and row["temperature"] == 0]
    return [{name: row[name] for name in kept} for row in rows]


def verify_rows(record: Mapping[str, Any]) -> list[Row]:
    """Seconds of the target's pass: the faster of two passes over the grid, for what disturbs only adds."""
    found: dict[tuple[int, int], float] = {}
    for row in record["values"]:
        if row["op"] == "verify":
            key = (row["batch"], row["tokens"])
            found[key] = min(found.get(key, float("inf")), _MILLI * row["latency_ms"])
    return [{"batch_size": batch, "tokens": n, "verify_s": value} for (batch, n), value in found.items()]


def half_of(row: Mapping[str, Any]) -> str:
    """Whether a loop fits the overheads of loops or scores them: by a hash, the same on every machine."""
    text = f"{row['draft']},{row['drafting']},{row['batch']}"
    return _HALVES[hashlib.sha256(text.encode()).digest()[0] % 2]


def loop_rows(record: Mapping[str, Any], number: int = 1) -> list[Row]:
    """One row a measured loop, in the columns of ``scylla-sim cycles``, of one pass over the grid.

    The best tree of a few nodes may be a chain; it counts once.
    """
    values = [row for row in record["values"] if row.get("pass", 1) == number]
    plain = {row["batch"]: _seconds(row) for row in values if row["op"] == "plain"}
    kept = (
        "device",
        "dtype",
        "model",
        "draft",
        "decoder_layers",
        "drafting",
        "draft_len",
        "top_k",
        "verify_tokens",
    )
    rows = []
    seen: set[tuple[str, int, str]] = set()
    for row in values:
        if row["op"] != "loop" or row["batch"] not in plain:
            continue
        key = (row["draft"], row["batch"], row["paths"])
        if key in seen:
            continue
        seen.add(key)
        cycle_s, plain_s = _seconds(row), plain[row["batch"]]
        out = {"batch_size": row["batch"], "context_len": row["context"], **{name: row[name] for name in kept}}
        out |= {"paths": row["paths"], "half": half_of(row), "tokens_per_cycle": row["tokens_per_cycle"]}
        out |= {"cycle_s": cycle_s, "plain_step_s": plain_s}
        out |= {"tokens_per_s": row["batch"] * row["tokens_per_cycle"] / cycle_s}
        rows.append({**out, "speedup": row["tokens_per_cycle"] * plain_s / cycle_s})
    return rows


def _seconds(row: Mapping[str, Any]) -> float:
    return _MILLI * float(row["latency_ms"]) / int(row["repeated"])


def _without(row: Mapping[str, Any], dropped: Sequence[str]) -> Row:
    return {key: "" if value is None else value for key, value in row.items() if key not in dropped}


TABLES: dict[str, tuple[str, Callable[..., list[Row]]]] = {
    "acceptance": (record_file.TRAINING, acceptance_rows),
    "ranks": (record_file.TRAINING, rank_rows),
    "verify": ("trained", verify_rows),
    "loops": ("trained", loop_rows),
}
"""Name -> suite of the record, and what makes the rows."""


def write_models(record: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """Shapes of a record's models as ``config.json``, and the folder of each by its name."""
    found = {}
    for spec in record["provenance"].get("specs", []):
        config = {
            "model_type": "llama",
            "num_hidden_layers": spec["num_layers"],
            "hidden_size": spec["hidden_size"],
            "intermediate_size": spec["intermediate_size"],
            "num_attention_heads": spec["num_heads"],
            "num_key_value_heads": spec["num_kv_heads"],
            "head_dim": spec["head_dim"],
            "vocab_size": spec["vocab_size"],
            "tie_word_embeddings": spec["tied_embeddings"],
        }
        write_text(folder / spec["name"] / "config.json", dump_json(config))
        found[spec["name"]] = str(folder / spec["name"])
    return found
