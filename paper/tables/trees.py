"""Table ``trees-from-rates``: tokens per cycle of draft trees, predicted from acceptance rates by position."""

from __future__ import annotations

from itertools import accumulate
from operator import mul

from paper.render.table import EVIDENCE, Column, Table, percent_column
from paper.render.values import joined
from paper.sources import published
from paper.sources.results import Results, ResultTable, commits, value
from scylla_sim.records import Row

TREES = {"beam": "one tree for all contexts", "dynamic": "dynamic tree"}
"""Kind of tree in file names -> its name in the table."""


def _chain(method: str, draft_len: int) -> float:
    """Return the tokens per cycle of a chain with the published rates."""
    rates = published.series("rates_by_position", "position", "acceptance_rate", series=f"{method} MT-Bench")
    return float(1.0 + sum(accumulate(list(rates.values())[:draft_len], mul)))


def trees_from_rates(results: Results) -> Table:
    """Return predicted tokens per cycle of EAGLE and EAGLE-3 trees next to the published values."""
    rows: list[Row] = []
    tables: list[ResultTable] = []
    for known in published.rows("eagle_tree_tau"):
        row: Row = {key: known[key] for key in ("method", "target_model", "task")}
        row |= {"draft_len": int(known["draft_len"]), "verify_tokens": int(known["verify_tokens"])}
        row["reported"] = known["tokens_per_cycle"]
        row["chain"] = _chain(row["method"], row["draft_len"])
        for tree in TREES:
            table = results.table(f"laws/tree-{str(known['method']).lower()}-{tree}.json")
            tables.append(table)
            tau = float(value(table.rows[0], "tokens_per_cycle", table.path))
            row |= {tree: tau, f"{tree}_error": tau / known["tokens_per_cycle"] - 1}
        rows.append({**row, "evidence": "published, theory"})
    columns = [
        Column("method", "head"),
        Column("target_model", "target"),
        Column("task", "task"),
        Column("draft_len", "depth", digits=0),
        Column("verify_tokens", "tokens verified", digits=0),
        Column("reported", "published", "tokens/cycle", digits=2),
        Column("chain", "chain with the same rates", digits=2),
    ]
    for tree, title in TREES.items():
        columns += [
            Column(tree, title, "tokens/cycle", digits=2),
            percent_column(f"{tree}_error", "error", signed=True),
        ]
    return Table(
        "trees-from-rates",
        "Tokens per cycle of EAGLE trees, predicted from acceptance rates by position without a fit to trees",
        [*columns, EVIDENCE],
        rows,
        joined({"published": "published (secondary)", "trees": "theory, from published rates"}),
        commits(tables),
        sources=[
            *(row["source"] for row in published.rows("eagle_tree_tau")),
            *(row["source"] for row in published.rows("rates_by_position", series="EAGLE-3 MT-Bench")),
        ],
        notes=[
            "Ranks beyond the first follow the rank law, which was fitted to Medusa and Sequoia. The confidence of "
            "the draft was fitted to Vicuna-7B on Spec-Bench.",
            "The depth of EAGLE-3's tree is not published; 8 is assumed.",
        ],
    )
