"""Figures of the three theorems: Fig. 1 with its refits, Fig. 5 with our curves, the turning points."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from paper.render.drawing import (
    BATCH_COLOURS,
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    RED,
    Canvas,
    canvas,
    label_ends,
    label_line,
    powers_of_two,
)
from paper.sources import published
from paper.sources.inputs import how_to_make
from paper.sources.results import Results, commits, value
from paper.sources.results import Table as ResultTable
from paper.tables.laws import form, law_table, log_law, significant
from paper.tables.turning_points import by_batch, fig5_errors, quoted_optimum
from scylla_sim.checks import fail
from scylla_sim.records import Row

EXACT = 1e-9
"""Mean error below this: the reference curve itself, from which tau(k) was read."""


def predictions(row: Row, path: str) -> dict[float, tuple[float, float, float]]:
    """``y(x)`` with its interval, as ``scylla-sim laws --predict`` wrote them: x -> value, lower, upper."""
    found = {
        float(key[2:-1]): (float(row[key]), float(row[f"{key}_lower"]), float(row[f"{key}_upper"]))
        for key in row
        if key.startswith("y(") and key.endswith(")")
    }
    if len(found) < 2:
        raise fail(
            "y(x)", len(found), f"must be at least two in {path}", f"make it again with: {how_to_make(path)}"
        )
    return dict(sorted(found.items()))


def _curve(axes: Any, law: Callable[[float], float], low: float, high: float, **style: Any) -> None:
    """Draw a formula on a logarithmic grid."""
    grid = [low * (high / low) ** (i / 100) for i in range(101)]
    axes.plot(grid, [law(x) for x in grid], **style)


def _panel(axes: Any, points: Mapping[float, float], laws: ResultTable, theorem: str, gap: float) -> None:
    """Points, the refit with its interval, and the quoted law; labels stand at least ``gap`` apart."""
    row = form(laws, "log-linear")
    if row is None:
        raise fail(
            "form", "log-linear", f"has no fit in {laws.path}", f"make it again with: {how_to_make(laws.path)}"
        )
    band = predictions(row, laws.path)
    inside = {x: y for x, y in band.items() if min(points) <= x <= max(points)}
    axes.fill_between(
        list(inside), [y[1] for y in inside.values()], [y[2] for y in inside.values()], color=BLUE, alpha=0.13, lw=0
    )
    low, high = min(points), max(points)
    _curve(axes, lambda x: row["a"] * math.log(x) + row["c"], low, high, color=BLUE)
    quoted = published.quoted(theorem)
    _curve(axes, lambda x: log_law(quoted, x), low, high, color=ORANGE, linestyle=(0, (5, 2)), linewidth=1.5)
    axes.plot(list(points), list(points.values()), "o", color=INK, markersize=5.5, zorder=5)
    ends = [(row["a"] * math.log(high) + row["c"], "refit", BLUE), (log_law(quoted, high), "quoted", ORANGE)]
    label_ends(axes, high, ends, gap)
    axes.set_xscale("log")
    axes.set_xticks(list(points), [f"{x:g}" for x in points])
    axes.minorticks_off()
    axes.margins(x=0.04)
    level = f"{100 * value(row, 'level', laws.path):.0f} % interval of a new draft"
    axes.text(
        0.02,
        0.97,
        f"refit {significant(row['a'], 3)} ln x + {row['c']:.3f}, R² {row['r2']:.3f}\n"
        f"quoted {quoted['slope']:g} ln x + {quoted['intercept']:g}\nband: {level}",
        transform=axes.transAxes,
        va="top",
        fontsize=8,
        color=GREY,
        linespacing=1.5,
    )


def fig1(results: Results) -> Canvas:
    """Fig. 1: the printed labels, our refit with its interval, the quoted law."""
    tokens, layers = (law_table(results, f"laws/theorem-1.{n}.json") for n in (1, 2))
    drawing = canvas(
        "fig1",
        "Fig. 1: tokens per cycle against the draft's pretraining and depth",
        "Fig. 1 of arXiv 2505.07858 (Vicuna-7B). Points: labels printed in the figure, evidence published; dotted: "
        "value without pretraining. Lines: least squares on these points, and the coefficients quoted for the "
        "theorems. "
        f"Commit {commits([tokens, layers])}.",
        size=(9.2, 4.1),
        columns=2,
    )
    left, right = drawing.axes
    points = published.series("fig1_tokens", "pretrain_tokens_b", "tokens_per_cycle", pretrained="yes")
    _panel(left, points, tokens, "1.1", 0.035)
    base = published.rows("fig1_tokens", pretrained="no")[0]["tokens_per_cycle"]
    left.axhline(base, color=GREY, linestyle=":", linewidth=1.2)
    left.text(100, base + 0.008, "no pretraining", color=GREY, fontsize=8, ha="right", va="bottom")
    left.set(
        title="Theorem 1.1", xlabel="pretraining tokens (billions)", ylabel="tokens per cycle", ylim=(4.98, 5.68)
    )
    _panel(right, published.series("fig1_layers", "decoder_layers", "tokens_per_cycle"), layers, "1.2", 0.1)
    right.set(title="Theorem 1.2", xlabel="decoder layers of the draft", ylim=(4.5, 6.75))
    return drawing


def _family(table: ResultTable) -> dict[int, dict[float, float]]:
    """Curves of a turning-points file with a reference: batch -> k -> tokens/s."""
    curves: dict[int, dict[float, float]] = {}
    for row in table.rows:
        curve = curves.setdefault(int(value(row, "batch_size", table.path)), {})
        curve[float(value(row, "k", table.path))] = float(value(row, "tokens_per_s", table.path))
    return curves


def _colour(batch: int) -> str:
    return BATCH_COLOURS.get(batch, INK)


def fig5(results: Results) -> Canvas:
    """Fig. 5: our roofline curves over the digitised ones, with the paper's constants and with the dense peak."""
    names = {"paper": "with the constants that fit the paper", "dense": "with the dense BF16 peak"}
    files = {
        name: results.table(f"steps/fig5-curves-{name}.json", how_to_make(f"steps/fig5-curves-{name}.json"))
        for name in names
    }
    drawing = canvas(
        "fig5",
        "Fig. 5 from a roofline: throughput against verified paths",
        "Qwen2.5-72B on one GPU at 10K input; numbers on the left: batch. Dots: digitised from the paper within 5 "
        "tokens/s (evidence published; computed there, not measured). Lines: ours (evidence theory), tau(k) read "
        f"off one curve; triangles: where ours is highest. Commit {commits(files.values())}.",
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
        axes.set(title=title, xlabel="verified paths k", xlim=(2, 82), ylim=(0, 1290))
        errors = {batch: row["error"] for batch, row in fig5_errors(files[name]).items() if row["error"] > EXACT}
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
        )
    drawing.axes[0].set_ylabel("throughput (tokens/s)")
    return drawing


def turning_points(results: Results) -> Canvas:
    """k_opt against the batch: a rule in 1/b, drawn on logarithmic axes, and the line that the name promises."""
    files = {
        name: results.table(f"steps/fig5-{name}.json", how_to_make(f"steps/fig5-{name}.json"))
        for name in ("paper", "dense")
    }
    laws = law_table(results, "laws/theorem-1.3.json")
    drawing = canvas(
        "turning-points",
        "Theorem 1.3: the best number of verified paths against the batch",
        "Qwen2.5-72B at 10K input, one GPU. Points: Fig. 5 of arXiv 2505.07858, digitised (evidence published); "
        "arrows: beyond the figure's edge. Dotted: least squares on the points. Ours: where "
        "arithmetic intensity meets the ridge point (evidence theory). "
        f"Commit {commits([*files.values(), laws])}.",
        size=(6.6, 4.6),
    )
    axes = drawing.axes[0]
    _curve(axes, quoted_optimum, 1, 64, color=ORANGE, linestyle=(0, (5, 2)), linewidth=1.5)
    ends = [(quoted_optimum(64), "quoted formula", ORANGE)]
    for name, text, colour in (("paper", "ours, paper's constants", BLUE), ("dense", "ours, dense peak", GREEN)):
        curve = by_batch(files[name], "k_opt")
        axes.plot(list(curve), list(curve.values()), "-", color=colour)
        ends.append((curve[max(curve)], text, colour))
    row = form(laws, "log-linear")
    if row is not None:
        low, high = 8.0, 64.0
        _curve(
            axes, lambda x: row["a"] * math.log(x) + row["c"], low, high, color=RED, linestyle=":", linewidth=1.6
        )
        ends.append((row["a"] * math.log(high) + row["c"], f"a ln b + c (R² {row['r2']:.2f})", RED))
    label_ends(axes, 64, [end for end in ends if end[0] > 0], 0.085, log=True)
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
    axes.set(xlabel="batch", ylabel="verified paths k at the turning point", ylim=(7, 700))
    axes.minorticks_off()
    return drawing
