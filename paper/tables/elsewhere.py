"""Tables of laws fitted to points of other papers.

``layers-elsewhere``, ``data-elsewhere`` and ``epochs-elsewhere`` repeat Theorems 1.1 and 1.2 on drafts of other
authors. ``positions``, ``positions-by-series`` and ``ranks`` show acceptance by draft position and by rank.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from paper.render.table import EVIDENCE, Column, Table
from paper.render.values import joined
from paper.sources import published
from paper.sources.results import Results, commits
from paper.tables.law_fits import LAW_COLUMNS, RIVAL_MARGIN, form, law_rows, slopes_note
from scylla_sim.records import Row


def verdict(rows: Sequence[Row]) -> str:
    """Return whether ln x holds, another form is better, or the points cannot decide.

    Parameters
    ----------
    rows : sequence of Row
        Converged forms of one fit with ``form`` and ``delta_aicc``, and the slope interval of the log-linear form.
    """
    by_aicc = {row["form"]: row["delta_aicc"] for row in rows if row.get("delta_aicc") is not None}
    best = min(by_aicc, key=lambda name: by_aicc[name])
    near = [name for name, delta in by_aicc.items() if delta <= RIVAL_MARGIN and name != best]
    behind = by_aicc.get("log-linear", math.inf)
    line = next((row for row in rows if row["form"] == "log-linear"), None)
    if line and line["a_lower"] <= 0.0 <= line["a_upper"] and behind <= RIVAL_MARGIN:
        return "No trend: the slope interval of ln x contains 0, and no other form is better."
    if best == "log-linear" and not near:
        return "Log-linear is the best form, and the points separate it from every other form."
    if behind <= RIVAL_MARGIN:
        others = ", ".join(name for name in (best, *near) if name != "log-linear")
        return f"Log-linear holds, but the points cannot separate it from {others}."
    return f"Log-linear does not hold: {best} is better by {behind:.0f} AICc."


def _elsewhere(results: Results, name: str, series: str, title: str, note: str) -> Table:
    """Return a table of forms with one slope for all series of a published file and an offset for each."""
    laws = results.table(f"laws/{name}.json")
    known = published.rows(series)
    several = len({row["series"] for row in known}) > 1
    within = {f"{row['form']}: {row['formula']}": row.get("r2_within", row.get("r2")) for row in laws.rows}
    rows = [{**row, "r2": within[row["law"]]} for row in law_rows(laws)]
    titles = {"r2": "R² within a series", "loo_rmse": "leave-one-out RMSE"}
    columns = [replace(column, heading=titles.get(column.key, column.heading), unit="") for column in LAW_COLUMNS]
    return Table(
        name,
        title,
        [column for column in columns if any(row.get(column.key) is not None for row in rows)],
        rows,
        joined({"points": "published", "fits": "of published points"}),
        commits([laws]),
        sources=[row["source"] for row in known],
        notes=[
            verdict([row for row in laws.rows if row.get("converged")]),
            *(slopes_note(row) for row in laws.rows if several and row is form(laws, "log-linear")),
            f"{len({row['series'] for row in known})} series, {len(known)} points. {note} The fitted offset of "
            "each series is not shown.",
        ],
    )


def layers_elsewhere(results: Results) -> Table:
    """Return Theorem 1.2 on drafts that others trained."""
    return _elsewhere(
        results,
        "layers-elsewhere",
        "capacity_layers",
        "Theorem 1.2 in other papers: tokens per cycle by decoder layers of the draft",
        "A series is one draft on one task.",
    )


def data_elsewhere(results: Results) -> Table:
    """Return Theorem 1.1 on the training data of EAGLE and EAGLE-3, for acceptance rates."""
    return _elsewhere(
        results,
        "data-elsewhere",
        "capacity_data",
        "Theorem 1.1 in other papers: acceptance rate by scale of the training data, EAGLE and EAGLE-3",
        "x is relative to the smallest training set.",
    )


def epochs_elsewhere(results: Results) -> Table:
    """Return Theorem 1.1 on repeated passes over one data set, where acceptance decreases in the end."""
    return _elsewhere(
        results,
        "epochs-elsewhere",
        "capacity_epochs",
        "Theorem 1.1 in other papers: tokens per cycle by epochs over one data set, an EAGLE-3 head",
        "The points span 0.8 to 10 epochs, and the training loss decreases throughout.",
    )


def positions(results: Results) -> Table:
    """Return forms of the conditional acceptance rate by position in the chain."""
    return _elsewhere(
        results,
        "positions",
        "rates_by_position",
        "Conditional acceptance rate by position of the drafted token",
        "A series is one draft on one task. All series share one slope, whether or not they were trained alike.",
    )


def ranks(results: Results) -> Table:
    """Return forms of the probability that the target's token is among the first r choices of a draft."""
    return _elsewhere(
        results,
        "ranks",
        "rank_accuracy",
        "Accuracy of the first r choices of a draft by r: Medusa heads and Sequoia",
        "The default rank law of trees has another form: the odds of the first r choices grow as r^0.675.",
    )


def positions_by_series(results: Results) -> Table:
    """Return the slope of the conditional acceptance rate for each draft and task."""
    laws = results.table("laws/positions.json")
    pooled = form(laws, "log-linear")
    rows: list[Row] = []
    for key in pooled or {}:
        if pooled is None or not key.startswith("a[series=") or not key.endswith("]"):
            continue
        low, high = pooled[f"{key}_lower"], pooled[f"{key}_upper"]
        rows.append(
            {
                "series": key.removeprefix("a[series=").removesuffix("]"),
                "slope": pooled[key],
                "interval": f"{low:+.3f} to {high:+.3f}",
                "trend": "falls" if high < 0 else "rises" if low > 0 else "cannot tell",
                "evidence": pooled.get("evidence"),
            }
        )
    known = published.rows("rates_by_position")
    count = {trend: sum(row["trend"] == trend for row in rows) for trend in ("falls", "rises", "cannot tell")}
    return Table(
        "positions-by-series",
        "Conditional acceptance rate by ln position, one slope for each draft and task",
        (
            Column("series", "series"),
            Column("slope", "slope per ln", digits=3, signed=True),
            Column("interval", "90 % interval"),
            Column("trend", "trend"),
            EVIDENCE,
        ),
        rows,
        joined({"points": "published", "slopes": "of published points"}),
        commits([laws]),
        sources=[row["source"] for row in known],
        notes=[
            f"Acceptance falls with the position in {count['falls']} of {len(rows)} series and rises in "
            f"{count['rises']}. In {count['cannot tell']} series, the points cannot decide.",
            *([slopes_note(pooled)] if pooled else []),
            "A rate can rise with the position, because deep positions are reached in easy text only.",
        ],
    )
