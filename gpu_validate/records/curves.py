"""Records of training and of trained loops as CSV rows, for ``scylla-sim laws`` and ``cycles``."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from gpu_validate.records import record_file
from gpu_validate.records.fixed_trees import fixed_tree
from gpu_validate.records.record_types import check_models
from scylla_sim.records import Row, dump_json, write_text
from scylla_sim.stats.split import half_of
from scylla_sim.units import MILLI

_LOOP_COLUMNS = (
    *("device", "dtype", "model", "draft", "decoder_layers", "drafting", "draft_len", "top_k", "verify_tokens"),
)

_POINT_COLUMNS = ("decoder_layers", "train_tokens", "seed", "temperature", "domain")


def acceptance_rows(record: Mapping[str, Any]) -> list[Row]:
    """Return tokens per cycle of every draft, training point, domain and tree.

    Column ``last`` is ``yes`` at the last training point of an arm.
    """
    rows = [row for row in record["values"] if row["op"] == "acceptance"]
    last: dict[str, int] = {}
    for row in rows:
        last[row["arm"]] = max(last.get(row["arm"], 0), row["train_tokens"])
    return [
        {**_without(row, ("op", "case")), "last": "yes" if row["train_tokens"] == last[row["arm"]] else "no"}
        for row in rows
    ]


def rank_rows(record: Mapping[str, Any]) -> list[Row]:
    """Return the rank profiles at temperature 0, by decoder layers."""
    kept = ("decoder_layers", "depth", "rank", "probability")
    rows = [row for row in record["values"] if row["op"] == "rank" and row["temperature"] == 0]
    return [{name: row[name] for name in kept} for row in rows]


def profile_rows(record: Mapping[str, Any]) -> list[Row]:
    """Return the rank profiles of every draft, training point, domain and depth.

    Columns ``rank_0``, ``rank_1``, ... hold the profile after first choices, and ``branch_0``, ... side branches.
    Columns ``reached`` and ``branch_reached`` hold their cycles.
    """
    rows = []
    for row in record["values"]:
        if row["op"] != "profile":
            continue
        for depth, (main, branch) in enumerate(zip(row["profile"], row["branch_profile"])):
            found = {name: row[name] for name in _POINT_COLUMNS} | {"depth": depth + 1}
            found |= {f"rank_{rank}": value for rank, value in enumerate(main)}
            found |= {"reached": row["reached"][depth]}
            found |= {f"branch_{rank}": value for rank, value in enumerate(branch)}
            rows.append(found | {"branch_reached": row["branch_reached"][depth]})
    return rows


def tree_rows(record: Mapping[str, Any]) -> list[Row]:
    """Return tokens per cycle of the trees that all drafts of a joint plan share, one row per tree."""
    return [
        {name: row[name] for name in _POINT_COLUMNS}
        | {"nodes": nodes, "paths": _paths(nodes, row["draft_len"]), "tokens_per_cycle": tau, "stderr": error}
        for row in record["values"]
        if row["op"] == "fixed-tree"
        for nodes, tau, error in zip(row["tree_nodes"], row["tree_tokens"], row["tree_stderr"])
    ]


def _paths(nodes: int, draft_len: int) -> str:
    """Return the rank paths of a fixed tree, such as ``0 1 0.0``."""
    return " ".join(".".join(map(str, path)) for path in fixed_tree(nodes, draft_len).paths())


def verify_rows(record: Mapping[str, Any]) -> list[Row]:
    """Return the seconds of the target's forward pass, by batch and tokens.

    Each value is the faster of two passes over the grid, because a disturbance only adds time.
    """
    found: dict[tuple[int, int], float] = {}
    for row in record["values"]:
        if row["op"] == "verify":
            key = (row["batch"], row["tokens"])
            found[key] = min(found.get(key, float("inf")), MILLI * row["latency_ms"])
    return [{"batch_size": batch, "tokens": n, "verify_s": value} for (batch, n), value in found.items()]


def loop_rows(record: Mapping[str, Any], number: int = 1) -> list[Row]:
    """Return one row per measured loop of one pass over the grid, in the columns of ``scylla-sim cycles``.

    The best tree of a few nodes may be a chain. Such a chain appears once.
    """
    values = [row for row in record["values"] if row.get("pass", 1) == number]
    plain = {row["batch"]: _seconds(row) for row in values if row["op"] == "plain"}
    rows = []
    seen: set[tuple[str, int, str]] = set()
    for row in values:
        if row["op"] != "loop" or row["batch"] not in plain:
            continue
        key = (row["draft"], row["batch"], row["paths"])
        if key in seen:
            continue
        seen.add(key)
        rows.append(_loop_row(row, _seconds(row), plain[row["batch"]]))
    return rows


def _loop_row(row: Mapping[str, Any], cycle_s: float, plain_s: float) -> Row:
    tau = row["tokens_per_cycle"]
    return {
        "batch_size": row["batch"],
        "context_len": row["context"],
        **{name: row[name] for name in _LOOP_COLUMNS},
        "paths": row["paths"],
        "half": half_of(f"{row['draft']},{row['drafting']},{row['batch']}"),
        "tokens_per_cycle": tau,
        "cycle_s": cycle_s,
        "plain_step_s": plain_s,
        "tokens_per_s": row["batch"] * tau / cycle_s,
        "speedup": tau * plain_s / cycle_s,
    }


def _seconds(row: Mapping[str, Any]) -> float:
    """Return the seconds of one of the repeated cycles or steps."""
    return MILLI * float(row["latency_ms"]) / int(row["repeated"])


def _without(row: Mapping[str, Any], dropped: Sequence[str]) -> Row:
    return {key: "" if value is None else value for key, value in row.items() if key not in dropped}


TABLES: dict[str, tuple[str, Callable[..., list[Row]]]] = {
    "acceptance": (record_file.TRAINING, acceptance_rows),
    "ranks": (record_file.TRAINING, rank_rows),
    "profiles": (record_file.TRAINING, profile_rows),
    "trees": (record_file.TRAINING, tree_rows),
    "verify": ("trained", verify_rows),
    "loops": ("trained", loop_rows),
}
"""Name of a table -> suite of its record, and the function that makes its rows."""


def write_models(record: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """Write the shapes of a record's models as ``config.json`` files, one folder per model.

    Returns
    -------
    dict
        Name of each model -> its folder.

    Raises
    ------
    InputError
        If a model's name is not one component of a path, or its shape is not one.
    """
    specs = record["provenance"].get("specs", [])
    check_models(specs, "the record")
    found = {}
    for spec in specs:
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
