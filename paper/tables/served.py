"""Tables ``served-*``: predictions of published serving runs, and the throughput that our draft lengths lose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

import numpy as np

from paper.render.table import EVIDENCE, Column, Table, percent_column
from paper.render.values import joined
from paper.sources import served_regret, served_runs, served_scores
from paper.sources.results import Results, commits
from paper.sources.served_regret import Ladder
from paper.tables.errors import ROOFLINE_NOTE
from scylla_sim.checks import FloatArray
from scylla_sim.records import Row

EVIDENCE_LEVELS = joined({"measured": "published", "predicted": "calibrated kernels, engine preset"})
SOURCES = ["paper/published/served_runs.csv, which names the source of every run"]

_SCORES = (
    Column("grouping", "by"),
    Column("group", "group"),
    Column("n", "runs", digits=0),
    Column("fitted", "runs that something was fitted on", digits=0),
    percent_column("error", "mean error"),
    percent_column("bias", "bias", signed=True),
    percent_column("p90", "90th percentile"),
    percent_column("noise", "standard error of the mean error"),
    percent_column("coverage", "inside 90 % interval", digits=0),
    Column("width", "median upper / lower end", digits=2),
    percent_column("error_roofline", "roofline baseline: mean error"),
)
_SPEEDUP = (
    percent_column("error_constant", "constant: mean error"),
    percent_column("error_tau_times_constant", "tokens per cycle times a constant: mean error"),
    Column("slow", "runs measured at most 0.95", digits=0),
    percent_column("not_faster", "of these called slower or undecided", digits=0),
    percent_column("called_slower", "of these called slower", digits=0),
    percent_column("wrong", "wrong verdicts among all runs"),
)
_NOTES = (
    "Error: |predicted / measured - 1|. Bias: mean of the signed error. The macro row weighs every source equally.",
    "The groups by kind hold all runs. The others, and the totals, hold chains and trees of draft heads on targets "
    "with 16-bit or 8-bit weights and a 16-bit KV cache.",
    "The tokens per cycle are those of the source, or one fitted value for each series that states none.",
    ROOFLINE_NOTE + " It has no host work, and its own fit of the tokens per cycle where they are fitted.",
)
_VERDICTS = (
    "Constant: mean speed-up of the other sources. Times tokens per cycle: mean ratio of the other sources.",
    "A run is called slower if the probability of a speed-up below 1 exceeds 0.7, and faster below 0.3.",
)
_TIMES = (
    "Measured times are medians between two steps where the source prints them. Otherwise they are the time per "
    "token of the throughput, with the prefills and the ramp in it.",
)
_CAPTIONS = {
    "speedup": "Speed-up of served speculative decoding",
    "cycle": "Seconds of a draft-verify cycle in serving",
    "plain step": "Seconds of a plain decoding step in serving",
    "throughput": "Throughput of served speculative decoding",
}


def scores(results: Results, *, quantity: str) -> Table:
    """Return the errors of one quantity by kind, source, engine, GPU, target, batch and role."""
    runs = served_runs.rows(results)
    rows = served_scores.table(runs, quantity)
    sources = list(dict.fromkeys(str(row["source"]) for row in runs if row.get("fitted")))
    notes = [*_NOTES, *(_VERDICTS if quantity == "speedup" else _TIMES)]
    notes.append(f"Sources with runs that something was fitted on: {', '.join(sources) or 'none'}.")
    return Table(
        f"served-{quantity.replace(' ', '-')}",
        f"{_CAPTIONS[quantity]}, by group",
        (*_SCORES, *(_SPEEDUP if quantity == "speedup" else ()), EVIDENCE),
        [{**row, "evidence": "published"} for row in rows],
        EVIDENCE_LEVELS,
        commits([results.table(served_runs.RUNS)]),
        sources=SOURCES,
        notes=notes,
    )


SCORES = {
    f"served-{quantity.replace(' ', '-')}": partial(scores, quantity=quantity)
    for quantity in served_runs.QUANTITIES
}
"""Name of a table of scores -> its function."""


def _statistics(regrets: Mapping[str, FloatArray], keep: FloatArray) -> Row:
    """Return mean and median of every way to choose over the kept ladders."""
    return {
        f"{name}_{statistic}": float(reduce(values[keep]))
        for name, values in regrets.items()
        for statistic, reduce in (("mean", np.mean), ("median", np.median))
    }


def _regret_rows(given: Sequence[Ladder], one: Sequence[Ladder]) -> list[Row]:
    """Return one row per source, and one for all."""
    regrets = served_regret.regrets(given)
    regrets["one_length"] = served_regret.regrets(one)["followed"]
    names = np.array([ladder.source for ladder in given])
    groups = [(name, names == name) for name in dict.fromkeys(names.tolist())]
    groups.append((served_scores.ALL, np.ones(names.size, dtype=bool)))
    return [
        {"source": name, "n": int(keep.sum()), **_statistics(regrets, keep), "evidence": "published"}
        for name, keep in groups
    ]


def regret(results: Results) -> Table:
    """Return the throughput that a draft length loses compared with the best measured one, by source."""
    given, one = (
        served_regret.ladders(served_runs.rows(results, path))
        for path in (served_runs.RUNS, served_runs.ONE_LENGTH)
    )
    ways = {
        "followed": "ours",
        "one_length": "ours from one measured length",
        **{f"always_{length}": f"always {length}" for length in served_regret.FIXED},
    }
    columns = (
        percent_column(f"{name}_{statistic}", f"{words}: {statistic}", digits=2)
        for name, words in ways.items()
        for statistic in ("mean", "median")
    )
    return Table(
        "served-regret",
        "Throughput lost by a draft length, compared with the best measured one",
        (Column("source", "source"), Column("n", "loads", digits=0), *columns, EVIDENCE),
        _regret_rows(given, one),
        EVIDENCE_LEVELS,
        commits([results.table(path) for path in (served_runs.RUNS, served_runs.ONE_LENGTH)]),
        sources=SOURCES,
        notes=[
            "A load is a series at one batch with at least two measured chain lengths. The choice is among them "
            "and plain decoding. Ours is the highest predicted speed-up.",
            "From one measured length: the tokens per cycle at 3 drafted tokens, or at the nearest measured "
            "length, and the law over positions for the other lengths.",
            "Always 3 and always 5 take the nearest measured length.",
        ],
    )
