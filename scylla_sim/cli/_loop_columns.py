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
from scylla_sim.number_columns import (
    AT_LEAST_ONE,
    COUNT,
    POSITIVE,
    NumberRule,
    errors_at,
    line_of,
    parse_numbers,
)
from scylla_sim.prediction.prefill import MAX_STEP_TOKENS
from scylla_sim.prediction.scenario import Scenario
from scylla_sim.serving.closed_load import NO_LIMIT, ClosedLoad, closed_load
from scylla_sim.serving.closed_loop_runs import RunCosts, joined, run_costs
from scylla_sim.serving.iteration import MAX_SEATS
from scylla_sim.specs.dtypes import canonical_dtype, precision_name
from scylla_sim.specs.engine_support import support_notes
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
    parts, notes = [], []
    for (*cells, ranks, tokens), rows in _columns.groups(*words, tp.tolist(), budget.tolist()):
        place, first = line_of(args.runs), int(rows[0])
        with errors_at(place, first):
            scenario = _scenario(args, [cell.strip() for cell in cells], int(ranks))
            found, texts = _costs(scenario, load.at(rows), budget=int(tokens))
        parts.append((rows, found))
        notes.append((first, texts))
    _columns.note_each(notes, args.runs)
    return joined(parts, len(empty))


def _costs(scenario: Scenario, load: ClosedLoad, *, budget: int) -> tuple[RunCosts, list[str]]:
    """Return the costs of the runs of one scenario, and what is assumed about it."""
    deployment, draft_deployment = scenario.deployments()
    (config,), remarks = scenario.speculative_configs()
    model = scenario.target_model()
    found = run_costs(
        model,
        deployment,
        load,
        config=config,
        draft_deployment=draft_deployment,
        max_num_batched_tokens=budget,
    )
    support = support_notes(deployment.engine, config.draft, trees=False)
    return found, [*scenario.name_notes(), *model.notes, *scenario.precision_notes(), *remarks, *support]


def _scenario(args: argparse.Namespace, cells: Sequence[str], tp: int) -> Scenario:
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
        for name, cell, least in (("draft_len", draft_len, "0"), ("tokens_per_cycle", tau, "1")):
            if cell and float(parse_numbers(name, [cell], lambda _: "")[0]) != float(least):
                raise fail(name, cell, f"must be empty or {least} without a draft", "name the draft")
        return base
    for name, cell in (("draft_len", draft_len), ("tokens_per_cycle", tau)):
        if not cell:
            raise fail(name, "", "must be given", "a run without a draft has an empty draft")
    (length,) = parse_numbers("draft_len", [draft_len], lambda _: "", rule=WHOLE)
    (tokens,) = parse_numbers("tokens_per_cycle", [tau], lambda _: "", rule=AT_LEAST_ONE)
    if length == 0 and tokens != 1.0:
        raise fail("tokens_per_cycle", tau, "must be 1 with draft_len=0", "a draft that drafts nothing adds none")
    draft = local(args.runs, draft)
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
