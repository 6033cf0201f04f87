"""Tables of what was measured beside the laws of training: the optimum, learning rates, and real loops."""

from __future__ import annotations

from paper.render.table import Column, Table, joined, mean
from paper.sources.results import Results, commits
from paper.sources.results import Table as ResultTable
from paper.tables.kernels import ERRORS
from paper.tables.small_scale import RUNS, how_to_fit, law_path, laws
from scylla_sim.records import Row


def optimum(results: Results) -> Table:
    """Theorem 1.3 from measured acceptance of trees and measured passes of the target."""
    rows: list[Row] = []
    tables: list[ResultTable] = []
    notes = []
    for run, log_table in laws(results, "optimum"):
        inverse_table = results.table(law_path("optimum-inverse", run), how_to_fit("optimum-inverse", run))
        tables += [log_table, inverse_table]
        names = ("batch_size", "k_opt", "inside", "tokens_per_cycle", "gain")
        points = results.columns(f"smallscale/{run}/optimum.csv", "snakemake", names)
        for index, batch in enumerate(points["batch_size"]):
            row: Row = {"run": RUNS[run], "batch_size": int(batch), "inside": points["inside"][index]}
            row |= {name: float(points[name][index]) for name in ("k_opt", "tokens_per_cycle", "gain")}
            rows.append({**row, "evidence": "small-scale, live" if run == "here" else "small-scale, recorded"})
        log = next(row for row in log_table.rows if row["form"] == "log-linear")
        inverse = next(row for row in inverse_table.rows if row["form"] == "linear")
        notes.append(
            f"{RUNS[run]}: over {log['n']} batches a ln b + c has R² {log['r2']:.3f} and a leave-one-out error of "
            f"{log['loo_rmse']:.1f} tokens, a/b + c {inverse['r2']:.3f} and {inverse['loo_rmse']:.1f}."
        )
    return Table(
        "small-scale-optimum",
        "Theorem 1.3 by measurement: best number of verified tokens against the batch",
        (
            Column("run", "training"),
            Column("batch_size", "batch", digits=0),
            Column("k_opt", "best tokens verified", digits=1),
            Column("inside", "inside the grid"),
            Column("tokens_per_cycle", "tokens per cycle there", digits=2),
            Column("gain", "tokens per second of verification, over plain", digits=2),
            Column("evidence", "evidence"),
        ),
        rows,
        joined({"tokens per cycle": "small-scale", "passes of the target": "timed on the machine that trained"}),
        commits(tables),
        notes=[
            "The tree that maximises tokens per cycle over the time of the target's pass; drafting is not counted, "
            "as in the theorem.",
            *notes,
        ],
    )


def rates(results: Results) -> Table:
    """The sweep of learning rates, on other windows than all results."""
    path = "smallscale/small/rates.csv"
    names = ("decoder_layers", "learning_rate", "tokens_per_cycle", "stderr", "drafting", "domain", "train_tokens")
    columns = results.columns(path, "snakemake", names)
    cells: dict[int, dict[float, float]] = {}
    for index in range(len(columns["domain"])):
        if columns["drafting"][index] == "chain" and columns["domain"][index] == "all":
            rate = float(columns["learning_rate"][index])
            cells.setdefault(int(columns["decoder_layers"][index]), {})[rate] = float(
                columns["tokens_per_cycle"][index]
            )
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
        f"Learning rates: tokens per cycle after {int(columns['train_tokens'][0]):,} tokens, on the tuning windows",
        [
            Column("decoder_layers", "decoder layers"),
            *(Column(name, name, digits=2) for name in means),
            Column("evidence", "evidence"),
        ],
        [{**row, "evidence": "small-scale"} for row in rows],
        joined({"tokens per cycle": "small-scale, recorded"}),
        "",
        notes=[
            f"One rate for all depths, the one of the highest mean ({best}): rates of their own would put the "
            "tuning into the law of layers. These windows serve nothing else. Standard error of a cell about "
            f"{max(float(text) for text in columns['stderr']):.2f} at most, one seed.",
        ],
    )


def loops(results: Results) -> Table:
    """Does acceptance measured here, with this machine's costs, predict real loops?"""
    rows: list[Row] = []
    tables = []
    for run in RUNS:
        path = f"compare/trained-{run}.json"
        if not results.has(path) and run != "small":
            continue
        table = results.table(path, "snakemake")
        tables.append(table)
        words = {
            "tokens_per_cycle": "tokens per cycle, from the rank profile",
            "plain_step_s": "plain step",
            "cycle_s": "draft-verify cycle",
            "tokens_per_s": "tokens per second",
            "speedup": "speed-up",
        }
        rows += [
            {**row, "run": RUNS[run], "quantity": words.get(str(row["quantity"]), row["quantity"])}
            for row in table.rows
            if row.get("half") in ("fit", "held out") or row.get("same_choice") is not None
        ]
    return Table(
        "small-scale-loops",
        "From measured acceptance to real loops: trained drafts decoding after real prompts",
        (
            Column("run", "training"),
            Column("quantity", "quantity"),
            Column("half", "half of the loops"),
            Column("n", "loops", digits=0),
            *ERRORS[1:7],
            Column("floor_median", "noise floor", "%", digits=1, scale=100),
            Column("same_choice", "best tree chosen", "%", digits=0, scale=100),
            Column("within_floor", "or within the floor", "%", digits=0, scale=100),
            Column("median_regret", "median loss by the choice", "%", digits=1, scale=100),
            Column("evidence", "evidence"),
        ),
        rows,
        joined({"loops": "timed where it was trained", "predicted": "kernels calibrated there, rank profile"}),
        commits(tables),
        notes=[
            "Five overheads of the loop (per step, token, launch, draft and draft pass) are fitted on one half of "
            "the loops, and the other half scores them. Acceptance is fitted to nothing: it comes from anchors "
            "in other text, the loops' from the first cycles after a prompt; the later of these follow the model's "
            "own words, which are easier to draft.",
            "Naive roofline: FLOPs at the peak or bytes at the bandwidth of the machine, the longer of the two, no "
            "overhead, the same tokens per cycle. Noise floor: the same loops in a second pass over the grid.",
        ],
    )
