"""Tables of Theorems 1.1 and 1.2: refits beside the quoted coefficients and rival forms."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from paper.render.table import Column, Table, joined, mean, percent
from paper.sources import published
from paper.sources.inputs import how_to_make
from paper.sources.results import Results, commits, value
from paper.sources.results import Table as ResultTable
from scylla_sim.records import Row

RIVAL_MARGIN = 2.0
"""AICc within which two forms cannot be told apart (Burnham and Anderson 2002, section 2.6)."""


def law_table(results: Results, path: str) -> ResultTable:
    """A file of ``scylla-sim laws``; the converged forms come first, best AICc first, as written."""
    return results.table(path, how_to_make(path))


def form(laws: ResultTable, name: str) -> Row | None:
    """The row of a form, or nothing when the file lacks it or the fit did not converge."""
    return next((row for row in laws.rows if row.get("form") == name and row.get("converged")), None)


def parameters(row: Row) -> dict[str, float]:
    """Fitted parameters of a law: the keys with a standard error, without offsets of factors (``task=...``)."""
    return {key: float(row[key]) for key in row if f"{key}_stderr" in row and "=" not in key}


def significant(number: float, digits: int) -> str:
    """A number with so many significant digits and no exponent.

    Examples
    --------
    >>> significant(154.4, 2), significant(0.002275, 2)
    ('154', '0.0023')
    """
    if number == 0:
        return "0"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(number))))
    return f"{number:.{decimals}f}"


def coefficients(row: Row) -> str:
    """``a = 0.0645 ± 0.0104, c = 5.142 ± 0.029``: value and standard error."""
    return ", ".join(
        f"{key} = {significant(number, 4)} ± {significant(float(row[f'{key}_stderr']), 2)}"
        for key, number in parameters(row).items()
    )


def holds(row: Row, name: str, quoted: float) -> bool:
    """Does the interval of a parameter contain a quoted value?"""
    return bool(row[f"{name}_lower"] <= quoted <= row[f"{name}_upper"])


def log_law(coefficient: Mapping[str, float], x: float) -> float:
    """A quoted logarithmic law at x; the logarithm is natural."""
    return coefficient["slope"] * math.log(x) + coefficient["intercept"]


def r_squared(observed: Mapping[float, float], predicted: Mapping[float, float]) -> float:
    """Share of variance that a given law, not fitted here, explains; negative when the mean does better."""
    centre = mean(list(observed.values()))
    rest = sum((y - predicted[x]) ** 2 for x, y in observed.items())
    return 1 - rest / sum((y - centre) ** 2 for y in observed.values())


_LAW_COLUMNS = (
    Column("law", "law"),
    Column("points", "points", digits=0),
    Column("coefficients", "coefficients ± standard error"),
    Column("r2", "R²", digits=3),
    Column("delta_aicc", "ΔAICc", digits=1),
    Column("loo_rmse", "leave-one-out RMSE", "tokens/cycle", digits=3),
    Column("evidence", "evidence"),
)


def _law_rows(laws: ResultTable, suffix: str = "") -> list[Row]:
    return [
        {
            "law": f"{row['form']}: {row['formula']}{suffix}",
            "points": value(row, "n", laws.path),
            "coefficients": coefficients(row),
            "r2": value(row, "r2", laws.path),
            "delta_aicc": row.get("delta_aicc"),
            "loo_rmse": row.get("loo_rmse"),
            "evidence": row.get("evidence"),
        }
        for row in laws.rows
        if row.get("converged")
    ]


def _quoted_row(theorem: str, points: Mapping[float, float]) -> Row:
    quoted = published.quoted(theorem)
    return {
        "law": f"quoted: {quoted['slope']:g} ln x + {quoted['intercept']:g}",
        "points": len(points),
        "coefficients": f"a = {quoted['slope']:g}, c = {quoted['intercept']:g}",
        "r2": r_squared(points, {x: log_law(quoted, x) for x in points}),
        "delta_aicc": None,
        "loo_rmse": None,
        "evidence": "published",
    }


def interval_note(row: Row, name: str, what: str, quoted: float) -> str:
    """One line: does the refit's interval contain the quoted value?"""
    verdict = "inside" if holds(row, name, quoted) else "outside"
    return (
        f"The quoted {what} {quoted:g} lies {verdict} the refit's {percent(row['level'], 0)} interval "
        f"[{row[f'{name}_lower']:.4g}, {row[f'{name}_upper']:.4g}] of the {row['form']} form."
    )


def _largest_miss(theorem: str, points: Mapping[float, float]) -> str:
    quoted = published.quoted(theorem)
    x = max(points, key=lambda at: abs(log_law(quoted, at) - points[at]))
    return (
        f"The quoted law misses the labels by up to {abs(log_law(quoted, x) - points[x]):.2f} tokens/cycle "
        f"(at x = {x:g}: {log_law(quoted, x):.2f} against {points[x]:.2f})."
    )


def theorem_1_1(results: Results) -> Table:
    """Tokens per cycle against pretraining tokens: the quoted law, the refits and their rivals."""
    laws = law_table(results, "laws/theorem-1.1.json")
    zero = law_table(results, "laws/theorem-1.1-zero.json")
    points = published.series("fig1_tokens", "pretrain_tokens_b", "tokens_per_cycle", pretrained="yes")
    quoted = published.quoted("1.1")
    notes = [
        "x: pretraining tokens in billions; ln is natural. R² of the quoted row: against the same labels. AICc "
        "compares rows with the same number of points only.",
        f"R² printed in Fig. 1: {quoted['r2']:g}.",
    ]
    for source, name in ((laws, "log-linear"), (zero, "log1p")):
        row = form(source, name)
        if row is not None:
            notes += [interval_note(row, "a", "slope", quoted["slope"])]
            notes += [interval_note(row, "c", "intercept", quoted["intercept"])]
    return Table(
        "theorem-1.1",
        "Theorem 1.1: tokens per cycle against pretraining tokens (Fig. 1 left, Vicuna-7B)",
        _LAW_COLUMNS,
        [_quoted_row("1.1", points), *_law_rows(laws), *_law_rows(zero, " (with the zero-token point)")],
        joined({"labels and quotation": "published", "refits": "of published labels"}),
        commits([laws, zero]),
        sources=[
            row["source"] for row in (*published.rows("fig1_tokens"), *published.rows("theorems", theorem=1.1))
        ],
        notes=notes,
    )


def theorem_1_2(results: Results) -> Table:
    """Tokens per cycle against decoder layers: the quoted pair does not reproduce the paper's own labels."""
    laws = law_table(results, "laws/theorem-1.2.json")
    points = published.series("fig1_layers", "decoder_layers", "tokens_per_cycle")
    quoted = published.quoted("1.2")
    notes = [
        "x: decoder layers of the draft; ln is natural. R² of the quoted row: against the same labels.",
        f"R² printed in Fig. 1: {quoted['r2']:g}. Four points cannot separate forms with three parameters.",
        _largest_miss("1.2", points),
    ]
    row = form(laws, "log-linear")
    if row is not None:
        notes += [interval_note(row, "a", "slope", quoted["slope"])]
        notes += [interval_note(row, "c", "intercept", quoted["intercept"])]
    return Table(
        "theorem-1.2",
        "Theorem 1.2: tokens per cycle against decoder layers of the draft (Fig. 1 right, Vicuna-7B)",
        [column for column in _LAW_COLUMNS if column.key != "delta_aicc"],
        [_quoted_row("1.2", points), *_law_rows(laws)],
        joined({"labels and quotation": "published", "refits": "of published labels"}),
        commits([laws]),
        sources=[
            row["source"] for row in (*published.rows("fig1_layers"), *published.rows("theorems", theorem=1.2))
        ],
        notes=notes,
    )


def _verdict(rows: Sequence[Row]) -> str:
    """Does ln x hold, does a rival win, or can the points not tell?"""
    by_aicc = {row["form"]: row["delta_aicc"] for row in rows if row.get("delta_aicc") is not None}
    best = min(by_aicc, key=lambda name: by_aicc[name])
    near = [name for name, delta in by_aicc.items() if delta <= RIVAL_MARGIN and name != best]
    behind = by_aicc.get("log-linear", math.inf)
    line = next((row for row in rows if row["form"] == "log-linear"), None)
    if line and line["a_lower"] <= 0.0 <= line["a_upper"] and behind <= RIVAL_MARGIN:
        return "No trend: the interval of the slope of ln x contains 0, and no other form is better."
    if best == "log-linear" and not near:
        return "Log-linear is the best form, and the points tell it from every other."
    if behind <= RIVAL_MARGIN:
        others = ", ".join(name for name in (best, *near) if name != "log-linear")
        return f"Log-linear holds, but the points cannot tell it from {others}."
    return f"Log-linear does not hold: {best} is better by {behind:.0f} AICc."


def slopes_note(row: Row) -> str:
    """Is one slope for all series right, or do the series have slopes of their own?"""
    own, common = row.get("separate_slopes_aicc"), row.get("aicc")
    if own is None or common is None:
        return "The points do not allow a slope per series."
    if own < common - RIVAL_MARGIN:
        return (
            f"The series do not share one slope: a slope each is better by {common - own:.0f} AICc ({row['form']})."
        )
    return f"One slope serves all series: a slope each is worse by {own - common:.0f} AICc ({row['form']})."


def _elsewhere(results: Results, name: str, series: str, title: str, note: str) -> Table:
    """One slope for all series of other people's points, an offset each."""
    laws = law_table(results, f"laws/{name}.json")
    several = len({row["series"] for row in published.rows(series)}) > 1
    within = {f"{row['form']}: {row['formula']}": row.get("r2_within", row.get("r2")) for row in laws.rows}
    rows = [{**row, "r2": within[row["law"]]} for row in _law_rows(laws)]
    known = published.rows(series)
    titles = {"r2": "R² within a series", "loo_rmse": "leave-one-out RMSE"}
    columns = [replace(column, heading=titles.get(column.key, column.heading), unit="") for column in _LAW_COLUMNS]
    return Table(
        name,
        title,
        [column for column in columns if any(row.get(column.key) is not None for row in rows)],
        rows,
        joined({"points": "published", "fits": "of published points"}),
        commits([laws]),
        sources=[row["source"] for row in known],
        notes=[
            _verdict([row for row in laws.rows if row.get("converged")]),
            *(slopes_note(row) for row in laws.rows if several and row is form(laws, "log-linear")),
            f"{len({row['series'] for row in known})} series, {len(known)} points; {note}. Fitted offsets of the "
            "series are not shown.",
        ],
    )


def layers_elsewhere(results: Results) -> Table:
    """Theorem 1.2 on drafts that others trained."""
    return _elsewhere(
        results,
        "layers-elsewhere",
        "capacity_layers",
        "Theorem 1.2 elsewhere: tokens per cycle against decoder layers of drafts trained by others",
        "a draft on a task each",
    )


def data_elsewhere(results: Results) -> Table:
    """Theorem 1.1 on training data of other drafts: EAGLE and EAGLE-3, acceptance rate instead of tokens."""
    return _elsewhere(
        results,
        "data-elsewhere",
        "capacity_data",
        "Theorem 1.1 elsewhere: acceptance rate against the scale of the training data, EAGLE and EAGLE-3",
        "x is relative to the smallest training set",
    )


def epochs_elsewhere(results: Results) -> Table:
    """More passes over the same data are not more data: acceptance falls in the end."""
    return _elsewhere(
        results,
        "epochs-elsewhere",
        "capacity_epochs",
        "Theorem 1.1 elsewhere: tokens per cycle against epochs over one data set, an EAGLE-3 head",
        "0.8 to 10 epochs; the training loss falls throughout",
    )


def positions(results: Results) -> Table:
    """How the conditional acceptance rate changes with the position in the chain."""
    return _elsewhere(
        results,
        "positions",
        "rates_by_position",
        "Conditional acceptance rate against the position of a drafted token",
        "a draft on a task each; one slope for all, whatever their training",
    )


def positions_by_series(results: Results) -> Table:
    """The same rates with a slope per series: whose acceptance falls with depth, and whose does not."""
    laws = law_table(results, "laws/positions.json")
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
        "Conditional acceptance rate against ln position, a slope per draft and task",
        (
            Column("series", "series"),
            Column("slope", "slope per ln", digits=3, signed=True),
            Column("interval", "90 % interval"),
            Column("trend", "trend"),
            Column("evidence", "evidence"),
        ),
        rows,
        joined({"points": "published", "slopes": "of published points"}),
        commits([laws]),
        sources=[row["source"] for row in known],
        notes=[
            f"Of {len(rows)} series, acceptance falls in {count['falls']} and rises in {count['rises']}, "
            f"and in {count['cannot tell']} the points cannot tell.",
            *([slopes_note(pooled)] if pooled else []),
            "A rate that rises with depth is no contradiction: deep positions are reached in easy text only.",
        ],
    )


def ranks(results: Results) -> Table:
    """How likely the target's token is among the first r choices of a draft."""
    return _elsewhere(
        results,
        "ranks",
        "rank_accuracy",
        "Accuracy of a draft's first r choices against r: Medusa heads and Sequoia",
        "the default rank law of trees (odds of the first r choices rise as r^0.675) is a form of its own",
    )
