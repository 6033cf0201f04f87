"""Columns of closed-loop runs: their load, their deployments and their measured times."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from scylla_sim.checks import FloatArray, fail
from scylla_sim.cli import _columns
from scylla_sim.console import note
from scylla_sim.number_columns import AT_LEAST_ONE, COUNT, POSITIVE, NumberRule, line_of, parse_numbers
from scylla_sim.prediction.prefill import MAX_STEP_TOKENS
from scylla_sim.prediction.scenario import Scenario
from scylla_sim.serving.closed_load import NO_LIMIT, ClosedLoad, closed_load
from scylla_sim.serving.closed_loop_runs import RunCosts, joined, run_costs
from scylla_sim.serving.iteration import MAX_SEATS
from scylla_sim.specs.dtypes import canonical_dtype, precision_name
from scylla_sim.units import MILLI

LABELS = ("device", "engine", "model", "dtype")
NUMBERS = ("tp", "batch", "input_len", "output_len")
MEASURED = "tpot_ms"
MEASURED_TTFT = "ttft_ms"
BUDGET = "max_num_batched_tokens"

SHARE = NumberRule(0.0, 1.0, above=True)
NOT_NEGATIVE = NumberRule(0.0)
WHOLE = NumberRule(0.0, whole=True)
OPTIONAL: Mapping[str, tuple[NumberRule, float]] = {
    "shortest": (SHARE, 1.0),
    "rounds": (NumberRule(1.0), np.inf),
    "max_num_seqs": (COUNT, NO_LIMIT),
    BUDGET: (COUNT, MAX_STEP_TOKENS),
    "poll_iterations": (COUNT, 1.0),
    "hold_iterations": (NOT_NEGATIVE, 0.0),
    "hold_tokens": (POSITIVE, NO_LIMIT),
    "cached_len": (NOT_NEGATIVE, 0.0),
}
"""Column of the protocol -> its rule, and the value of an empty cell or an absent column."""
YES_NO = {"yes": True, "no": False, "": False}
PROTOCOL = (*OPTIONAL, "prefill_first")
DRAFT = ("draft", "draft_len", "tokens_per_cycle")
"""Optional columns of speculative decoding; an empty draft is plain decoding."""


def optional_numbers(path: str, columns: _columns.Columns, name: str) -> FloatArray:
    """Return a column of the protocol; an empty cell has its default."""
    rule, default = OPTIONAL[name]
    cells = columns.get(name, [""] * len(columns["batch"]))
    rows = [index for index, cell in enumerate(cells) if cell.strip()]
    values = np.full(len(cells), default)
    values[rows] = parse_numbers(name, cells, line_of(path), rule=rule, rows=rows)
    return values


def flags(path: str, columns: _columns.Columns, name: str) -> NDArray[np.bool_]:
    """Return a column of ``yes`` and ``no``; an empty cell is ``no``."""
    cells = columns.get(name, [""] * len(columns["batch"]))
    for index, cell in enumerate(cells):
        if cell.strip() not in YES_NO:
            raise fail(name, cell, f"must be yes or no {line_of(path)(index)}")
    return np.array([YES_NO[cell.strip()] for cell in cells], dtype=bool)


def load_of(path: str, columns: _columns.Columns, numbers: Mapping[str, FloatArray]) -> ClosedLoad:
    """Return the closed loops of all runs, and note what an absent protocol means."""
    given = {name: optional_numbers(path, columns, name) for name in OPTIONAL}
    mean = 0.5 * (1.0 + given["shortest"])
    if (numbers["output_len"] < 2.0).any():
        row = int(np.argmax(numbers["output_len"] < 2.0))
        rule = f"must be at least 2 {line_of(path)(row)}"
        raise fail("output_len", columns["output_len"][row], rule, "one token has no time per token")
    together = np.minimum(numbers["batch"], given["max_num_seqs"])
    if np.any(together > MAX_SEATS):
        row = int(np.argmax(together))
        where = f"must be at most {MAX_SEATS} {line_of(path)(row)}"
        raise fail("batch", f"{together[row]:g}", where, "a column max_num_seqs may limit it")
    if not any(name in columns for name in PROTOCOL):
        note(
            f"note: no protocol columns ({', '.join(PROTOCOL)}): a long closed loop of equal lengths is assumed, "
            f"prompts beside decoding, {MAX_STEP_TOKENS} tokens an iteration"
        )
    return closed_load(
        concurrency=numbers["batch"],
        input_len=np.maximum(mean * numbers["input_len"], 1.0),
        output_len=np.maximum(mean * numbers["output_len"], 2.0),
        start_share=1.0 / given["rounds"],
        poll_iterations=given["poll_iterations"],
        hold_iterations=given["hold_iterations"],
        hold_tokens=given["hold_tokens"],
        prefill_first=flags(path, columns, "prefill_first"),
        max_num_seqs=given["max_num_seqs"],
        cached_len=given["cached_len"],
    )


def local(path: str, name: str) -> str:
    """Return a name, or the path of a configuration relative to the file of runs."""
    return str(Path(path).parent / name) if name.endswith((".json", ".toml")) else name


def costs_of(args: argparse.Namespace, columns: _columns.Columns, load: ClosedLoad, tp: FloatArray) -> RunCosts:
    """Return the costs of all runs, one model of iterations per deployment and draft."""
    empty = [""] * len(columns["batch"])
    budget = optional_numbers(args.runs, columns, BUDGET)
    words = (columns.get(name, empty) for name in (*LABELS, "kv_dtype", *DRAFT))
    parts = []
    for (*cells, ranks, tokens), rows in _columns.groups(*words, tp.tolist(), budget.tolist()):
        scenario = _scenario(args, [cell.strip() for cell in cells], int(ranks), line_of(args.runs)(int(rows[0])))
        deployment, draft_deployment = scenario.deployments()
        (config,), _ = scenario.speculative_configs()
        found = run_costs(
            scenario.target_model(),
            deployment,
            load.at(rows),
            config=config,
            draft_deployment=draft_deployment,
            max_num_batched_tokens=int(tokens),
        )
        parts.append((rows, found))
    return joined(parts, len(empty))


def _scenario(args: argparse.Namespace, cells: Sequence[str], tp: int, where: str) -> Scenario:
    """Return the scenario of a run without its load; ``cells`` are those of `LABELS`, KV cache and `DRAFT`."""
    device, engine, model, dtype, kv_dtype, draft, draft_len, tau = cells
    base = Scenario(
        local(args.runs, model),
        hardware=device,
        engine=engine,
        tp=tp,
        precision=precision_name(canonical_dtype(dtype)) if dtype else None,
        kv_precision=precision_name(canonical_dtype(kv_dtype)) if kv_dtype else None,
        calibration=args.calibration,
        allow_long_context=True,
    )
    if draft in ("", "none"):
        return base
    for name, cell in (("draft_len", draft_len), ("tokens_per_cycle", tau)):
        if not cell:
            raise fail(name, "", f"must be given {where}", "a run without a draft has an empty draft")
    (length,) = parse_numbers("draft_len", [draft_len], lambda _: where, rule=WHOLE)
    (tokens,) = parse_numbers("tokens_per_cycle", [tau], lambda _: where, rule=AT_LEAST_ONE)
    return replace(base, draft=draft, draft_len=int(length), tokens_per_cycle=float(tokens) if length > 0 else None)


def measured_s(path: str, columns: _columns.Columns, name: str, *, needed: bool = False) -> FloatArray:
    """Return measured seconds of a column in milliseconds; NaN where a cell is empty or the column is absent."""
    cells = columns.get(name, [""] * len(columns["batch"]))
    rows = [index for index, cell in enumerate(cells) if needed or cell.strip()]
    values = np.full(len(cells), np.nan)
    values[rows] = MILLI * parse_numbers(name, cells, line_of(path), rule=POSITIVE, rows=rows)
    return values


def documented_ttft_s(path: str, columns: _columns.Columns) -> FloatArray:
    """Return the measured times to the first token; NaN for runs whose protocol is marked as not documented."""
    found = measured_s(path, columns, MEASURED_TTFT)
    if "documented" in columns:
        found = np.where(flags(path, columns, "documented"), found, np.nan)
    return found
