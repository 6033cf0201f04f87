"""Table ``theorem-1.2``: tokens per cycle by decoder layers of the draft, quoted law and refits."""

from __future__ import annotations

from collections.abc import Mapping

from paper.render.table import Table
from paper.render.values import joined
from paper.sources import published
from paper.sources.results import Results, commits
from paper.tables.law_fits import LAW_COLUMNS, form, interval_notes, law_rows, log_law, quoted_row


def _largest_error(points: Mapping[float, float]) -> str:
    """Return where the quoted law differs most from the printed points, in a sentence."""
    quoted = published.quoted("1.2")
    x = max(points, key=lambda at: abs(log_law(quoted, at) - points[at]))
    return (
        f"The quoted law differs from the labels by up to {abs(log_law(quoted, x) - points[x]):.2f} tokens/cycle "
        f"(at x = {x:g}: {log_law(quoted, x):.2f} instead of {points[x]:.2f})."
    )


def theorem_1_2(results: Results) -> Table:
    """Return the quoted law of Theorem 1.2, which differs from the points in Fig. 1, next to refits of these."""
    laws = results.table("laws/theorem-1.2.json")
    points = published.series("fig1_layers", "decoder_layers", "tokens_per_cycle")
    return Table(
        "theorem-1.2",
        "Theorem 1.2: tokens per cycle by decoder layers of the draft (Fig. 1 right, Vicuna-7B)",
        [column for column in LAW_COLUMNS if column.key != "delta_aicc"],
        [quoted_row("1.2", points), *law_rows(laws)],
        joined({"labels and quotation": "published", "refits": "of published labels"}),
        commits([laws]),
        sources=[
            row["source"] for row in (*published.rows("fig1_layers"), *published.rows("theorems", theorem=1.2))
        ],
        notes=[
            "x: decoder layers of the draft; ln is the natural logarithm. R² of the quoted row is for the same "
            "labels.",
            f"R² printed in Fig. 1: {published.quoted('1.2')['r2']:g}. Four points cannot separate forms with "
            "three parameters.",
            _largest_error(points),
            *interval_notes(form(laws, "log-linear"), "1.2"),
        ],
    )
