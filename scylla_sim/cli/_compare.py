"""``predict --compare``: one prediction beside a measured run."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import Any

import numpy as np

from scylla_sim.acceptance.measured_serving import MeasuredServing
from scylla_sim.checks import InputError, fail, whole
from scylla_sim.cli import _options
from scylla_sim.console import count, emit, emit_text
from scylla_sim.engines import acceptance_json, plain_runs
from scylla_sim.prediction import compare
from scylla_sim.prediction.compare import Comparison
from scylla_sim.prediction.footer import footer
from scylla_sim.prediction.report import coverage
from scylla_sim.prediction.scenario import Scenario
from scylla_sim.records import Row, dump_json, read_json, table
from scylla_sim.text.digits import wrapped
from scylla_sim.text.tables import Column, text_table

QUANTITIES = {
    compare.TPOT: ("ms per token", 1e3),
    compare.ITL: ("ms between pieces", 1e3),
    compare.RATE: ("tokens/s", 1.0),
}
"""Compared quantity -> name and factor of its text."""


def measured_file(option: str, path: str) -> tuple[MeasuredServing, Row]:
    """Return the measured times of a file, and all its facts.

    Parameters
    ----------
    option
        Name of the option, for error messages.
    path
        ``acceptance.json``, or a benchmark result that ``scylla-sim ingest`` reads.

    Raises
    ------
    InputError
        For a file without measured times.
    """
    try:
        facts: Row = read_json(path)
    except InputError:
        facts = {}
    if not {"served", "acceptance_rate"} & set(facts):
        facts = _facts(path)
    if not facts.get("served"):
        raise fail(option, path, "holds no measured times (TPOT, ITL or throughput)", "give a benchmark result")
    return MeasuredServing.of(facts["served"]), facts


def _facts(path: str) -> Row:
    """Return the facts of a file of an engine: acceptance and served figures, or these of a run without a draft."""
    try:
        return acceptance_json.read_content(path).facts | {"read_from_source": True}
    except InputError:
        plain = plain_runs.read_plain(path)
        if plain is None:
            raise
    return {"served": plain.as_dict(), "counts_no_drafts": True}


def placed(
    scenario: Scenario, measured: MeasuredServing, facts: Row, *, path: str, option: str
) -> tuple[Scenario, list[str]]:
    """Return a scenario at the concurrency and lengths of a measured run, and notes on what is assumed.

    The acceptance is that of the file unless the scenario states one.

    Raises
    ------
    InputError
        For options that contradict the file.
    """
    notes: list[str] = []
    if facts.get("counts_no_drafts"):
        plain = "taken as a run without a draft" if scenario.draft == "none" else "its acceptance is not known"
        notes.append(f"{path} counts no drafts; {plain}")
    given: dict[str, Any] = {}
    load = measured.concurrency or measured.max_concurrency
    batches = np.atleast_1d(np.asarray(scenario.batch)).tolist()
    if load is None:
        if len(batches) != 1:
            raise fail("batch", batches, f"must be one value with --{option}", "the file states no concurrency")
        notes.append(f"{path} states no concurrency; batch {batches[0]:g} is assumed")
    elif batches != [1]:
        hint = f"{path} states a concurrency of {load:g}"
        raise fail("batch", int(batches[0]), f"must not be given with --{option}", hint)
    else:
        given["batch"] = max(round(load), 1)
        notes += [f"concurrency {load:g} is predicted as batch {given['batch']}"] if load != given["batch"] else []
    if scenario.input_len is None and measured.input_len and measured.output_len:
        given |= {"input_len": round(measured.input_len), "output_len": round(measured.output_len)}
    if (scenario.input_len or given.get("input_len")) is None:
        context = scenario.contexts()[0]
        notes.append(f"{path} states no lengths: prefills are left out, and context {context} is assumed")
    states = scenario.acceptance is not None or scenario.tokens_per_cycle is not None
    if scenario.draft != "none" and not states and "acceptance_rate" in facts:
        given["acceptance"] = facts["acceptance_rate"] if facts.get("read_from_source") else path
    return replace(scenario, **given), notes


def execute(args: argparse.Namespace) -> int:
    """Predict the measured run and print both."""
    for name in ("breakdown", "draw", "measured_plain_tpot"):
        if getattr(args, name):
            raise fail(name, getattr(args, name), "must not be given with --compare")
    measured, facts = measured_file("compare", args.compare)
    tp = int(whole("tp", count("tp", args.tp), 1))
    scenario = Scenario(**_options.scenario_options(args, tp=tp))
    scenario, notes = placed(scenario, measured, facts, path=args.compare, option="compare")
    result = scenario.predict()
    if len(result.predictions) != 1 or result.predictions[0].batch.size != 1:
        raise fail("compare", args.compare, "needs one configuration", "give one value of each option")
    found = compare.compare(result.predictions[0], measured)
    _options.print_notes([*notes, *result.notes])
    _print(args, found, result.rows(), result.predictions[0].evidence_shares, coverage(result.predictions))
    return 0


def _print(args: argparse.Namespace, found: Comparison, rows: list[Row], shares: list[Any], covered: str) -> None:
    """Print a comparison in the format of ``--format``."""
    quantities = [
        {
            "quantity": item.name,
            "measured": item.measured,
            "predicted": float(item.predicted.value),
            "predicted_lower": float(item.predicted.lower),
            "predicted_upper": float(item.predicted.upper),
            "measured_over_predicted": item.ratio,
            "inside": item.inside,
        }
        for item in found.quantities
    ]
    parts = [
        {
            "part": part.name,
            "seconds_per_token": None if np.isnan(part.seconds) else part.seconds,
            "change_lower_s": part.lower,
            "change_upper_s": part.upper,
            "share_of_interval": part.share if np.isfinite(part.share) else None,
            "explains": part.explains,
        }
        for part in found.parts
    ]
    if args.format == "json":
        value = table("scylla-sim/compare/1", quantities, inputs=[args.compare, *_options.input_files(args)])
        provenance = value.pop("provenance")
        emit_text(args, dump_json({**value, "parts": parts, "verdict": found.verdict(), "provenance": provenance}))
        return
    if args.format == "csv":
        emit(args, "compare", quantities)
        return
    under = footer(rows, shares, covered, draft_len=rows[0]["draft_len"])
    text = wrapped(found.verdict(), indent="  ") + _quantity_table(quantities) + "\n" + _part_table(parts, found)
    emit_text(args, text + wrapped(under, indent="  "))


def _quantity_table(rows: list[dict[str, Any]]) -> str:
    shown = []
    for row in rows:
        name, factor = QUANTITIES[row["quantity"]]
        ends = {key: factor * row[key] for key in ("measured", "predicted", "predicted_lower", "predicted_upper")}
        shown.append({**row, **ends, "quantity": name, "inside": "yes" if row["inside"] else "no"})
    columns = [
        Column("quantity"),
        Column("measured"),
        Column("predicted", "predicted [90 %]", ends=("predicted_lower", "predicted_upper"), right=True),
        Column("measured_over_predicted", "measured / predicted", decimals=2),
        Column("inside", "inside"),
    ]
    return text_table(shown, columns, caption=False)


def _part_table(rows: list[dict[str, Any]], found: Comparison) -> str:
    shown = [
        {
            "part": row["part"],
            "ms": None if row["seconds_per_token"] is None else 1e3 * row["seconds_per_token"],
            "change": f"{1e3 * row['change_lower_s']:+.2g} to {1e3 * row['change_upper_s']:+.2g}",
            "closes": "-" if found.agrees else _closes(row["share_of_interval"]),
        }
        for row in rows
    ]
    columns = [
        Column("part"),
        Column("ms", "ms per token"),
        Column("change", "its interval moves it by", right=True),
        Column("closes", "closes the difference"),
    ]
    return text_table(shown, columns, caption=False)


def _closes(share: float | None) -> str:
    if share is None:
        return "no: it moves the other way, or not every quantity"
    return f"yes, at {100 * share:.0f} % of it" if share <= 1.0 else f"no, it would take {share:.1f} times as much"
