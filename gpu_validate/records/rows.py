"""Measured records as CSV rows, in the columns that `scylla-sim kernels` and `calibrate` read."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from gpu_validate.records import record_file
from scylla_sim.checks import InputError, fail, one_of

PARTS = ("train", "test", "all")
REPEAT = 2
"""Pass over the grid that repeats the first."""

SPLIT_BY = {
    "gemm": ("n", "k"),
    "decode_attention": ("batch", "kv_len", "num_heads", "num_kv_heads", "head_dim"),
    "all_reduce": ("num_gpus", "bytes"),
    "step": ("model", "batch", "context"),
    "specdecode": ("model", "draft", "batch_size", "context_len"),
    "decode": ("model", "draft", "batch_size", "context_len"),
}
"""Columns that decide the side of a row."""
STRATA = {"decode_attention": ("batch",)}
"""Columns by whose value the shapes of an operation are split, each value for itself.

A campaign has some ten attention shapes. Of the first one (H100) hashes alone held out every shape of 64 sequences,
the most that were measured: the score was of an extrapolation from 8 sequences.
"""

STREAMS = ("copy", "read", "launch")
"""Operations that only move bytes: they calibrate ``elementwise`` kernels and are not in the test part."""
QUANTIZE = "quantise"
"""Scaling of activations to 8 bits: an ``elementwise`` kernel too, in neither part of the split."""

_TEST_SHARE = 0.33
PARTS_OF_A_CYCLE = ("draft", "verify", "cycle")
BYTES_ARE_SHAPE = ("elementwise", "all_reduce")
"""Operations whose bytes are what was asked for; of the others the shape implies them."""
_RATES = ("flop", "bytes", "flop_per_s", "bytes_per_s", "peak_fraction", "cpu_share", "pass", "case", "gpu")
_SITUATION = ("model", "batch", "context", "graph")
"""Columns that a cycle shares with the plain step its speed-up is relative to."""
_CONFIGURATION = ("device", "dtype", "model", "draft", "draft_len", "top_k", "verify_tokens", "tokens_per_cycle")
_ENERGY = ("energy_j", "power_w", "sm_mhz")
MEASURED = frozenset(
    {
        *("latency_ms", "interval_low_ms", "interval_high_ms", "evidence", "tokens_per_cycle_seen"),
        *("plain_step_s", "tokens_per_s", "plain_tokens_per_s", "speedup", "plain_energy_j"),
        *(f"{part}_s" for part in PARTS_OF_A_CYCLE),
        *_ENERGY,
    }
)
"""Columns of `export` that only a measurement can fill."""


def shape_key(row: Mapping[str, Any]) -> str:
    """What a row shares with the rows that must be on its side of the split.

    Examples
    --------
    >>> shape_key({"op": "gemm", "m": 64, "n": 4096, "k": 1024})
    'gemm,4096,1024'
    """
    op = str(row["op"])
    return ",".join([op, *(str(row[name]) for name in SPLIT_BY[op])])


def _hashed(key: str) -> str:
    return hashlib.sha256(key.encode()).hexdigest()


def _stratum(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """Operation of a row, and the values of `STRATA` by which its shapes are split."""
    op = str(row["op"])
    return (op, *(row[name] for name in STRATA.get(op, ())))


def held_out_keys(rows: Sequence[Mapping[str, Any]]) -> set[str]:
    """Keys of the test part: of each stratum the third with the lowest hashes, of each operation at least one.

    The hash makes the choice arbitrary but the same on every machine; taking a share of them, and not all below a
    threshold, keeps both parts filled on small grids. A stratum of one shape is fitted whole.

    Examples
    --------
    >>> shape = {"op": "decode_attention", "num_heads": 32, "num_kv_heads": 8, "head_dim": 128}
    >>> rows = [shape | {"batch": batch, "kv_len": size} for batch in (1, 64) for size in (512, 2048, 8192)]
    >>> sorted(held_out_keys(rows))
    ['decode_attention,1,2048,32,8,128', 'decode_attention,64,8192,32,8,128']
    """
    strata: dict[tuple[Any, ...], set[str]] = {}
    for row in rows:
        strata.setdefault(_stratum(row), set()).add(shape_key(row))
    chosen: dict[str, set[str]] = {}
    every: dict[str, set[str]] = {}
    for (op, *_), keys in strata.items():
        ordered = sorted(keys, key=_hashed)
        chosen.setdefault(op, set()).update(ordered[: round(_TEST_SHARE * len(ordered))])
        every.setdefault(op, set()).update(keys)
    for op, some in chosen.items():
        if not some:
            some.add(min(every[op], key=_hashed))
    return set().union(*chosen.values())


def _situation(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row.get(name, 0) for name in _SITUATION)


def _configuration(row: Mapping[str, Any], op: str, context_len: int) -> dict[str, Any]:
    """Columns that say what a cycle or a generation ran, in the names of ``scylla-sim predict``."""
    shape = {"op": op, "batch_size": row["batch"], "context_len": context_len}
    return shape | {name: row[name] for name in _CONFIGURATION} | {"graph": row.get("graph", 0)}


def _energy(row: Mapping[str, Any], plain: Mapping[str, Any]) -> dict[str, Any]:
    """Energy, power and clock of a cycle, and the energy of the plain step, where they were measured."""
    said = {name: row[name] for name in _ENERGY if row.get(name) is not None}
    return said | ({"plain_energy_j": plain["energy_j"]} if plain.get("energy_j") is not None else {})


def cycle_rows(values: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row per drafting configuration, in the column names of ``scylla-sim predict``.

    ``speedup`` is relative to the target's plain step measured at the same batch and context, launched in the same
    way: cycles in a CUDA graph and eager cycles are different configurations. Acceptance was given, so
    ``tokens_per_cycle`` is its exact mean and not the scatter of the few cycles that were timed. A configuration
    needs a cycle and a plain step; a part that was not measured is an empty cell.
    """
    plain = {_situation(row): row for row in values if row["op"] == "plain"}
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in values:
        if row["op"] not in PARTS_OF_A_CYCLE:
            continue
        key = (*_situation(row), *(row[name] for name in ("draft", "draft_len", "top_k", "verify_tokens")))
        out = found.setdefault(key, _configuration(row, "specdecode", row["context"]))
        out[f"{row['op']}_s"] = 1e-3 * row["latency_ms"]
        if row["op"] == "cycle":
            out |= {"tokens_per_cycle": row["tokens_per_cycle"], **_energy(row, plain.get(_situation(row), {}))}
    found = {key: out for key, out in found.items() if key[: len(_SITUATION)] in plain and "cycle_s" in out}
    for key, out in found.items():
        for part in PARTS_OF_A_CYCLE:
            out.setdefault(f"{part}_s", "")
        out["plain_step_s"] = 1e-3 * plain[key[: len(_SITUATION)]]["latency_ms"]
        out["tokens_per_s"] = out["batch_size"] * out["tokens_per_cycle"] / out["cycle_s"]
        out["speedup"] = out["tokens_per_cycle"] * out["plain_step_s"] / out["cycle_s"]
    return list(found.values())


def decode_rows(values: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """One row per speculative generation, beside the plain generation of the same model, batch and prompt.

    ``tokens_per_s`` and ``speedup`` are by the wall clock. The context grows while tokens are generated, so
    ``context_len`` is the one in the middle of the generation; ``prompt_len`` is the one at its start.
    """
    plain = {(*_situation(row), row["new_tokens"]): row for row in values if not row["draft_len"]}
    rows = []
    for row in values:
        other = plain.get((*_situation(row), row["new_tokens"]))
        if not row["draft_len"] or other is None:
            continue
        rows.append(
            {
                **_configuration(row, "decode", row["context"] + row["new_tokens"] // 2),
                **{"new_tokens": row["new_tokens"], "prompt_len": row["context"]},
                "tokens_per_cycle_seen": row.get("tokens_per_cycle_seen", ""),
                "cycle_s": 1e-3 * row["latency_ms"],
                "plain_step_s": 1e-3 * other["latency_ms"],
                "tokens_per_s": row["tokens_per_s"],
                "plain_tokens_per_s": other["tokens_per_s"],
                "speedup": row["tokens_per_s"] / other["tokens_per_s"],
                **_energy(row, other),
            }
        )
    return rows


_PAIRED = {"specdecode": cycle_rows, "decode": decode_rows}
"""Suites whose rows are paired with plain decoding before they are exported."""


def _moves(values: Sequence[Mapping[str, Any]], part: str) -> list[dict[str, Any]]:
    """Rows of a part that only move bytes, as ``elementwise`` kernels.

    An eager launch is host time: it is left out where the launch inside a CUDA graph was measured.
    """
    ops = {"train": STREAMS, "all": (*STREAMS, QUANTIZE), "test": ()}[part]
    graphed = any(row["op"] == "launch" and row.get("graph") for row in values)
    return [
        {**row, "op": "elementwise"}
        for row in values
        if row["op"] in ops and not (row["op"] == "launch" and graphed and not row["graph"])
    ]


def export(
    record: Mapping[str, Any],
    part: str,
    *,
    number: int = 1,
    device: str = "",
    evidence: str = "",
    sources: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Rows of a part of a record.

    ``number`` is the pass over the grid: the second one repeats the first. ``device`` renames the device, for
    calibrating a catalogued GPU as ``local``; ``evidence`` replaces the record's ``live`` where it was measured
    earlier and committed. ``sources`` keeps the kernels of these libraries alone; what only moves bytes stays.

    Raises
    ------
    InputError
        When the pass was not measured, or the part holds no row.
    """
    one_of("part", part, PARTS)
    if record["suite"] in ("trained", record_file.TRAINING):
        raise fail("suite", record["suite"], "holds no kernels, steps or cycles", "its rows: gpu-validate curves")
    passes = sorted({row.get("pass", 1) for row in record["values"]})
    if number not in passes:
        raise fail("pass", number, f"was not measured by suite {record['suite']}", f"passes: {passes}")
    values = [row for row in record["values"] if row.get("pass", 1) == number]
    measured = _PAIRED[record["suite"]](values) if record["suite"] in _PAIRED else values
    rows = [row for row in measured if row["op"] in SPLIT_BY]
    if part != "all":
        held_out = held_out_keys(rows)
        rows = [row for row in rows if (shape_key(row) in held_out) == (part == "test")]
    if sources:
        rows = [row for row in rows if row.get("kernel_source") in sources]
    moves = _moves(values, part)
    if not rows and not (part == "all" and moves):
        kernels = f" of kernels {', '.join(sources)}" if sources else ""
        raise InputError(
            f"part={part!r} of suite {record['suite']} holds no row{kernels}; measure at a larger --scale"
        )
    said: dict[str, Any] = {"evidence": evidence or record["evidence"]} | ({"device": device} if device else {})
    return [{**_columns(row), **said} for row in [*rows, *moves]]


def shapes(suite: str, cases: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Rows that `export` gives for cases, without what only a measurement knows: input of a blind prediction.

    Parameters
    ----------
    cases
        ``Case.shape`` of each case with its ``bytes``.

    Examples
    --------
    >>> shapes("kernels", [{"op": "gemm", "m": 1, "n": 8, "k": 8, "bytes": 160.0}])
    [{'op': 'gemm', 'm': 1, 'n': 8, 'k': 8}]
    """
    values = [{"latency_ms": 1.0, "tokens_per_s": 1.0, **case} for case in cases]
    rows = export({"suite": suite, "values": values, "evidence": "theory"}, "all")
    return [{key: value for key, value in row.items() if key not in MEASURED} for row in rows]


def _columns(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row without what its shape implies."""
    kept = {key: value for key, value in row.items() if key not in _RATES}
    return kept | ({"bytes": row["bytes"]} if row["op"] in BYTES_ARE_SHAPE else {})
