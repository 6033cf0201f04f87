"""Tables ``local`` and ``local-cycles``: predicted and measured times of the machine that ran the workflow."""

from __future__ import annotations

from collections.abc import Mapping

from paper.render.table import EVIDENCE, Column, Table, percent_column
from paper.render.values import joined, percent
from paper.sources.results import Results, ResultTable, commits, value
from paper.tables.errors import ERRORS, SECOND_PASS, error_columns, error_notes, groups
from scylla_sim.checks import fail
from scylla_sim.records import Row

_FLOORS = {
    "intervals": "Noise floor of kernels: median half width of the confidence intervals of the measurements.",
    "repeat": f"Noise floor of steps: {SECOND_PASS}.",
}

CYCLE_PARTS = {
    "plain_step_s": "plain step",
    "draft_s": "drafting",
    "verify_s": "verification",
    "cycle_s": "whole cycle",
    "tokens_per_s": "throughput",
    "speedup": "speed-up",
}
"""Quantity of a cycle -> its name in tables."""

MAX_ERRORS = {"plain_step_s": 0.15, "verify_s": 0.15, "speedup": 0.10}
"""Accepted median error of each quantity, at scale ``small`` and above on an idle machine."""
MIN_CPU_SHARE = 0.95
"""Share of a CPU core below which a case counts as disturbed by other processes."""


def local_device(results: Results) -> str:
    """Return name and kind of the device that this run measured.

    Raises
    ------
    InputError
        If the record of kernels is missing or does not name a device.
    """
    record = results.record("measure/kernels.json")
    device = record.get("provenance", {}).get("device")
    if not isinstance(device, dict) or "name" not in device:
        raise fail("provenance.device.name", None, "is missing in measure/kernels.json")
    kind = f", {device['kind']}" if "kind" in device else ""
    count = device.get("threads") if device.get("kind") == "cpu" else None
    threads = f", {count} thread{'s' if count > 1 else ''}" if count else ""
    return f"{device['name']}{kind}{threads}"


def local(results: Results) -> Table:
    """Return errors of kernels and block steps on this machine."""
    suites = {"kernels": "kernels", "step": "block step"}
    tables = {suite: results.table(f"compare/local-{suite}.json") for suite in suites}
    rows = [{"suite": suites[suite], **row} for suite, table in tables.items() for row in groups(table)]
    return Table(
        "local",
        f"Kernels and block steps on this machine ({local_device(results)}), predicted and measured",
        (Column("suite", "suite"), Column("group", "group"), *error_columns(rows), EVIDENCE),
        rows,
        joined(
            {
                "measured": ", ".join(dict.fromkeys(str(row["evidence"]) for row in rows)),
                "predicted": "calibrated on other shapes",
            }
        ),
        commits(tables.values()),
        notes=[
            *error_notes(rows, _FLOORS),
            "The kernels are calibrated on other shapes of the same run, and nothing is fitted to a step. The "
            "peaks of the roofline baseline are the best rates that this machine reached.",
        ],
    )


def _judgement(results: Results, errors: Mapping[str, float]) -> str:
    """Return the median errors next to their limits, and whether the run is long enough to judge them."""
    record = results.record("measure/specdecode.json")
    provenance = record.get("provenance", {})
    scale, cpu = str(provenance.get("scale", "unknown")), provenance.get("device", {}).get("kind") == "cpu"
    limits = ", ".join(
        f"{CYCLE_PARTS[name]} {percent(errors[name])} "
        f"(limit {percent(limit, 0)}{'' if errors[name] <= limit else ': exceeded'})"
        for name, limit in MAX_ERRORS.items()
    )
    if scale == "ci":
        return f"Median errors at scale ci, where a time limit ends each measurement, are not judged: {limits}."
    shares = [float(row["cpu_share"]) for row in record.get("values", []) if "cpu_share" in row]
    shared = sum(share < MIN_CPU_SHARE for share in shares)
    busy = (
        f" The machine was not idle: {shared} of {len(shares)} cases shared their core." if cpu and shared else ""
    )
    return f"Median errors at scale {scale}: {limits}.{busy}"


def _choice_note(choice: Row, table: ResultTable) -> str:
    """Return how often the predicted best draft shape is the measured best, and the loss from following it."""
    return (
        f"The predicted best draft shape is the measured best in {percent(choice['same_choice'], 0)} of "
        f"{choice['situations']} situations, and within the noise floor of it in "
        f"{percent(value(choice, 'within_floor', table.path), 0)}. Following the prediction loses "
        f"{percent(choice['median_regret'])} (median)."
    )


def local_cycles(results: Results) -> Table:
    """Return errors of draft-verify cycles on this machine, by part of the cycle."""
    table = results.table("compare/local-specdecode.json")
    # group "1" holds cycles in CUDA graphs; eager cycles contain the time of Python
    names = {str(row["group"]) for row in table.rows}
    group = "1" if "1" in names else "all"
    by_quantity = {row["quantity"]: row for row in table.rows if str(row["group"]) == group}
    rows = []
    for quantity, name in CYCLE_PARTS.items():
        if quantity not in by_quantity:
            raise fail("quantity", quantity, f"has no row in {table.path}")
        rows.append({**by_quantity[quantity], "part": name})
    choice = by_quantity["speedup"]
    return Table(
        "local-cycles",
        f"Draft-verify cycles on this machine ({local_device(results)}), predicted and measured",
        (
            Column("part", "part"),
            Column("n", "configurations", digits=0),
            *ERRORS[1:7],
            percent_column("floor_median", "difference of repeats"),
            EVIDENCE,
        ),
        rows,
        joined({"measured": str(choice["evidence"]), "predicted": "kernels calibrated on this machine"}),
        commits([table]),
        notes=[
            "The loops have KV caches and rollback, random weights and a given acceptance. No cycle is fitted.",
            _choice_note(choice, table),
            f"Difference of repeats: {SECOND_PASS}.",
            _judgement(results, {name: by_quantity[name]["median_ape"] for name in MAX_ERRORS}),
        ],
    )
