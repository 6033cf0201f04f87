"""Tables of Theorems 1.1-1.3: refits beside quotations and rivals, Fig. 5 and its turning points."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from paper import published
from paper.inputs import how_to_make
from paper.render import Column, Table, joined, mean, percent
from paper.results import Results, commits, value
from paper.results import Table as ResultTable
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
    """Fitted parameters of a law: the keys that have a standard error."""
    return {key: float(row[key]) for key in row if f"{key}_stderr" in row}


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


def quoted_optimum(batch: float) -> float:
    """k_opt of Theorem 1.3 as quoted.

    Examples
    --------
    >>> round(quoted_optimum(8), 1)
    66.2
    """
    law = published.quoted("1.3")
    return law["scale"] * math.sqrt(1 + law["ratio"] / batch) - law["offset"]


def command(table: ResultTable) -> str:
    """The command line that made a file, as its provenance has it: the assumptions in one line."""
    return " ".join(map(str, table.provenance.get("argv", []))) or "not recorded"


def by_batch(table: ResultTable, key: str) -> dict[float, Any]:
    """One column of a result file against its batch size."""
    return dict(zip(map(float, table.column("batch_size")), table.column(key)))


def _error(predicted: float | None, reported: float | None) -> float | None:
    return None if predicted is None or reported is None else predicted / reported - 1


def theorem_1_3(results: Results) -> Table:
    """The number of paths where verification turns compute-bound, from four sources."""
    ours = {
        name: results.table(f"steps/fig5-{name}.json", how_to_make(f"steps/fig5-{name}.json"))
        for name in ("paper", "dense")
    }
    k_opt = {name: by_batch(table, "k_opt") for name, table in ours.items()}
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
    return Table(
        "theorem-1.3",
        "Theorem 1.3: paths k at which verification of Qwen2.5-72B turns compute-bound (10K input, one GPU)",
        (
            Column("batch_size", "batch", digits=0),
            Column("digitised", "Fig. 5", "k"),
            Column("quoted", "quoted formula", "k", digits=1),
            Column("quoted_error", "error", "%", digits=0, scale=100, signed=True),
            Column("paper", "ours, paper's constants", "k", digits=1),
            Column("paper_error", "error", "%", digits=0, scale=100, signed=True),
            Column("dense", "ours, dense peak", "k", digits=1),
            Column("dense_error", "error", "%", digits=0, scale=100, signed=True),
            Column("evidence", "evidence"),
        ),
        rows,
        joined({"Fig. 5 and quoted formula": "published", "ours": "theory"}),
        commits(ours.values()),
        sources=[row["source"] for row in published.rows("fig5_turning_points")],
        notes=[
            "Fig. 5 ends at k = 80, where the curves of batch 1 and 4 still rise: a lower bound, so no error.",
            f"Paper's constants: {command(ours['paper'])}",
            f"Dense peak: {command(ours['dense'])}",
        ],
    )


def theorem_1_3_forms(results: Results) -> Table:
    """Is the rule logarithmic, as the theorem's name says, or 1/b?"""
    inverse = law_table(results, "laws/theorem-1.3-inverse.json")
    optimum = law_table(results, "laws/theorem-1.3.json")
    throughput = law_table(results, "laws/theorem-1.3-throughput.json")
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
    quoted = published.quoted("1.3-throughput")
    peaks = published.series("fig5_max_throughput", "batch_size", "tokens_per_s", inside="yes")
    worst = max(abs(log_law(quoted, b) / y - 1) for b, y in peaks.items())
    return Table(
        "theorem-1.3-forms",
        "Theorem 1.3: forms fitted to the turning points of Fig. 5 and to its highest throughputs (batch 8-64)",
        (
            Column("quantity", "quantity"),
            Column("law", "law"),
            Column("coefficients", "coefficients ± standard error"),
            Column("r2", "R²", digits=4),
            Column("loo_rmse", "leave-one-out RMSE", digits=1),
            Column("evidence", "evidence"),
        ),
        rows,
        joined({"points": "published (digitised)", "fits": "of published points"}),
        commits([inverse, optimum, throughput]),
        sources=[row["source"] for row in published.rows("fig5_turning_points")],
        notes=[
            "Forms with three parameters are left out: four points do not determine them.",
            f"The quoted throughput law {quoted['slope']:g} ln b + {quoted['intercept']:g} is within "
            f"{percent(worst, 0)} of the digitised maxima for batch 8-64.",
        ],
    )


def fig5_errors(table: ResultTable) -> dict[float, Row]:
    """Our curve against the digitised one, batch by batch: mean error, best k, highest throughput."""
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
    """Fig. 5 from first principles: errors of our curves, with the paper's constants and with the dense peak."""
    files = {
        name: results.table(f"steps/fig5-curves-{name}.json", how_to_make(f"steps/fig5-curves-{name}.json"))
        for name in ("paper", "dense")
    }
    found = {name: fig5_errors(table) for name, table in files.items()}
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
    for name, title in (("paper", "paper's constants"), ("dense", "dense peak")):
        columns += [
            Column(f"{name}_error", f"{title}: mean error", "%", digits=1, scale=100),
            Column(f"{name}_k", "best k", digits=0),
            Column(f"{name}_tokens_per_s", "highest", "tokens/s", digits=0),
        ]
    return Table(
        "fig5",
        "Fig. 5: throughput against verified paths, our roofline against the digitised curves",
        [*columns, Column("evidence", "evidence")],
        rows,
        joined({"Fig. 5": "published (digitised within 5 tokens/s)", "ours": "theory"}),
        commits(files.values()),
        sources=[row["source"] for row in published.rows("fig5_curves")],
        notes=[
            "tau(k) is read off one curve (the reference batch of the commands below), whose own error is "
            "therefore zero; the other curves are predicted.",
            "At batch 1 the digitising error alone is 5 to 15 % of the curve: no verdict.",
            f"Paper's constants: {command(files['paper'])}",
            f"Dense peak: {command(files['dense'])}",
        ],
    )
