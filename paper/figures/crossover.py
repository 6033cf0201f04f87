"""Figure ``figure-turning-points``: compute-bound crossover of verification by batch (Theorem 1.3)."""

from __future__ import annotations

import math

from paper.render.drawing import (
    BLUE,
    GREEN,
    INK,
    ORANGE,
    RED,
    Canvas,
    canvas,
    draw_formula,
    label_ends,
    powers_of_two,
)
from paper.sources import published
from paper.sources.results import Results, commits
from paper.tables.law_fits import form
from paper.tables.theorem_1_3 import by_batch, quoted_optimum


def crossover(results: Results) -> Canvas:
    """Draw the best number of paths by batch on logarithmic axes, with the fitted logarithm."""
    files = {name: results.table(f"steps/fig5-{name}.json") for name in ("paper", "dense")}
    laws = results.table("laws/theorem-1.3.json")
    drawing = canvas(
        "turning-points",
        "Theorem 1.3: best number of verified paths by batch",
        "Qwen2.5-72B on one GPU with 10K input. Points: Fig. 5 of arXiv 2505.07858, digitised (evidence "
        "published); arrows: beyond the edge of the figure. Dotted: least-squares fit of the points. Roofline: the "
        "arithmetic intensity equals the ridge point (evidence theory). "
        f"Commit {commits([*files.values(), laws])}.",
        size=(6.6, 4.6),
    )
    axes = drawing.axes[0]
    draw_formula(axes, quoted_optimum, 1, 64, color=ORANGE, linestyle=(0, (5, 2)), linewidth=1.5, zorder=5)
    ends = [(quoted_optimum(64), "quoted formula", ORANGE)]
    labels = (("paper", "roofline, paper's constants", BLUE), ("dense", "roofline, dense peak", GREEN))
    for name, text, colour in labels:
        curve = by_batch(files[name], "k_opt")
        axes.plot(list(curve), list(curve.values()), "-", color=colour)
        ends.append((curve[max(curve)], text, colour))
    row = form(laws, "log-linear")
    if row is not None:
        low, high = 8.0, 64.0
        draw_formula(
            axes, lambda x: row["a"] * math.log(x) + row["c"], low, high, color=RED, linestyle=":", linewidth=1.6
        )
        ends.append((row["a"] * math.log(high) + row["c"], f"a ln b + c (R² {row['r2']:.2f})", RED))
    label_ends(axes, 64, [end for end in ends if end[0] > 0], 0.11, log=True)
    for point in published.rows("fig5_turning_points"):
        at = (point["batch_size"], point["k_opt"])
        if point["inside"] == "yes":
            axes.plot(*at, "o", color=INK, markersize=6, zorder=6)
        else:
            axes.annotate(
                "", (at[0], at[1] * 1.55), at, arrowprops={"arrowstyle": "->", "color": INK, "linewidth": 1.2}
            )
            axes.plot(*at, "_", color=INK, markersize=9)
    axes.set_yscale("log")
    axes.set_yticks([10, 20, 50, 100, 200, 500], ["10", "20", "50", "100", "200", "500"])
    powers_of_two(axes, [1, 2, 4, 8, 16, 32, 64])
    axes.set(xlabel="batch", ylabel="verified paths k at the crossover", ylim=(7, 700))
    axes.minorticks_off()
    return drawing
