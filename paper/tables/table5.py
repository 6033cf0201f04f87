"""Tables ``table5`` and ``table5-ablation``: throughput of Qwen2.5-72B on 4x H800, reported and predicted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from paper.render.table import EVIDENCE, Column, Table, percent_column
from paper.render.values import joined, mean, percent
from paper.sources import published
from paper.sources.results import Results, ResultTable, commits, make_again, value
from scylla_sim.checks import fail
from scylla_sim.records import Row

METHODS = {"plain": "plain", "eagle2": "EAGLE-2", "scylla": "Scylla"}
"""Method in file names -> its name in tables."""

VARIANTS = {
    "eagle2": "EAGLE-2 acceptance, EAGLE-2 tree",
    "scylla-large-tree": "Scylla acceptance, EAGLE-2 tree",
    "eagle2-small-tree": "EAGLE-2 acceptance, k_opt(b)",
    "scylla": "Scylla acceptance, k_opt(b)",
}
"""Runs of the ablation: the acceptance of one method, with its own tree or the tree of the other method."""


def _columns(rows: Sequence[Row]) -> list[Column]:
    """Return the columns of Table 5, without ranges that no row has."""
    columns = [Column("batch_size", "batch", digits=0)]
    for key, name in METHODS.items():
        columns += [
            Column(f"{key}_reported", f"{name}: reported", "tokens/s", digits=0),
            Column(f"{key}_predicted", "predicted", "tokens/s", digits=0),
            Column(f"{key}_range", "range"),
            percent_column(f"{key}_error", "error", digits=0, signed=True),
        ]
    shown = [c for c in columns if not c.key.endswith("_range") or any(row[c.key] for row in rows)]
    return [*shown, EVIDENCE]


def table5_rows(results: Results) -> tuple[dict[str, ResultTable], list[Row]]:
    """Return the result files by method, and reported next to predicted throughput by batch.

    Raises
    ------
    InputError
        If a result file is missing or lacks a published batch.
    """
    tables = {method: results.table(f"steps/table5-{method}.json") for method in METHODS}
    rows: list[Row] = []
    predicted = {
        method: {float(value(row, "batch_size", table.path)): row for row in table.rows}
        for method, table in tables.items()
    }
    for batch in published.series("table5", "batch_size", "tokens_per_s", method="plain"):
        line: Row = {"batch_size": int(batch)}
        levels: dict[str, None] = {}
        for method, table in tables.items():
            row = predicted[method].get(batch)
            if row is None:
                raise fail("batch_size", int(batch), f"has no row in {table.path}", make_again(table.path))
            reported = published.series("table5", "batch_size", "tokens_per_s", method=method)[batch]
            line |= {f"{method}_{key}": number for key, number in _cell(row, reported, table.path).items()}
            levels[str(value(row, "evidence", table.path))] = None
        rows.append({**line, "evidence": f"published, {', '.join(levels)}"})
    return tables, rows


def _cell(row: Row, reported: float, path: str) -> dict[str, Any]:
    """Return one cell of Table 5: prediction, its range over published acceptance, and errors."""
    rate = float(value(row, "tokens_per_s", path))
    tau = float(value(row, "tokens_per_cycle", path))
    low, high = (row.get(f"tokens_per_cycle_{end}") or tau for end in ("lower", "upper"))
    lower, upper = rate * low / tau, rate * high / tau
    return {
        "reported": reported,
        "predicted": rate,
        "lower": lower,
        "upper": upper,
        "range": f"{lower:.0f} to {upper:.0f}" if upper > lower else None,
        "error": rate / reported - 1,
        "ratio": rate / reported,
    }


def _draft_note(method: str, table: ResultTable) -> str:
    """Return the draft shape and acceptance assumed for a method, empty for autoregressive decoding."""
    first = table.rows[0]
    if not first.get("draft_len"):
        return ""
    nodes = [row["verify_tokens"] for row in table.rows]
    width = f"{nodes[0]}" if len(set(nodes)) == 1 else f"{max(nodes)} to {min(nodes)} (fewer at larger batches)"
    tau = sorted({round(row["tokens_per_cycle"], 2) for row in table.rows})
    spread = f"{tau[0]:g}" if len(tau) == 1 else f"{tau[-1]:g} to {tau[0]:g}"
    low, high = (first.get(f"tokens_per_cycle_{end}") for end in ("lower", "upper"))
    if low and high and high > low:
        spread += f" (at batch {first['batch_size']}: {low:.2f} to {high:.2f})"
    return (
        f"Assumed for {METHODS[method]}: depth {first['draft_len']}, top-k {first['top_k']}, {width} tokens "
        f"verified per sequence, {spread} tokens per cycle. No tokens per cycle are published for this target."
    )


def scylla_errors(results: Results, rows: Sequence[Row]) -> dict[str, float]:
    """Return the mean error of the Scylla column by number of draft layers, which Table 5 does not state."""
    errors = {"1": mean([abs(row["scylla_error"]) for row in rows])}
    reported = published.series("table5", "batch_size", "tokens_per_s", method="scylla")
    for layers in ("2", "5"):
        table = results.table(f"steps/table5-scylla-{layers}-layers.json")
        rates = dict(zip(table.column("batch_size"), table.column("tokens_per_s")))
        errors[layers] = mean([abs(rates[batch] / rate - 1) for batch, rate in reported.items() if batch in rates])
    return errors


def _error_note(rows: Sequence[Row]) -> str:
    """Return the mean absolute error of each method and of all cells."""
    everything = [abs(row[f"{method}_error"]) for row in rows for method in METHODS]
    each = ", ".join(
        f"{name} {percent(mean([abs(row[f'{key}_error']) for row in rows]))}" for key, name in METHODS.items()
    )
    return f"Mean absolute error: {each}; all {len(everything)} cells {percent(mean(everything))}."


def _memory_notes(tables: Mapping[str, ResultTable]) -> list[str]:
    """Return the cells that do not fit the memory of the GPUs under the assumptions, if any."""
    full = {
        METHODS[method]: [str(row["batch_size"]) for row in table.rows if row.get("fits_memory") is False]
        for method, table in tables.items()
    }
    cells = "; ".join(f"{name} at batch {', '.join(batches)}" for name, batches in full.items() if batches)
    return [f"These cells are predicted although they exceed the assumed GPU memory: {cells}."] if cells else []


def table5(results: Results) -> Table:
    """Return Table 5 of the paper, with every assumption of the prediction in the notes."""
    tables, rows = table5_rows(results)
    first = tables["plain"].rows[0]
    depths = ", ".join(f"{percent(error)} with {n}" for n, error in scylla_errors(results, rows).items())
    ranges = any(row[f"{method}_range"] for row in rows for method in METHODS)
    return Table(
        "table5",
        "Table 5: throughput of Qwen2.5-72B on 4x H800, reported and predicted",
        _columns(rows),
        rows,
        joined({"reported": "published (secondary)", "predicted": ", ".join(tables["plain"].levels())}),
        commits(tables.values()),
        sources=[row["source"] for row in published.rows("table5")],
        notes=[
            _error_note(rows),
            f"Assumed for all: {first['tp']} x {first['hardware']}, {first['precision']}, {first['context_len']} "
            f"tokens of context, engine {first['engine']}. The paper does not print the context; the slope of its "
            "plain column suggests this value.",
            *(text for method, table in tables.items() if (text := _draft_note(method, table))),
            "Decoder layers of Scylla's draft: the paper does not state them, and 1 is assumed. Mean error: "
            f"{depths}.",
            *_memory_notes(tables),
            *(
                ["Range: throughput with the lowest and the highest tokens per cycle of the published targets."]
                if ranges
                else []
            ),
        ],
    )


def table5_ablation(results: Results) -> Table:
    """Return the predicted gains over EAGLE-2 of Scylla's acceptance alone and of its smaller tree alone."""
    tables = {name: results.table(f"steps/table5-{name}.json") for name in VARIANTS}
    rates = {
        name: dict(zip(table.column("batch_size"), table.column("tokens_per_s"))) for name, table in tables.items()
    }
    nodes = dict(zip(tables["scylla"].column("batch_size"), tables["scylla"].column("verify_tokens")))
    rows: list[Row] = []
    for batch, base in rates["eagle2"].items():
        row: Row = {"batch_size": batch, "verify_tokens": nodes.get(batch)}
        for name, rate in rates.items():
            if batch not in rate:
                path = tables[name].path
                raise fail("batch_size", batch, f"has no row in {path}", make_again(path))
            row[name] = rate[batch]
        row |= {
            "acceptance_gain": row["scylla-large-tree"] / base,
            "tree_gain": row["eagle2-small-tree"] / base,
            "gain": row["scylla"] / base,
        }
        rows.append({**row, "evidence": ", ".join(tables["scylla"].levels())})
    return Table(
        "table5-ablation",
        "Predicted gain of Scylla over EAGLE-2 in Table 5, by acceptance and by tree size",
        (
            Column("batch_size", "batch", digits=0),
            Column("verify_tokens", "k_opt(b) + 1", digits=0),
            *(Column(name, title, "tokens/s", digits=0) for name, title in VARIANTS.items()),
            Column("acceptance_gain", "gain of acceptance alone", "x", digits=2),
            Column("tree_gain", "gain of the tree alone", "x", digits=2),
            Column("gain", "gain of both", "x", digits=2),
            EVIDENCE,
        ),
        rows,
        joined({"all columns": ", ".join(tables["scylla"].levels())}),
        commits(tables.values()),
        sources=[row["source"] for row in published.rows("mean_acceptance", paper="scylla")],
        notes=[
            "Acceptance: mean tokens per cycle over the published targets, converted to the tree of the column."
        ],
    )
