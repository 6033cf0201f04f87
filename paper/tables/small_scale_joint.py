"""Table ``small-scale-joint``: laws of tokens and layers together, with their tests of extrapolation."""

from __future__ import annotations

from typing import Any

from paper.render.table import EVIDENCE, Column, Table
from paper.render.values import joined
from paper.sources.results import Results, commits
from paper.tables.small_scale import RUNS, laws
from scylla_sim.records import Row


def _row(run: str, law: Row) -> Row:
    """Return the row of one law of a training run; errors are those of the mean curve over the seeds."""
    row: dict[str, Any] = {"run": RUNS[run], "seeds": int(law.get("replicates") or 1)}
    row |= {name: law.get(name) for name in ("form", "formula", "n", "r2", "delta_aicc", "loo_rmse")}
    row |= {name: law.get(name) for name in ("corner_n", "corner_error", "corner_bias", "more_tokens_error")}
    low, high = (law.get(f"corner_error_replicates_{end}") for end in ("lower", "upper"))
    if low is not None and high is not None:
        row |= {"corner_error_lower": max(low, 0.0), "corner_error_upper": high}
    return {**row, "evidence": law.get("evidence")}


def joint(results: Results) -> Table:
    """Return the joint laws of every training run, best AICc first."""
    tables, rows, corners = [], [], []
    for run, table in laws(results, "joint"):
        tables.append(table)
        rows += [_row(run, law) for law in table.rows if law["converged"]]
        first = next((law for law in table.rows if "fitted_tokens" in law), None)
        if first:
            corners.append(
                f"Training: {RUNS[run]}. The corner has more than {first['fitted_tokens']:,.0f} tokens and "
                f"{first['fitted_layers']:.0f} layers."
            )
    return Table(
        "small-scale-joint",
        "Theorems 1.1 and 1.2 together on trained drafts: laws of training tokens and decoder layers",
        (
            Column("run", "training"),
            Column("form", "law"),
            Column("formula", "formula"),
            Column("n", "points", digits=0),
            Column("seeds", "seeds", digits=0),
            Column("r2", "R²", digits=3),
            Column("delta_aicc", "ΔAICc", digits=1),
            Column("loo_rmse", "error at a left-out point", digits=3),
            Column("corner_n", "points of the corner", digits=0),
            Column("corner_error", "error in the corner", digits=3),
            Column("corner_error_lower", "lower end over seeds", digits=3),
            Column("corner_error_upper", "upper end over seeds", digits=3),
            Column("corner_bias", "bias in the corner", digits=3),
            Column("more_tokens_error", "error at more tokens", digits=3),
            EVIDENCE,
        ),
        rows,
        joined({"tokens per cycle": "small-scale", "fits": "of small-scale points"}),
        commits(tables),
        notes=[
            "t = ln(T / T0) with the smallest T as T0, d = ln D. A law of the rate gives tau as that of a chain "
            "with one acceptance rate, so it cannot exceed the longest cycle.",
            "Errors are in tokens per cycle. In the corner, a law is fitted to drafts with at most as many tokens "
            "and layers, and scored where both are larger. At more tokens, it is fitted to all layers.",
            "Fits use the mean over the seeds; the ends over seeds are a 90 % Student-t interval of the same error "
            "of single seeds. All points of a run have the same target.",
            *corners,
        ],
    )
