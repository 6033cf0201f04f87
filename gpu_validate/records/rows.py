"""Measured records as CSV rows, in the columns that `scylla-sim kernels` and `calibrate` read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gpu_validate.records import record_file
from scylla_sim.checks import InputError, fail, one_of
from scylla_sim.records import Row
from scylla_sim.stats.split import ALL, TEST, TRAIN, lowest_hashed
from scylla_sim.units import MILLI

PARTS = (TRAIN, TEST, ALL)
"""Parts of a record that `export` returns."""
REPEAT_PASS = 2
"""Pass over the grid that repeats the first one."""

SPLIT_BY = {
    "gemm": ("n", "k"),
    "decode_attention": ("batch", "kv_len", "num_heads", "num_kv_heads", "head_dim"),
    "context_attention": ("batch", "q_len", "kv_len", "num_heads", "num_kv_heads", "head_dim"),
    "all_reduce": ("num_gpus", "bytes"),
    "step": ("model", "batch", "context"),
    "specdecode": ("model", "draft", "batch_size", "context_len"),
    "decode": ("model", "draft", "batch_size", "context_len"),
}
"""Operation -> columns whose values never appear on both sides of the split."""
STRATA = {"decode_attention": ("batch",)}
"""Operation -> columns whose values are split separately.

A campaign times about ten attention shapes. On the first one (H100), a split by hash alone held out all shapes of
64 sequences, the largest batch. The score then measured an extrapolation from 8 sequences.
"""
TEST_SHARE = 0.33
"""Share of the shapes of a stratum in the test part."""

STREAMS = ("copy", "read", "launch")
"""Operations that only move bytes. They calibrate ``elementwise`` kernels and are not in the test part."""
QUANTIZE = "quantise"
"""Dynamic quantization of activations to 8 bits, an ``elementwise`` kernel in neither part of the split."""

CYCLE_PARTS = ("draft", "verify", "cycle")
BYTES_ARE_SHAPE = ("elementwise", "all_reduce")
"""Operations whose bytes are part of their shape; for the others they follow from the shape."""
_DERIVED = ("flop", "bytes", "flop_per_s", "bytes_per_s", "peak_fraction", "cpu_share", "pass", "case", "gpu")
_SITUATION = ("model", "batch", "context", "graph")
"""Columns that a cycle shares with the plain step of its speed-up."""
_CONFIGURATION = ("device", "dtype", "model", "draft", "draft_len", "top_k", "verify_tokens", "tokens_per_cycle")
_ENERGY = ("energy_j", "power_w", "sm_mhz")
MEASURED = frozenset(
    {
        *("latency_ms", "interval_low_ms", "interval_high_ms", "evidence", "tokens_per_cycle_seen"),
        *("plain_step_s", "tokens_per_s", "plain_tokens_per_s", "speedup", "plain_energy_j"),
        *(f"{part}_s" for part in CYCLE_PARTS),
        *_ENERGY,
    }
)
"""Columns of `export` that only a measurement can fill."""

Values = Sequence[Mapping[str, Any]]


def shape_key(row: Mapping[str, Any]) -> str:
    """Return the key of a row's shape; rows with the same key are on the same side of the split.

    Examples
    --------
    >>> shape_key({"op": "gemm", "m": 64, "n": 4096, "k": 1024})
    'gemm,4096,1024'
    """
    op = str(row["op"])
    return ",".join([op, *(str(row[name]) for name in SPLIT_BY[op])])


def _stratum(row: Mapping[str, Any]) -> tuple[Any, ...]:
    """Return the operation of a row and the values of its `STRATA` columns."""
    op = str(row["op"])
    return (op, *(row[name] for name in STRATA.get(op, ())))


def held_out_keys(rows: Values) -> set[str]:
    """Return the shape keys of the test part.

    The test part holds the `TEST_SHARE` of each stratum with the lowest hashes, and at least one shape of each
    operation. A stratum of one shape is fitted, unless it is the only stratum of its operation.

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
        chosen.setdefault(op, set()).update(lowest_hashed(keys, round(TEST_SHARE * len(keys))))
        every.setdefault(op, set()).update(keys)
    return set().union(*(some or lowest_hashed(every[op], 1) for op, some in chosen.items()))


def _situation(row: Mapping[str, Any]) -> tuple[Any, ...]:
    return tuple(row.get(name, 0) for name in _SITUATION)


def _configuration(row: Mapping[str, Any], op: str, context_len: int) -> Row:
    """Return the columns that describe a cycle or a generation, under the names of ``scylla-sim predict``."""
    shape = {"op": op, "batch_size": row["batch"], "context_len": context_len}
    return shape | {name: row[name] for name in _CONFIGURATION} | {"graph": row.get("graph", 0)}


def _energy(row: Mapping[str, Any], plain: Mapping[str, Any]) -> Row:
    """Return measured energy, power and clock of a cycle, and the energy of the plain step."""
    found = {name: row[name] for name in _ENERGY if row.get(name) is not None}
    return found | ({"plain_energy_j": plain["energy_j"]} if plain.get("energy_j") is not None else {})


def cycle_rows(values: Values) -> list[Row]:
    """Return one row per drafting configuration, under the column names of ``scylla-sim predict``.

    ``speedup`` compares with the plain step of the same batch, context and kind of launch: a cycle in a CUDA graph
    is never compared with an eager plain step. ``tokens_per_cycle`` is the exact mean of the acceptance that the
    suite was given, without the noise of the few timed cycles. Configurations without a cycle or a plain step are
    dropped. A part that was not measured is an empty cell.
    """
    plain = {_situation(row): row for row in values if row["op"] == "plain"}
    found: dict[tuple[Any, ...], Row] = {}
    for row in values:
        if row["op"] not in CYCLE_PARTS:
            continue
        key = (*_situation(row), *(row[name] for name in ("draft", "draft_len", "top_k", "verify_tokens")))
        out = found.setdefault(key, _configuration(row, "specdecode", row["context"]))
        out[f"{row['op']}_s"] = MILLI * row["latency_ms"]
        if row["op"] == "cycle":
            out |= {"tokens_per_cycle": row["tokens_per_cycle"], **_energy(row, plain.get(_situation(row), {}))}
    found = {key: out for key, out in found.items() if key[: len(_SITUATION)] in plain and "cycle_s" in out}
    for key, out in found.items():
        for part in CYCLE_PARTS:
            out.setdefault(f"{part}_s", "")
        out["plain_step_s"] = MILLI * plain[key[: len(_SITUATION)]]["latency_ms"]
        out["tokens_per_s"] = out["batch_size"] * out["tokens_per_cycle"] / out["cycle_s"]
        out["speedup"] = out["tokens_per_cycle"] * out["plain_step_s"] / out["cycle_s"]
    return list(found.values())


def decode_rows(values: Values) -> list[Row]:
    """Return one row per speculative generation, with the plain generation of the same model, batch and prompt.

    ``tokens_per_s`` and ``speedup`` come from the wall clock. The context grows during a generation: ``prompt_len``
    is its length at the start, ``context_len`` half way.
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
                "cycle_s": MILLI * row["latency_ms"],
                "plain_step_s": MILLI * other["latency_ms"],
                "tokens_per_s": row["tokens_per_s"],
                "plain_tokens_per_s": other["tokens_per_s"],
                "speedup": row["tokens_per_s"] / other["tokens_per_s"],
                **_energy(row, other),
            }
        )
    return rows


_PAIRED = {"specdecode": cycle_rows, "decode": decode_rows}
"""Suite -> function that pairs its rows with autoregressive decoding."""


def _elementwise_rows(values: Values, part: str) -> list[Row]:
    """Return the rows of a part that only move bytes, as ``elementwise`` kernels.

    The time of an eager launch is that of the host. It is dropped if the launch in a CUDA graph was measured too.
    """
    ops = {TRAIN: STREAMS, ALL: (*STREAMS, QUANTIZE), TEST: ()}[part]
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
) -> list[Row]:
    """Return the rows of one part of a record.

    Parameters
    ----------
    record
        Record of `gpu_validate.records.record_file`.
    part
        One of `PARTS`.
    number
        Pass over the grid; `REPEAT_PASS` repeats the first.
    device
        Name of the device in the rows, by default the recorded one. Use it to calibrate a catalog GPU as ``local``.
    evidence
        Level of evidence in the rows, by default the recorded one.
    sources
        Libraries whose kernels are kept, by default all. Rows that only move bytes are always kept.

    Raises
    ------
    InputError
        If the pass was not measured, or the part holds no row.
    """
    one_of("part", part, PARTS)
    suite = record["suite"]
    if suite in ("trained", record_file.TRAINING):
        raise fail("suite", suite, "holds no kernels, steps or cycles", "use gpu-validate curves")
    passes = sorted({row.get("pass", 1) for row in record["values"]})
    if number not in passes:
        raise fail("pass", number, f"was not measured by suite {suite}", f"passes: {passes}")
    values = [row for row in record["values"] if row.get("pass", 1) == number]
    measured = _PAIRED[suite](values) if suite in _PAIRED else values
    rows = [row for row in measured if row["op"] in SPLIT_BY]
    if part != ALL:
        held_out = held_out_keys(rows)
        rows = [row for row in rows if (shape_key(row) in held_out) == (part == TEST)]
    if sources:
        rows = [row for row in rows if row.get("kernel_source") in sources]
    elementwise = _elementwise_rows(values, part)
    if not rows and not (part == ALL and elementwise):
        kernels = f" of kernels {', '.join(sources)}" if sources else ""
        raise InputError(f"part={part!r} of suite {suite} holds no row{kernels}; measure at a larger --scale")
    labels: Row = {"evidence": evidence or record["evidence"]} | ({"device": device} if device else {})
    return [{**_columns(row), **labels} for row in [*rows, *elementwise]]


def shapes(suite: str, cases: Values) -> list[Row]:
    """Return the rows that `export` gives for cases, without measured columns: the input of a blind prediction.

    Parameters
    ----------
    suite
        Name of the suite.
    cases
        ``Case.shape`` of each case, with its ``bytes``.

    Examples
    --------
    >>> shapes("kernels", [{"op": "gemm", "m": 1, "n": 8, "k": 8, "bytes": 160.0}])
    [{'op': 'gemm', 'm': 1, 'n': 8, 'k': 8}]
    """
    values = [{"latency_ms": 1.0, "tokens_per_s": 1.0, **case} for case in cases]
    rows = export({"suite": suite, "values": values, "evidence": "theory"}, ALL)
    return [{key: value for key, value in row.items() if key not in MEASURED} for row in rows]


def _columns(row: Mapping[str, Any]) -> Row:
    """Return a row without the columns that follow from its shape."""
    kept = {key: value for key, value in row.items() if key not in _DERIVED}
    return kept | ({"bytes": row["bytes"]} if row["op"] in BYTES_ARE_SHAPE else {})
