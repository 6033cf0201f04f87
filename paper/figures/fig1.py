"""Figure ``figure-fig1``: tokens per cycle by pretraining tokens and by decoder layers, with refits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from paper.render.drawing import BLUE, GREY, INK, NOTE, ORANGE, Canvas, canvas, draw_formula, label_ends
from paper.render.values import significant
from paper.sources import published
from paper.sources.results import Results, ResultTable, commits, make_again, value
from paper.tables.law_fits import form, log_law
from scylla_sim.checks import fail
from scylla_sim.records import Row


def predictions(row: Row, path: str) -> dict[float, tuple[float, float, float]]:
    """Return the predictions of a law as x -> (value, lower, upper).

    ``scylla-sim laws --predict`` writes them as columns ``y(x)``.

    Raises
    ------
    InputError
        If there are fewer than two.
    """
    found = {
        float(key[2:-1]): (float(row[key]), float(row[f"{key}_lower"]), float(row[f"{key}_upper"]))
        for key in row
        if key.startswith("y(") and key.endswith(")")
    }
    if len(found) < 2:
        raise fail("y(x)", len(found), f"must be at least two in {path}", make_again(path))
    return dict(sorted(found.items()))


def _panel(axes: Any, points: Mapping[float, float], laws: ResultTable, theorem: str, gap: float) -> None:
    """Draw the points, the refit with its interval and the quoted law, with labels at least ``gap`` apart."""
    row = form(laws, "log-linear")
    if row is None:
        raise fail("form", "log-linear", f"has no fit in {laws.path}", make_again(laws.path))
    band = predictions(row, laws.path)
    inside = {x: y for x, y in band.items() if min(points) <= x <= max(points)}
    axes.fill_between(
        list(inside), [y[1] for y in inside.values()], [y[2] for y in inside.values()], color=BLUE, alpha=0.13, lw=0
    )
    low, high = min(points), max(points)
    draw_formula(axes, lambda x: row["a"] * math.log(x) + row["c"], low, high, color=BLUE)
    quoted = published.quoted(theorem)
    draw_formula(axes, lambda x: log_law(quoted, x), low, high, color=ORANGE, linestyle=(0, (5, 2)), linewidth=1.5)
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
        label=NOTE,
    )


def fig1(results: Results) -> Canvas:
    """Draw the printed points of Fig. 1 with the refit, its interval and the quoted law."""
    tokens, layers = (results.table(f"laws/theorem-1.{n}.json") for n in (1, 2))
    drawing = canvas(
        "fig1",
        "Fig. 1: tokens per cycle by pretraining tokens and decoder layers of the draft",
        "Fig. 1 of arXiv 2505.07858 (Vicuna-7B). Points: labels printed in the figure (evidence published); "
        "dotted: value without pretraining. Lines: least-squares refit of these points, and the quoted "
        "coefficients of the theorems. "
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
