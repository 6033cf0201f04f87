"""Trees from rates: tokens per cycle of a draft tree predicted from acceptance rates per position alone."""

from __future__ import annotations

from itertools import accumulate
from operator import mul

from paper.render.table import Column, Table, joined
from paper.sources import published
from paper.sources.inputs import how_to_make
from paper.sources.results import Results, commits, value
from paper.sources.results import Table as ResultTable
from scylla_sim.records import Row

TREES = {"beam": "one tree for all contexts", "dynamic": "dynamic tree"}


def _file(results: Results, method: str, tree: str) -> ResultTable:
    path = f"laws/tree-{method.lower()}-{tree}.json"
    return results.table(path, how_to_make(path))


def _chain(method: str, draft_len: int) -> float:
    """Tokens per cycle of a chain with the published rates, for comparison."""
    rates = published.series("rates_by_position", "position", "acceptance_rate", series=f"{method} MT-Bench")
    return float(1.0 + sum(accumulate(list(rates.values())[:draft_len], mul)))


def trees_from_rates(results: Results) -> Table:
    """EAGLE and EAGLE-3: their rates per position, the rank law and the mixture against their published trees."""
    rows: list[Row] = []
    tables: list[ResultTable] = []
    for known in published.rows("eagle_tree_tau"):
        row: Row = {key: known[key] for key in ("method", "target_model", "task")}
        row |= {"draft_len": int(known["draft_len"]), "verify_tokens": int(known["verify_tokens"])}
        row["reported"] = known["tokens_per_cycle"]
        row["chain"] = _chain(row["method"], row["draft_len"])
        for tree in TREES:
            table = _file(results, str(known["method"]), tree)
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
        Column("chain", "a chain would yield", digits=2),
    ]
    for tree, title in TREES.items():
        columns += [
            Column(tree, title, "tokens/cycle", digits=2),
            Column(f"{tree}_error", "error", "%", digits=1, scale=100, signed=True),
        ]
    return Table(
        "trees-from-rates",
        "Tokens per cycle of EAGLE's trees from acceptance rates per position, nothing fitted to them",
        [*columns, Column("evidence", "evidence")],
        rows,
        joined({"published": "published (secondary)", "trees": "theory, from published rates"}),
        commits(tables),
        sources=[
            *(row["source"] for row in published.rows("eagle_tree_tau")),
            *(row["source"] for row in published.rows("rates_by_position", series="EAGLE-3 MT-Bench")),
        ],
        notes=[
            "Ranks beyond the first follow the rank law fitted to Medusa and Sequoia; the draft's confidence was "
            "fitted to Vicuna-7B on Spec-Bench. Depth of EAGLE-3's tree: 8 is assumed.",
        ],
    )
