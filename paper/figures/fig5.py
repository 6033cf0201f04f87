"""Figure ``figure-fig5``: throughput by verified paths, roofline curves over the digitised ones."""

from __future__ import annotations

from paper.render.drawing import BATCH_COLOURS, GREY, INK, NOTE, Canvas, canvas, label_line
from paper.sources import published
from paper.sources.results import Results, ResultTable, commits, value
from paper.tables.fig5 import curve_errors

EXACT = 1e-9
"""Mean error below which a curve is the reference curve, from which tau(k) was read."""


def _family(table: ResultTable) -> dict[int, dict[float, float]]:
    """Return the curves of a file as batch -> k -> tokens/s."""
    curves: dict[int, dict[float, float]] = {}
    for row in table.rows:
        curve = curves.setdefault(int(value(row, "batch_size", table.path)), {})
        curve[float(value(row, "k", table.path))] = float(value(row, "tokens_per_s", table.path))
    return curves


def _colour(batch: int) -> str:
    """Return the colour of a batch."""
    return BATCH_COLOURS.get(batch, INK)


def fig5(results: Results) -> Canvas:
    """Draw the roofline curves over the digitised ones, with the paper's constants and with the dense peak."""
    names = {"paper": "with the constants that fit the paper", "dense": "with the dense BF16 peak"}
    files = {name: results.table(f"steps/fig5-curves-{name}.json") for name in names}
    drawing = canvas(
        "fig5",
        "Fig. 5 from a roofline: throughput by verified paths",
        "Qwen2.5-72B on one GPU with 10K input; numbers on the left: batch. Dots: digitised from the paper within "
        "5 tokens/s (evidence published; computed there, not measured). Lines: roofline (evidence theory), with "
        f"tau(k) read from one curve. Triangles: highest point of a line. Commit {commits(files.values())}.",
        size=(9.6, 4.6),
        columns=2,
        share_y=True,
    )
    reported: dict[int, dict[float, float]] = {}
    for row in published.rows("fig5_curves"):
        reported.setdefault(int(row["batch_size"]), {})[row["k"]] = row["tokens_per_s"]
    for axes, (name, title) in zip(drawing.axes, names.items()):
        for batch, curve in _family(files[name]).items():
            axes.plot(list(curve), list(curve.values()), color=_colour(batch), linewidth=1.6)
            best = max(curve, key=lambda k: curve[k])
            axes.plot([best], [curve[best]], "v", color=_colour(batch), markersize=7, zorder=6)
            if batch in reported:
                dots = reported[batch]
                axes.plot(list(dots), list(dots.values()), ".", color=_colour(batch), markersize=3.6, alpha=0.75)
            k, y = min(curve.items())
            label_line(axes, k, y, f"{batch}", _colour(batch), dx=-5)
        axes.text(-3.2, 668, "batch", fontsize=8, color=GREY)
        axes.set(title=title, xlabel="verified paths k", xlim=(-4, 82), ylim=(0, 1290))
        errors = {batch: row["error"] for batch, row in curve_errors(files[name]).items() if row["error"] > EXACT}
        axes.text(
            80,
            1240,
            f"mean error at batch {', '.join(f'{batch:g}' for batch in errors)}:\n"
            f"{', '.join(f'{100 * error:.1f}' for error in errors.values())} %",
            fontsize=8,
            color=GREY,
            ha="right",
            va="top",
            linespacing=1.4,
            label=NOTE,
        )
    drawing.axes[0].set_ylabel("throughput (tokens/s)")
    return drawing
