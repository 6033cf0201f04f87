"""Tables of measurements with trained drafts.

They are ``small-scale-optimum``, ``small-scale-rates`` and ``small-scale-loops``.
"""

from __future__ import annotations

from paper.render.table import EVIDENCE, Column, Table, percent_column
from paper.render.values import joined, mean
from paper.sources.results import Results, ResultTable, commits
from paper.tables.errors import ERRORS
from paper.tables.small_scale import RUNS, law_path, laws
from scylla_sim.records import Row

_LOOP_QUANTITIES = {
    "tokens_per_cycle": "tokens per cycle, from the rank profile",
    "plain_step_s": "plain step",
    "cycle_s": "draft-verify cycle",
    "tokens_per_s": "tokens per second",
    "speedup": "speed-up",
}
"""Quantity of a loop -> its name in the table."""


def optimum(results: Results) -> Table:
    """Return Theorem 1.3 from measured acceptance of trees and measured forward passes of the target."""
    rows: list[Row] = []
    tables: list[ResultTable] = []
    notes = []
    for run, log_table in laws(results, "optimum"):
        inverse_table = results.table(law_path("optimum-inverse", run))
        tables += [log_table, inverse_table]
        path = f"smallscale/{run}/optimum.csv"
        inside = results.columns(path, ("inside",))["inside"]
        points = results.numbers(path, ("batch_size", "k_opt", "tokens_per_cycle", "gain"))
        for index, batch in enumerate(points["batch_size"]):
            row: Row = {"run": RUNS[run], "batch_size": int(batch), "inside": inside[index]}
            row |= {name: points[name][index] for name in ("k_opt", "tokens_per_cycle", "gain")}
            rows.append({**row, "evidence": "small-scale, live" if run == "here" else "small-scale, recorded"})
        log = next(row for row in log_table.rows if row["form"] == "log-linear")
        inverse = next(row for row in inverse_table.rows if row["form"] == "linear")
        notes.append(
            f"Training: {RUNS[run]}. Over {log['n']} batches, a ln b + c has R² {log['r2']:.3f} and a "
            f"leave-one-out error of {log['loo_rmse']:.1f} tokens; a/b + c has R² {inverse['r2']:.3f} and an error "
            f"of {inverse['loo_rmse']:.1f} tokens."
        )
    return Table(
        "small-scale-optimum",
        "Theorem 1.3 by measurement: best number of verified tokens by batch",
        (
            Column("run", "training"),
            Column("batch_size", "batch", digits=0),
            Column("k_opt", "best tokens verified", digits=1),
            Column("inside", "inside the grid"),
            Column("tokens_per_cycle", "tokens per cycle at the best", digits=2),
            Column("gain", "tokens per second of verification / plain", digits=2),
            EVIDENCE,
        ),
        rows,
        joined({"tokens per cycle": "small-scale", "forward passes": "timed on the machine that trained"}),
        commits(tables),
        notes=[
            "The best tree maximizes tokens per cycle divided by the time of the target's forward pass. As in the "
            "theorem, the time of drafting is not included.",
            *notes,
        ],
    )


def rates(results: Results) -> Table:
    """Return the sweep of learning rates, on text windows that no other table uses."""
    path = "smallscale/small/rates.csv"
    words = results.columns(path, ("drafting", "domain"))
    chosen = [
        index for index, kind in enumerate(zip(words["drafting"], words["domain"])) if kind == ("chain", "all")
    ]
    cells: dict[int, dict[float, float]] = {}
    table = results.numbers(path, ("decoder_layers", "learning_rate", "tokens_per_cycle"), rows=chosen)
    for depth, rate, tau in zip(*table.values()):
        cells.setdefault(int(depth), {})[rate] = tau
    sweep = results.numbers(path, ("train_tokens", "stderr"))
    every = sorted({rate for cell in cells.values() for rate in cell})
    rows: list[Row] = [
        {"decoder_layers": str(depth), **{f"rate {rate:g}": cell.get(rate) for rate in every}}
        for depth, cell in sorted(cells.items())
    ]
    means = {f"rate {rate:g}": mean([cell[rate] for cell in cells.values()]) for rate in every}
    rows.append({"decoder_layers": "mean", **means})
    best = max(means, key=lambda name: means[name])
    return Table(
        "small-scale-rates",
        f"Tokens per cycle by learning rate after {int(sweep['train_tokens'][0]):,} tokens, on the tuning windows",
        [
            Column("decoder_layers", "decoder layers"),
            *(Column(name, name, digits=2) for name in means),
            EVIDENCE,
        ],
        [{**row, "evidence": "small-scale"} for row in rows],
        joined({"tokens per cycle": "small-scale, recorded"}),
        "",
        notes=[
            f"All depths use the learning rate with the highest mean ({best}). With one rate for each depth, "
            "Theorem 1.2 would depend on the tuning of the rates.",
            "The tuning windows are used for this table only. The standard error of a cell is at most "
            f"{max(sweep['stderr']):.2f}, with one seed.",
        ],
    )


def loops(results: Results) -> Table:
    """Return errors of loops predicted from measured acceptance and from the kernels of the same machine."""
    rows: list[Row] = []
    tables = []
    for run in RUNS:
        path = f"compare/trained-{run}.json"
        if not results.has(path) and run != "small":
            continue
        table = results.table(path)
        tables.append(table)
        rows += [
            {**row, "run": RUNS[run], "quantity": _LOOP_QUANTITIES.get(str(row["quantity"]), row["quantity"])}
            for row in table.rows
            if row.get("half") in ("fit", "held out") or row.get("same_choice") is not None
        ]
    return Table(
        "small-scale-loops",
        "Decoding loops of trained drafts after real prompts, predicted from measured acceptance",
        (
            Column("run", "training"),
            Column("quantity", "quantity"),
            Column("half", "half of the loops"),
            Column("n", "loops", digits=0),
            *ERRORS[1:7],
            percent_column("floor_median", "noise floor"),
            percent_column("same_choice", "best tree chosen", digits=0),
            percent_column("within_floor", "or one within the noise floor", digits=0),
            percent_column("median_regret", "median loss from the choice"),
            EVIDENCE,
        ),
        rows,
        joined(
            {"loops": "timed on the machine that trained", "predicted": "kernels of that machine, rank profile"}
        ),
        commits(tables),
        notes=[
            "Five overheads of the loop (per step, token, launch, draft and draft pass) are fitted on one half of "
            "the loops and scored on the other half.",
            "Acceptance is not fitted to loops. It was measured at anchors in other text, and the loops run the "
            "first cycles after a prompt. Later cycles continue the model's own words, which are easier to draft.",
            "Roofline baseline: FLOPs at the peak or bytes at the bandwidth of the machine, whichever takes "
            "longer, without overheads and with the same tokens per cycle.",
            "Noise floor: the same loops in a second pass over the grid.",
        ],
    )
