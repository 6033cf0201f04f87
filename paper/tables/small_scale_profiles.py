"""Table ``small-scale-profiles``: trees predicted from rank profiles that move with tokens and layers."""

from __future__ import annotations

from typing import Any

from paper.render.table import EVIDENCE, Column, Table
from paper.render.values import joined
from paper.sources.results import Results, commits
from paper.tables.small_scale import RUNS, law_path
from scylla_sim.records import Row

PATH = law_path("profiles", "long")
"""Result file of the scores."""
_NAMES = {
    "own": "its own measured profile",
    "nearest": "profile of the nearest draft",
    "iid": "one rate at all positions, default rank law",
    "sum": "shift a t + b d",
    "interaction": "shift a t + b d + e t d",
    "curved": "shift a t + g t² + b d + e t d",
    "power": "shift -a T^-p + b d",
    "power-interaction": "shift -a T^-p + b d - e T^-p d",
    "by-rank": "shift -a[r] T^-p + b[r] d - e[r] T^-p d",
    "moved": "one number per depth",
    "not moved": "profile of all domains at temperature 0",
}
_KINDS = {"training": "tokens and layers", "domain": "domain", "temperature": "temperature"}


def shown(row: Row) -> bool:
    """Return whether the table shows a row: iid, and profiles with side branches, or the own one without."""
    return bool(row["side_branches"]) or row["prediction"] in ("own", "iid")


def _row(row: Row) -> dict[str, Any]:
    kept = ("temperature", "domain", "held_out", "n", "median", "p90", "bias", "evidence")
    name = _NAMES.get(row["prediction"], row["prediction"])
    plain = row["prediction"] == "own" and not row["side_branches"]
    return {
        "moves": _KINDS[row["kind"]],
        **{key: row[key] for key in kept},
        "prediction": f"{name}, side branches as the main chain" if plain else name,
    }


def profiles(results: Results) -> Table:
    """Return the errors of trees by test and prediction."""
    table = results.table(PATH)
    fits = {row["temperature"]: row for row in table.rows if row["kind"] == "training"}
    first = next(iter(fits.values()))
    return Table(
        "small-scale-profiles",
        "Trees of 16 to 60 nodes predicted from rank profiles that move with training tokens and layers",
        (
            Column("moves", "what moves the profile"),
            Column("temperature", "temperature", digits=0),
            Column("domain", "text"),
            Column("held_out", "held out"),
            Column("prediction", "prediction"),
            Column("n", "trees", digits=0),
            Column("median", "median error", "%", scale=100, digits=1),
            Column("p90", "90th percentile", "%", scale=100, digits=1),
            Column("bias", "bias", "%", scale=100, digits=1, signed=True),
            EVIDENCE,
        ),
        [_row(row) for row in table.rows if shown(row)],
        joined({"tokens per cycle": "small-scale", "fits": "of small-scale points"}),
        commits([table]),
        notes=[
            f"Training: {RUNS['long']}. T in units of {first['unit']:,.0f} tokens, t = ln T, d = ln D. Every depth "
            "has its own slopes, which its ranks share unless the formula names r. The exponent p is fitted too.",
            "Held out, tokens and layers: no draft of the fit has the tokens or the layers of the predicted "
            f"draft. The corner has more than {first['fitted_tokens']:,.0f} tokens and "
            f"{first['fitted_layers']:.0f} layers.",
            "In a side branch, the log-odds fall by one number. Fitted to all drafts, it is "
            + ", ".join(f"{row['branch_shift']:.2f} at temperature {t}" for t, row in sorted(fits.items()))
            + "; the tests fit it to the drafts of their fit.",
            "Domains and temperature: one number per depth is fitted at few tokens and scored at many. The tokens "
            "and layers of these drafts are known, so this is a test of the number alone.",
        ],
    )
