"""Tables ``theorem-1.3*``: the best number of verified paths, where verification becomes compute-bound."""

from __future__ import annotations

import math
from typing import Any

from paper.render.table import EVIDENCE, Column, Table, percent_column
from paper.render.values import joined, percent
from paper.sources import published
from paper.sources.results import Results, ResultTable, command_of, commits, value
from paper.tables.fig5 import CONSTANTS, curve_errors
from paper.tables.law_fits import coefficients, log_law
from scylla_sim.records import Row

_MEASURED = {"dspark": "short context", "magicdec": "long context, four systems"}
"""Series in ``optimal_draft_len.csv`` to which a law is fitted -> description."""


def quoted_optimum(batch: float) -> float:
    """Return the best number of paths by Theorem 1.3 as quoted.

    Examples
    --------
    >>> round(quoted_optimum(8), 1)
    66.2
    """
    law = published.quoted("1.3")
    return law["scale"] * math.sqrt(1 + law["ratio"] / batch) - law["offset"]


def by_batch(table: ResultTable, key: str) -> dict[float, Any]:
    """Return one column of a result file by batch size."""
    return dict(zip(map(float, table.column("batch_size")), table.column(key)))


def _error(predicted: float | None, reported: float | None) -> float | None:
    """Return the signed relative error, or ``None`` if a value is unknown."""
    return None if predicted is None or reported is None else predicted / reported - 1


def theorem_1_3(results: Results) -> Table:
    """Return the compute-bound crossover of verification: digitised, by the quoted formula, and predicted."""
    files = {name: results.table(f"steps/fig5-{name}.json") for name in CONSTANTS}
    k_opt = {name: by_batch(table, "k_opt") for name, table in files.items()}
    rows: list[Row] = []
    for point in published.rows("fig5_turning_points"):
        batch = point["batch_size"]
        known = point["k_opt"] if point["inside"] == "yes" else None
        row: Row = {
            "batch_size": int(batch),
            "digitised": f"{point['k_opt']:g}" if known else f"≥ {point['k_opt']:g}",
            "quoted": quoted_optimum(batch),
            "quoted_error": _error(quoted_optimum(batch), known),
        }
        for name, curve in k_opt.items():
            row |= {name: curve.get(batch), f"{name}_error": _error(curve.get(batch), known)}
        rows.append({**row, "evidence": "published, theory"})
    columns = [Column("batch_size", "batch", digits=0), Column("digitised", "Fig. 5", "k")]
    titles = {"quoted": "quoted formula", **{name: f"predicted, {title}" for name, title in CONSTANTS.items()}}
    for name, title in titles.items():
        columns += [
            Column(name, title, "k", digits=1),
            percent_column(f"{name}_error", "error", digits=0, signed=True),
        ]
    return Table(
        "theorem-1.3",
        "Theorem 1.3: compute-bound crossover of verification in paths k, Qwen2.5-72B on one GPU with 10K input",
        [*columns, EVIDENCE],
        rows,
        joined({"Fig. 5 and quoted formula": "published", "predicted": "theory"}),
        commits(files.values()),
        sources=[row["source"] for row in published.rows("fig5_turning_points")],
        notes=[
            "Fig. 5 ends at k = 80, where the curves of batch 1 and 4 still rise. Their values are lower bounds "
            "and have no error.",
            *(f"Command for the {title}: {command_of(files[name])}" for name, title in CONSTANTS.items()),
        ],
    )


def theorem_1_3_forms(results: Results) -> Table:
    """Return forms fitted to the crossovers and to the highest throughputs of Fig. 5: logarithm or 1/b."""
    inverse = results.table("laws/theorem-1.3-inverse.json")
    optimum = results.table("laws/theorem-1.3.json")
    throughput = results.table("laws/theorem-1.3-throughput.json")
    named = (
        ("best k", inverse, "with x = 1/batch"),
        ("best k", optimum, "with x = batch"),
        ("highest tokens/s", throughput, "with x = batch"),
    )
    rows = [
        {
            "quantity": quantity,
            "law": f"{row['form']} ({row['formula']}) {x}",
            "coefficients": coefficients(row),
            "r2": value(row, "r2", laws.path),
            "loo_rmse": row.get("loo_rmse"),
            "evidence": row.get("evidence"),
        }
        for quantity, laws, x in named
        for row in laws.rows
        if row.get("converged") and row.get("loo_rmse") is not None
    ]
    return Table(
        "theorem-1.3-forms",
        "Theorem 1.3: forms fitted to the crossovers and to the highest throughputs of Fig. 5 (batch 8 to 64)",
        (
            Column("quantity", "quantity"),
            Column("law", "law"),
            Column("coefficients", "coefficients ± standard error"),
            Column("r2", "R²", digits=4),
            Column("loo_rmse", "leave-one-out RMSE", digits=1),
            EVIDENCE,
        ),
        rows,
        joined({"points": "published (digitised)", "fits": "of published points"}),
        commits([inverse, optimum, throughput]),
        sources=[row["source"] for row in published.rows("fig5_turning_points")],
        notes=[
            "Forms with three parameters are left out, because four points do not determine them.",
            *_throughput_notes(results),
        ],
    )


def _throughput_notes(results: Results) -> list[str]:
    """Return how well the quoted logarithm and the roofline describe the highest throughputs of Fig. 5."""
    quoted = published.quoted("1.3-throughput")
    peaks = published.series("fig5_max_throughput", "batch_size", "tokens_per_s", inside="yes")
    worst = max(abs(log_law(quoted, b) / y - 1) for b, y in peaks.items())
    smallest = published.rows("fig5_max_throughput")[0]
    curves = curve_errors(results.table("steps/fig5-curves-paper.json"))
    roof = max(abs(curves[b]["tokens_per_s"] / y - 1) for b, y in peaks.items() if b in curves)
    return [
        f"The quoted throughput law {quoted['slope']:g} ln b + {quoted['intercept']:g} is within "
        f"{percent(worst, 0)} of the digitised maxima for batch 8 to 64. At batch {smallest['batch_size']:g} it "
        f"gives {log_law(quoted, smallest['batch_size']):.1f}, and the figure shows at least "
        f"{smallest['tokens_per_s']:g}.",
        "A roofline gives no logarithm. At the crossover a step still takes its memory time, so the highest "
        f"throughput is b tau(k(b)) / memory time. This is within {percent(roof, 0)} of the maxima and levels off "
        "when the KV cache outgrows the weights.",
    ]


def theorem_1_3_measured(results: Results) -> Table:
    """Return the best draft length on measured throughput, fitted with ln b and with 1/b."""
    rows: list[Row] = []
    tables = []
    for series, what in _MEASURED.items():
        points = published.rows("optimal_draft_len", series=series)
        for path, x in ((f"laws/optimum-{series}", "ln b"), (f"laws/optimum-{series}-inverse", "1/b")):
            laws = results.table(f"{path}.json")
            tables.append(laws)
            row = laws.rows[0]
            rows.append(
                {
                    "series": f"{series}: {what}",
                    "points": len(points),
                    "range": f"{min(p['k_opt'] for p in points):g} to {max(p['k_opt'] for p in points):g}",
                    "x": x,
                    "slope": value(row, "a", laws.path),
                    "interval": f"{row['a_lower']:.3g} to {row['a_upper']:.3g}",
                    "r2": row.get("r2_within", row["r2"]),
                    "evidence": row.get("evidence"),
                }
            )
    flat = published.rows("optimal_draft_len", series="gpt-oss")
    return Table(
        "theorem-1.3-measured",
        "Theorem 1.3 on measured throughput: best chain length by batch",
        (
            Column("series", "series"),
            Column("points", "points", digits=0),
            Column("range", "best length"),
            Column("x", "x"),
            Column("slope", "slope", digits=3),
            Column("interval", "90 % interval"),
            Column("r2", "R²", digits=3),
            EVIDENCE,
        ),
        rows,
        joined({"points": "published", "fits": "of published points"}),
        commits(tables),
        sources=[row["source"] for row in published.rows("optimal_draft_len")],
        notes=[
            "The tokens of a chain are drafted one after another, so its best length changes much less than the "
            "crossover of verification. With long contexts, where reading the KV cache dominates, it rises with "
            "the batch.",
            f"{flat[0]['case']} stays at {flat[0]['k_opt']:g}, the shortest length tried, for batch "
            f"{flat[0]['batch_size']:g} to {flat[-1]['batch_size']:g}. This is an upper bound and is not fitted.",
            "The points cannot decide between ln b and 1/b: there are six and twelve, and all are small whole "
            "numbers.",
        ],
    )
