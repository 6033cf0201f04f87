"""Figure ``figure-table5``: throughput of Table 5, reported and predicted."""

from __future__ import annotations

import numpy as np

from paper.render.drawing import BLUE, GREY, LIGHT, ORANGE, Canvas, canvas, label_line, powers_of_two
from paper.sources.results import Results, commits
from paper.tables.table5 import METHODS, table5_rows

METHOD_COLOURS = {"plain": GREY, "eagle2": ORANGE, "scylla": BLUE}


def table5(results: Results) -> Canvas:
    """Draw reported throughput as solid and predicted throughput as dashed lines, one panel per method."""
    tables, rows = table5_rows(results)
    drawing = canvas(
        "table5",
        "Table 5: reported and predicted throughput of Qwen2.5-72B on 4x H800",
        "Solid with dots: arXiv 2505.07858, Table 5 (evidence published, secondary). Dashed: predicted without a "
        f"fit to the table (evidence {', '.join(tables['plain'].levels())}). Band: range of tokens per cycle. "
        "The context was inferred from the plain column, which is therefore no evidence. "
        f"Commit {commits(tables.values())}.",
        size=(8.6, 4.2),
        columns=3,
        share_y=True,
    )
    batches = [row["batch_size"] for row in rows]
    top = 1.05 * max(row[f"{method}_{key}"] for row in rows for method in METHODS for key in ("reported", "upper"))
    for axes, (method, name) in zip(drawing.axes, METHODS.items()):
        colour = METHOD_COLOURS[method]
        series = {
            key: [row[f"{method}_{key}"] for row in rows] for key in ("reported", "predicted", "lower", "upper")
        }
        axes.fill_between(batches, series["lower"], series["upper"], color=colour, alpha=0.16, linewidth=0)
        axes.plot(batches, series["reported"], "o-", color=colour, markersize=4.5)
        axes.plot(batches, series["predicted"], linestyle=(0, (4, 2)), color=colour)
        if method != "plain":
            plain = [row["plain_reported"] for row in rows]
            axes.plot(batches, plain, color=LIGHT, linewidth=1.4, zorder=0)
            label_line(axes, batches[-1], plain[-1], "plain", "#a0a8b0", dx=4)
        error = float(np.mean([abs(row[f"{method}_error"]) for row in rows]))
        axes.set_title(f"{name}: error {100 * error:.1f} %" if method != "plain" else f"{name} (no evidence)")
        powers_of_two(axes, [1, 2, 4, 8, 16, 32, 64])
        axes.set(xlabel="batch", ylim=(0, top))
    drawing.axes[0].set_ylabel("throughput (tokens/s)")
    middle = rows[len(rows) // 2]
    label_line(drawing.axes[1], middle["batch_size"], middle["eagle2_reported"], "reported", ORANGE, dx=-8, dy=9)
    label_line(drawing.axes[1], middle["batch_size"], middle["eagle2_predicted"], "predicted", ORANGE, dx=4, dy=-10)
    return drawing
