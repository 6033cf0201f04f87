"""Table ``theorem-1.1``: tokens per cycle by pretraining tokens, quoted law and refits."""

from __future__ import annotations

from paper.render.table import Table
from paper.render.values import joined
from paper.sources import published
from paper.sources.results import Results, commits
from paper.tables.law_fits import LAW_COLUMNS, form, interval_notes, law_rows, quoted_row


def theorem_1_1(results: Results) -> Table:
    """Return the quoted law of Theorem 1.1 next to refits of the points in Fig. 1 and to rival forms."""
    laws = results.table("laws/theorem-1.1.json")
    zero = results.table("laws/theorem-1.1-zero.json")
    points = published.series("fig1_tokens", "pretrain_tokens_b", "tokens_per_cycle", pretrained="yes")
    return Table(
        "theorem-1.1",
        "Theorem 1.1: tokens per cycle by pretraining tokens (Fig. 1 left, Vicuna-7B)",
        LAW_COLUMNS,
        [quoted_row("1.1", points), *law_rows(laws), *law_rows(zero, " (with the zero-token point)")],
        joined({"labels and quotation": "published", "refits": "of published labels"}),
        commits([laws, zero]),
        sources=[
            row["source"] for row in (*published.rows("fig1_tokens"), *published.rows("theorems", theorem=1.1))
        ],
        notes=[
            "x: pretraining tokens in billions; ln is the natural logarithm. R² of the quoted row is for the same "
            "labels. Compare AICc only between rows with the same number of points.",
            f"R² printed in Fig. 1: {published.quoted('1.1')['r2']:g}.",
            *interval_notes(form(laws, "log-linear"), "1.1"),
            *interval_notes(form(zero, "log1p"), "1.1"),
        ],
    )
