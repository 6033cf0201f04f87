"""Table ``fig5``: throughput by verified paths, roofline curves compared with the digitised ones."""

from __future__ import annotations

from paper.render.table import EVIDENCE, Column, Table, percent_column
from paper.render.values import joined, mean
from paper.sources import published
from paper.sources.results import Results, ResultTable, command_of, commits, value
from scylla_sim.records import Row

CONSTANTS = {"paper": "paper's constants", "dense": "dense peak"}
"""Constants of the roofline in file names -> their name in tables. The dense peak is that of the datasheet."""


def curve_errors(table: ResultTable) -> dict[float, Row]:
    """Return the errors of the curves of a file by batch.

    Returns
    -------
    dict
        Batch -> mean error, number of compared points, best k and highest throughput in tokens/s.
    """
    reported = {(row["batch_size"], row["k"]): row["tokens_per_s"] for row in published.rows("fig5_curves")}
    curves: dict[float, dict[float, float]] = {}
    for row in table.rows:
        batch = float(value(row, "batch_size", table.path))
        curves.setdefault(batch, {})[float(row["k"])] = float(value(row, "tokens_per_s", table.path))
    found: dict[float, Row] = {}
    for batch, curve in curves.items():
        errors = [abs(y / reported[batch, k] - 1) for k, y in curve.items() if (batch, k) in reported]
        if errors:
            best = max(curve, key=lambda k: curve[k])
            found[batch] = {"error": mean(errors), "points": len(errors), "k": best, "tokens_per_s": curve[best]}
    return found


def fig5(results: Results) -> Table:
    """Return errors of the roofline curves of Fig. 5, with the paper's constants and with the dense peak."""
    files = {name: results.table(f"steps/fig5-curves-{name}.json") for name in CONSTANTS}
    found = {name: curve_errors(table) for name, table in files.items()}
    peaks = published.series("fig5_max_throughput", "batch_size", "tokens_per_s")
    best = published.series("fig5_turning_points", "batch_size", "k_opt")
    rows: list[Row] = []
    for batch in sorted(found["paper"]):
        row: Row = {"batch_size": int(batch), "k": best.get(batch), "tokens_per_s": peaks.get(batch)}
        for name, errors in found.items():
            mine = errors.get(batch, {})
            row |= {f"{name}_{key}": mine.get(key) for key in ("error", "k", "tokens_per_s")}
        rows.append({**row, "evidence": "published, theory"})
    columns = [
        Column("batch_size", "batch", digits=0),
        Column("k", "Fig. 5: best k", digits=0),
        Column("tokens_per_s", "highest", "tokens/s", digits=0),
    ]
    for name, title in CONSTANTS.items():
        columns += [
            percent_column(f"{name}_error", f"{title}: mean error"),
            Column(f"{name}_k", "best k", digits=0),
            Column(f"{name}_tokens_per_s", "highest", "tokens/s", digits=0),
        ]
    return Table(
        "fig5",
        "Fig. 5: throughput by verified paths, roofline compared with the digitised curves",
        [*columns, EVIDENCE],
        rows,
        joined({"Fig. 5": "published (digitised within 5 tokens/s)", "predicted": "theory"}),
        commits(files.values()),
        sources=[row["source"] for row in published.rows("fig5_curves")],
        notes=[
            "tau(k) is read from one curve, the reference batch of the commands below. The error of that curve is "
            "therefore zero; the other curves are predicted.",
            "At batch 1, digitising alone causes an error of 5 to 15 %, so that curve is not judged.",
            *(f"Command for the {title}: {command_of(files[name])}" for name, title in CONSTANTS.items()),
        ],
    )
