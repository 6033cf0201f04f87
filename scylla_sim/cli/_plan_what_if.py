"""Changes of ``scylla-sim plan --what-if``: plan again with one other value, and compare."""

from __future__ import annotations

import argparse
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scylla_sim.checks import InputError, fail, one_of
from scylla_sim.cli._plan_traffic import Planned, planned
from scylla_sim.cli._plan_words import answer, assumptions, closest, shown
from scylla_sim.console import count, emit
from scylla_sim.text.tables import Column
from scylla_sim.units import parse_rate

CHANGEABLE = (
    *("model", "hardware", "tp", "precision", "kv_precision", "draft", "draft_len", "acceptance", "task", "engine"),
    *("rate", "input_len", "output_len", "context", "prefix_hit", "ttft", "tpot", "price", "max_load"),
    *("max_num_seqs", "max_num_batched_tokens"),
)
"""Options that a change can name, and ``context``, which changes the input."""
NUMBERS = ("rate", "input_len", "output_len", "context", "max_num_seqs", "max_num_batched_tokens")
"""Options that a change can multiply, as in ``rate=2x``."""
MISTAKES = ("is not known", "is not understood", "must be a number", "cannot be read")
"""Words of an error that no deployment can cause, and that is refused; other errors are the outcome of a change."""
FLOATS = ("prefix_hit", "max_load")

TABLE_COLUMNS = (
    Column("change"),
    Column("gpus", "GPUs [90 %]", ends=("gpus_lower", "gpus_upper"), decimals=0, right=True),
    Column("gpus_change", "change"),
    Column("where", "each"),
    Column("draft", fold=True),
    Column("lengths", "K", fold=True, right=True),
    Column("load", "load %", scale=100.0, decimals=0),
    Column("tpot_mean_s", "TPOT ms", scale=1e3),
    Column("ttft_p95_s", "TTFT p95", scale=1e3),
    Column("cost_per_million_tokens", "per M", fold=True),
)
"""Columns of the table of differences."""


@dataclass(frozen=True)
class Change:
    """One change: its text, and the command line with it."""

    text: str
    args: argparse.Namespace


def changes_of(args: argparse.Namespace) -> list[Change]:
    """Return the changes of a command line.

    Raises
    ------
    InputError
        If a change is not ``NAME=VALUE``, or names an option that cannot change.
    """
    return [Change(text, _changed(args, text)) for text in args.what_if or ()]


def _changed(args: argparse.Namespace, text: str) -> argparse.Namespace:
    name, equals, value = text.partition("=")
    name, value = name.strip().lstrip("-").replace("-", "_"), value.strip()
    if not equals or not value:
        raise fail("what_if", text, "must be NAME=VALUE", "for example rate=2x")
    one_of("what_if", name, CHANGEABLE)
    if value[-1:] in ("x", "X"):
        value = _multiplied(args, name, value)
    new = copy(args)
    if name == "context":
        output = count("output_len", args.output_len or "1")
        new.input_len = f"{max(count('context', value) - round(0.5 * output), 1):.0f}"
    else:
        setattr(new, name, _number(name, value) if name in FLOATS else value)
    if name == "hardware" and args.price is not None:
        new.price = _prices_that_apply(args.price, value)
    return new


def _number(name: str, value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise fail("what_if", f"{name}={value}", "must be a number") from None


def _multiplied(args: argparse.Namespace, name: str, value: str) -> str:
    """Return the value of an option times a factor such as ``2x``."""
    if name not in NUMBERS:
        raise fail("what_if", f"{name}={value}", "must not be a factor", f"factors change {', '.join(NUMBERS)}")
    factor = _number(name, value[:-1])
    if not 0.0 < factor < float("inf"):
        raise fail("what_if", f"{name}={value}", "must have a factor above 0")
    if name == "rate":
        return f"{parse_rate(args.rate) * factor:.12g}/s"
    if name == "context":
        before = count("input_len", args.input_len) + 0.5 * count("output_len", args.output_len)
        return f"{round(before * factor)}"
    given = getattr(args, name)
    if given is None:
        raise fail("what_if", f"{name}={value}", f"needs {name} on the command line")
    return f"{round(count(name, given) * factor)}"


def _prices_that_apply(price: str, hardware: str) -> str | None:
    """Return the prices without those of hardware that is no longer a candidate."""
    if Path(price).is_file():
        return price
    names = {name.strip() for name in hardware.split(",")}
    kept = [part for part in price.split(",") if part.partition("=")[0].strip() in names]
    return ",".join(kept) or None


def emit_changes(args: argparse.Namespace, changes: list[Change], base: Planned) -> None:
    """Print the best candidate as it is, and with each change."""
    rows = [_row("as asked", base, None)]
    for change in changes:
        try:
            done, _ = planned(change.args, best_only=True)
            rows.append(_row(change.text, done, rows[0].get("gpus")))
        except InputError as error:
            if any(words in error.problem for words in MISTAKES):
                raise fail("what_if", change.text, f"is a mistake ({error.problem})", error.hint) from None
            rows.append({"change": change.text, "problem": str(error)})
    problems = [f"{row['change']}: {row['problem']}." for row in rows if row.get("problem")]
    footer = "\n".join([*problems, *assumptions(base)])
    if args.format != "table":
        rows = [{name: value for name, value in row.items() if name not in ("where", "lengths")} for row in rows]
    emit(args, "plan-what-if", rows, columns=TABLE_COLUMNS, lead=answer(base), footer=footer)


def _row(text: str, done: Planned, before: int | None) -> dict[str, Any]:
    """Return the best candidate of a plan, with the change of its GPUs from an earlier number."""
    if not done.rows:
        return {"change": text, "problem": f"no candidate meets the limits; {closest(done)}"}
    best = done.rows[0]
    change = None if before is None else f"{100.0 * (best.gpus / before - 1.0):+.0f} %"
    return {"change": text, **shown(best), "gpus_change": change, "problem": ""}
