"""Table ``acceptance``: mean tokens per cycle as two papers report them."""

from __future__ import annotations

from paper.render.table import EVIDENCE, Column, Table, percent_column
from paper.sources import published
from paper.sources.results import Results
from scylla_sim.records import Row

PAPERS = {"scylla": "arXiv 2505.07858", "eagle3": "arXiv 2503.01840"}
"""Paper in ``mean_acceptance.csv`` -> its number."""


def acceptance(results: Results) -> Table:
    """Return the reported tokens per cycle by target, and the gains over EAGLE-2."""
    del results  # the table has published numbers only
    known = published.rows("mean_acceptance", temperature=0.0)
    rows: list[Row] = []
    for target, paper in dict.fromkeys((row["target_model"], row["paper"]) for row in known):
        found = {
            row["method"]: row["tokens_per_cycle"]
            for row in known
            if row["target_model"] == target and row["paper"] == paper
        }
        base = found["EAGLE-2"]
        method, tau = next((name, tau) for name, tau in found.items() if name != "EAGLE-2")
        rows.append(
            {
                "paper": PAPERS[paper],
                "target_model": target,
                "eagle2": base,
                "method": method,
                "tokens_per_cycle": tau,
                "gain": tau - base,
                "relative_gain": tau / base - 1,
                "evidence": "published",
            }
        )
    low, high = (published.claim(f"acceptance_gain_over_eagle2_{end}") for end in ("low", "high"))
    return Table(
        "acceptance",
        "Reported mean tokens per cycle at temperature 0",
        (
            Column("paper", "paper"),
            Column("target_model", "target"),
            Column("eagle2", "EAGLE-2", digits=2),
            Column("method", "method"),
            Column("tokens_per_cycle", "tokens per cycle", digits=2),
            Column("gain", "gain over EAGLE-2", "tokens/cycle", digits=2, signed=True),
            percent_column("relative_gain", "relative gain", digits=0, signed=True),
            EVIDENCE,
        ),
        rows,
        "published (Scylla's numbers: secondary)",
        "",
        sources=[row["source"] for row in known],
        notes=[
            f"The abstract claims gains of {low:g} to {high:g} tokens per cycle over EAGLE-2.",
            "The two papers average over different tasks, so compare methods within one paper only.",
        ],
    )
