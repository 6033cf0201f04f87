"""Tables ``small-scale-*``: Theorems 1.1 and 1.2 on drafts that this project trained.

A table shows every training run in the results folder; `RUNS` lists them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from paper.render.table import EVIDENCE, Column, Table
from paper.render.values import joined
from paper.sources.results import Results, ResultTable, commits, value
from paper.tables.law_fits import RIVAL_MARGIN
from scylla_sim.records import Row

RUNS = {
    "small": "recorded, scale small",
    "long": "recorded, scale small, ten times the tokens",
    "here": "this run",
}
"""Training run in file names -> its name in tables. ``small`` and ``long`` were trained earlier and committed."""


def law_path(what: str, run: str) -> str:
    """Return the result file of a law of a training run."""
    return f"laws/small-scale-{what}-{run}.json"


def runs_with(results: Results, what: str) -> list[str]:
    """Return the training runs that have a law."""
    return [run for run in RUNS if results.has(law_path(what, run))]


def laws(results: Results, what: str) -> list[tuple[str, ResultTable]]:
    """Return the fits of a law by training run.

    Raises
    ------
    InputError
        If no training run has the law.
    """
    runs = runs_with(results, what) or list(RUNS)[:1]
    return [(run, results.table(law_path(what, run))) for run in runs]


def groups(table: ResultTable, by: Sequence[str]) -> list[tuple[dict[str, Any], dict[str, Row]]]:
    """Return the converged rows by form for every group of a fit, groups in numeric order."""
    found: dict[tuple[Any, ...], dict[str, Row]] = {}
    for row in table.rows:
        if row.get("converged"):
            found.setdefault(tuple(value(row, name, table.path) for name in by), {})[row["form"]] = row
    ordered = sorted(found.items(), key=lambda item: tuple(_order(part) for part in item[0]))
    return [(dict(zip(by, key)), forms) for key, forms in ordered]


def _order(text: Any) -> tuple[float, str]:
    """Return a sort key: numbers by value, text by letters."""
    try:
        return float(text), ""
    except ValueError:
        return 0.0, str(text)


def slope(row: Row) -> tuple[float, float, float, int]:
    """Return slope, lower end, upper end and number of training seeds of a log-linear row.

    With several seeds the interval is over seeds, else it is that of the fit.
    """
    seeds = int(row.get("replicates") or 1)
    if "a_replicates_lower" in row:
        return row["a_replicates_mean"], row["a_replicates_lower"], row["a_replicates_upper"], seeds
    return row["a"], row["a_lower"], row["a_upper"], seeds


def verdict(forms: dict[str, Row]) -> str:
    """Return how the log-linear form compares with its rivals by AICc, in one word."""
    scored = {name: row["delta_aicc"] for name, row in forms.items() if row.get("delta_aicc") is not None}
    line = forms.get("log-linear")
    if line is None or "log-linear" not in scored:
        return "undecided"
    _, low, high, _ = slope(line)
    if low <= 0.0 <= high:
        return "no trend"
    best = min(scored, key=lambda name: scored[name])
    ahead = sorted(scored[name] for name in scored if name != "log-linear")
    if best == "log-linear":
        return "best" if not ahead or ahead[0] > RIVAL_MARGIN else "ties"
    return "ties" if scored["log-linear"] <= RIVAL_MARGIN else f"{best} is better"


def _law_row(run: str, labels: dict[str, Any], forms: dict[str, Row]) -> Row | None:
    """Return the row of one group of a training run, or ``None`` without a log-linear fit."""
    line = forms.get("log-linear")
    if line is None:
        return None
    middle, low, high, seeds = slope(line)
    rivals = {name: row["delta_aicc"] for name, row in forms.items() if row.get("delta_aicc") is not None}
    base = rivals.get("log-linear", 0.0)
    row: Row = {"run": RUNS[run], **labels, "points": line["n"], "seeds": seeds, "slope": middle}
    row |= {"slope_lower": low, "slope_upper": high, "r2": line["r2"], "r2_least": line.get("r2_replicates_least")}
    row |= {f"aicc_{name}": delta - base for name, delta in rivals.items() if name != "log-linear"}
    return row | {"verdict": verdict(forms), "evidence": line.get("evidence")}


_FITS = (
    Column("points", "points", digits=0),
    Column("seeds", "seeds", digits=0),
    Column("slope", "slope per ln", "tokens/cycle", digits=3),
    Column("slope_lower", "lower", digits=3),
    Column("slope_upper", "upper", digits=3),
    Column("r2", "R² of the mean curve", digits=3),
    Column("r2_least", "lowest R² of a seed", digits=3),
)
_RIVAL_COLUMNS = (
    Column("aicc_power", "ΔAICc of power", digits=1, signed=True),
    Column("aicc_linear", "ΔAICc of linear", digits=1, signed=True),
    Column("aicc_saturating-exponential", "ΔAICc of saturating", digits=1, signed=True),
    Column("aicc_logistic", "ΔAICc of logistic", digits=1, signed=True),
    Column("aicc_broken", "ΔAICc of broken", digits=1, signed=True),
    Column("verdict", "log-linear"),
    EVIDENCE,
)
_INTERVAL = (
    "Slope with several training seeds: mean and 90 % Student-t interval over the fits of single seeds. With one "
    "seed: the 90 % interval of the fit, which treats the points of one curve as independent and is too narrow."
)
_TAU = (
    "Tokens per cycle include the target's own token. They are exact counts for greedy chains on held-out text, "
    "which shares no long run of bytes with the training text."
)
_AICC = (
    "ΔAICc: AICc of the form minus AICc of the log-linear form. A positive value favours log-linear; within "
    f"{RIVAL_MARGIN:g} the forms tie. A dash marks a form with too few points or without a fit."
)


def _laws_table(
    results: Results,
    name: str,
    title: str,
    what: str,
    labels: Sequence[Column],
    notes: Sequence[str],
    keep: Callable[[Row], bool] = lambda row: True,
) -> Table:
    """Return the table of one law with one row for each group and training run.

    Parameters
    ----------
    results : Results
        Results folder.
    name, title : str
        Name and caption of the table.
    what : str
        Law in file names.
    labels : sequence of Column
        Columns that name a group.
    notes : sequence of str
        Lines under the table.
    keep : callable, optional
        Which rows to show.
    """
    tables, rows = [], []
    for run, table in laws(results, what):
        tables.append(table)
        for group, forms in groups(table, [column.key for column in labels]):
            row = _law_row(run, {key: _number(text) for key, text in group.items()}, forms)
            if row is not None and keep(row):
                rows.append(row)
    columns = (Column("run", "training"), *labels, *_FITS, *_RIVAL_COLUMNS)
    shown = [column for column in columns if any(row.get(column.key) is not None for row in rows)]
    evidence = joined({"tokens per cycle": "small-scale", "fits": "of small-scale points"})
    return Table(name, title, shown, rows, evidence, commits(tables), notes=[*notes, _AICC])


def _number(text: Any) -> Any:
    """Return a whole number if the text is one, else the text."""
    try:
        return int(text)
    except ValueError:
        return text


_DEPTH = Column("decoder_layers", "decoder layers", digits=0)


def tokens(results: Results) -> Table:
    """Return Theorem 1.1 on trained drafts: tokens per cycle by training tokens."""
    return _laws_table(
        results,
        "small-scale-tokens",
        "Theorem 1.1 on trained drafts: tokens per cycle by training tokens of the draft",
        "tokens",
        [_DEPTH],
        [_TAU, _INTERVAL, "The range of training tokens was chosen before training."],
    )


def layers(results: Results) -> Table:
    """Return Theorem 1.2 on trained drafts: tokens per cycle by decoder layers."""
    return _laws_table(
        results,
        "small-scale-layers",
        "Theorem 1.2 on trained drafts: tokens per cycle by decoder layers, for each number of training tokens",
        "layers",
        [Column("train_tokens", "training tokens", digits=0)],
        [
            _TAU,
            _INTERVAL,
            "The slope grows with the training tokens, so the effects of layers and tokens do not simply add. The "
            "claim is judged at the largest number of tokens.",
            "All depths have the same learning rate.",
        ],
    )


def domains(results: Results) -> Table:
    """Return Theorem 1.1 by domain of the text, for drafts of 1, 4 and 8 layers."""

    def ends(row: Row) -> bool:
        return row["decoder_layers"] in (1, 4, 8)

    return _laws_table(
        results,
        "small-scale-domains",
        "Theorem 1.1 on trained drafts by domain of the text, at temperature 0",
        "tokens-domains",
        [Column("domain", "domain"), _DEPTH],
        [_TAU, _INTERVAL],
        ends,
    )


def sampled(results: Results) -> Table:
    """Return Theorem 1.1 on trained drafts at temperature 1."""
    return _laws_table(
        results,
        "small-scale-temperature",
        "Theorem 1.1 on trained drafts at temperature 1, with chains sampled from the draft",
        "tokens-sampled",
        [_DEPTH],
        [
            "Tokens per cycle include the target's own token. The acceptance probability of a position is the mean "
            "product of min(1, q/p) along text sampled from the target.",
            _INTERVAL,
        ],
    )


_ARMS = {
    "main": "as in the other tables",
    "one-step": "trained on one step only, so later positions get unknown features",
    "slow": "learning rate 0.001",
    "tokens-only": "without the target's features as input",
    "wide": "as wide as its target",
    "weak-target": "with a shallow target",
}
"""Variant of training -> description."""


def breaks(results: Results) -> Table:
    """Return Theorem 1.1 on variants of draft, training and target."""
    table = _laws_table(
        results,
        "small-scale-breaks",
        "Theorem 1.1 on trained drafts with one change each to draft, training or target, one seed",
        "arms",
        [Column("arm", "variant"), _DEPTH],
        [_TAU, "A better rival or a low R² means that a straight line in ln(tokens) does not describe the curve."],
    )
    kept = [row for row in table.rows if row["arm"] != "main" or row["decoder_layers"] in (1, 4)]
    rows = [{**row, "meaning": _ARMS.get(str(row["arm"]), "")} for row in kept]
    columns = [column for column in table.columns if column.key not in ("seeds", "r2_least")]
    columns.insert(3, Column("meaning", "description"))
    return replace(table, columns=columns, rows=rows)
