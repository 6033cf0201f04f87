"""Tables of the laws by real training: tokens, layers, domains, temperature, and what breaks them.

A run is a set of results in one folder: ``here`` was trained by this run of the workflow, ``small`` earlier and
committed. A table shows every run that is there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from paper.render.table import Column, Table, joined
from paper.sources.results import Results, commits, value
from paper.sources.results import Table as ResultTable
from paper.tables.laws import RIVAL_MARGIN
from scylla_sim.records import Row

_CURVES = "acceptance.csv --x train_tokens --y tokens_per_cycle --where "
_LAYERS = "acceptance.csv --x decoder_layers --y tokens_per_cycle --where "
_MAIN = "arm=main,domain=all,temperature=0,drafting=chain "
_SAMPLED = "arm=main,domain=all,temperature=1,drafting=sampled-chain "
_RIVALS = "--forms log-linear,linear,power,saturating-exponential,logistic,broken "
_FEW_RIVALS = "--forms log-linear,linear,power "

COMMANDS = {
    "tokens": f"{_CURVES}{_MAIN}--by decoder_layers --replicates seed {_RIVALS}",
    "tokens-sampled": f"{_CURVES}{_SAMPLED}--by decoder_layers --replicates seed {_FEW_RIVALS}",
    "tokens-domains": f"{_CURVES}arm=main,temperature=0,drafting=chain --by domain,decoder_layers "
    f"--replicates seed {_FEW_RIVALS}",
    "arms": f"{_CURVES}domain=all,temperature=0,drafting=chain,seed=0 --by arm,decoder_layers {_FEW_RIVALS}",
    "layers": f"{_LAYERS}{_MAIN}--by train_tokens --replicates seed {_FEW_RIVALS}",
    "optimum": "optimum.csv --x batch_size --y k_opt --forms log-linear,power ",
    "optimum-inverse": "optimum.csv --x inverse_batch_size --y k_opt --forms linear ",
}
"""Laws of a run -> its CSV file and the options of ``scylla-sim laws``."""

RUNS = {"small": "recorded, scale small", "here": "this run"}


def law_path(what: str, run: str) -> str:
    """Result file of a law of a run."""
    return f"laws/small-scale-{what}-{run}.json"


def how_to_fit(what: str, run: str) -> str:
    """Command that writes `law_path`."""
    file, options = COMMANDS[what].split(maxsplit=1)
    out = f"--format json --out results/{law_path(what, run)}"
    return f"scylla-sim laws results/smallscale/{run}/{file} {options}{out}"


def there(results: Results, what: str) -> list[str]:
    """Runs that left a law."""
    return [run for run in RUNS if results.has(law_path(what, run))]


def laws(results: Results, what: str) -> list[tuple[str, ResultTable]]:
    """Fits of every run that is there; at least one must be."""
    runs = there(results, what) or list(RUNS)[:1]
    return [(run, results.table(law_path(what, run), how_to_fit(what, run))) for run in runs]


def groups(table: ResultTable, by: Sequence[str]) -> list[tuple[dict[str, Any], dict[str, Row]]]:
    """Converged rows by form, for every group of a fit, in the order of numbers."""
    found: dict[tuple[Any, ...], dict[str, Row]] = {}
    for row in table.rows:
        if row.get("converged"):
            found.setdefault(tuple(value(row, name, table.path) for name in by), {})[row["form"]] = row
    ordered = sorted(found.items(), key=lambda item: tuple(_order(part) for part in item[0]))
    return [(dict(zip(by, key)), forms) for key, forms in ordered]


def _order(text: Any) -> tuple[float, str]:
    try:
        return float(text), ""
    except ValueError:
        return 0.0, str(text)


def slope(row: Row) -> tuple[float, float, float, int]:
    """Slope of a log-linear row with its interval: over training seeds where there are several, else of the fit."""
    seeds = int(row.get("replicates") or 1)
    if "a_replicates_lower" in row:
        return row["a_replicates_mean"], row["a_replicates_lower"], row["a_replicates_upper"], seeds
    return row["a"], row["a_lower"], row["a_upper"], seeds


def verdict(forms: dict[str, Row]) -> str:
    """Log-linear against its rivals by AICc, in a word; the best rival is named."""
    scored = {name: row["delta_aicc"] for name, row in forms.items() if row.get("delta_aicc") is not None}
    line = forms.get("log-linear")
    if line is None or "log-linear" not in scored:
        return "not told"
    _, low, high, _ = slope(line)
    if low <= 0.0 <= high:
        return "no trend"
    best = min(scored, key=lambda name: scored[name])
    ahead = sorted(scored[name] for name in scored if name != "log-linear")
    if best == "log-linear":
        return "best" if not ahead or ahead[0] > RIVAL_MARGIN else "ties"
    return "ties" if scored["log-linear"] <= RIVAL_MARGIN else f"{best} is better"


def _law_row(run: str, labels: dict[str, Any], forms: dict[str, Row]) -> Row | None:
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
    Column("slope_lower", "from", digits=3),
    Column("slope_upper", "to", digits=3),
    Column("r2", "R² of the mean curve", digits=3),
    Column("r2_least", "least R² of a seed", digits=3),
)
_RIVAL_COLUMNS = (
    Column("aicc_power", "power: AICc above log-linear", digits=1, signed=True),
    Column("aicc_linear", "linear", digits=1, signed=True),
    Column("aicc_saturating-exponential", "saturating", digits=1, signed=True),
    Column("aicc_logistic", "logistic", digits=1, signed=True),
    Column("aicc_broken", "broken", digits=1, signed=True),
    Column("verdict", "log-linear"),
    Column("evidence", "evidence"),
)
_INTERVAL = (
    "Slope: with several training seeds, mean and 90 % Student-t interval over the fits of single seeds; with one "
    "seed, the 90 % interval of the fit, which takes the points of one curve for independent and is too narrow."
)
_TAU = (
    "Tokens per cycle count the target's own token. Greedy chains, exact counts on held-out text that shares no "
    "longer run of bytes with the training text."
)
_AICC = (
    "AICc: Akaike's criterion for small samples, that of a rival form less that of the log-linear one; positive: "
    f"log-linear is better; within {RIVAL_MARGIN:g}: they tie. A dash: too few points for it, or no fit found."
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
    """A table of one law, a row a group and run."""
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
    try:
        return int(text)
    except ValueError:
        return text


_DEPTH = Column("decoder_layers", "decoder layers", digits=0)


def tokens(results: Results) -> Table:
    """Theorem 1.1 on drafts trained here."""
    return _laws_table(
        results,
        "small-scale-tokens",
        "Theorem 1.1 by training: tokens per cycle against the draft's training tokens",
        "tokens",
        [_DEPTH],
        [_TAU, _INTERVAL, "The window of tokens was fixed before."],
    )


def layers(results: Results) -> Table:
    """Theorem 1.2 on drafts trained here, at every number of training tokens."""
    return _laws_table(
        results,
        "small-scale-layers",
        "Theorem 1.2 by training: tokens per cycle against decoder layers, at each number of training tokens",
        "layers",
        [Column("train_tokens", "training tokens", digits=0)],
        [
            _TAU,
            _INTERVAL,
            "The slope grows with training tokens: layers and tokens do not add, and the law of layers is judged "
            "at the largest number. All depths have one learning rate.",
        ],
    )


def domains(results: Results) -> Table:
    """The token law by domain of text, for the shallowest and the deepest draft."""

    def ends(row: Row) -> bool:
        return row["decoder_layers"] in (1, 4, 8)

    return _laws_table(
        results,
        "small-scale-domains",
        "Theorem 1.1 by domain of the text, at temperature 0",
        "tokens-domains",
        [Column("domain", "domain"), _DEPTH],
        [_TAU, _INTERVAL],
        ends,
    )


def sampled(results: Results) -> Table:
    """Theorem 1.1 at temperature 1."""
    return _laws_table(
        results,
        "small-scale-temperature",
        "Theorem 1.1 at temperature 1: chains whose tokens are drawn from the draft",
        "tokens-sampled",
        [_DEPTH],
        [
            "Tokens per cycle count the target's own token; the chance of getting through is a product of "
            "min(1, q/p) along the target's own sampled text, averaged.",
            _INTERVAL,
        ],
    )


_ARMS = {
    "main": "as the laws have it",
    "one-step": "trained on one step: later positions see features it never saw",
    "slow": "learning rate 0.001: the same line, some times later",
    "tokens-only": "not fed the target's features",
    "wide": "as wide as its target",
    "weak-target": "a shallow target that it catches up with",
}


def breaks(results: Results) -> Table:
    """What breaks the law of tokens: training, features, the target."""
    table = _laws_table(
        results,
        "small-scale-breaks",
        "What bends the law of training tokens: one thing changed at a time, one seed",
        "arms",
        [Column("arm", "draft"), _DEPTH],
        [_TAU, "A rival that is better, or a low R², says that the straight line does not describe the curve."],
    )
    kept = [row for row in table.rows if row["arm"] != "main" or row["decoder_layers"] in (1, 4)]
    rows = [{**row, "meaning": _ARMS.get(str(row["arm"]), "")} for row in kept]
    columns = [column for column in table.columns if column.key not in ("seeds", "r2_least")]
    columns.insert(3, Column("meaning", "what it is"))
    return replace(table, columns=columns, rows=rows)
