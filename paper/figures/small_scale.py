"""Figure ``figure-small-scale``: tokens per cycle of trained drafts by training tokens and by decoder layers."""

from __future__ import annotations

import math
from typing import Any

from paper.render.drawing import GREY, INK, NOTE, Canvas, canvas, label_ends
from paper.render.values import mean
from paper.sources.results import Results, ResultTable, commits
from paper.tables.small_scale import RUNS, groups, laws, slope
from scylla_sim.records import Row

_COLOURS = ("#3b1f6b", "#38598c", "#25858e", "#2ab07f", "#8bc34a", "#e0a80d", "#d1622b")
_SHOWN = {"arm": "main", "domain": "all", "drafting": "chain", "temperature": "0"}
"""Columns that select the points of the figure -> value."""

Points = dict[int, dict[int, list[float]]]
"""Decoder layers -> training tokens -> tokens per cycle of every seed."""


def _points(results: Results, run: str) -> Points:
    """Return the measured points of a training run."""
    path = f"smallscale/{run}/acceptance.csv"
    kinds = zip(*results.columns(path, tuple(_SHOWN)).values())
    chosen = [index for index, kind in enumerate(kinds) if kind == tuple(_SHOWN.values())]
    points = results.numbers(path, ("decoder_layers", "train_tokens", "tokens_per_cycle"), rows=chosen)
    found: Points = {}
    for depth, tokens, tau in zip(*points.values()):
        found.setdefault(int(depth), {}).setdefault(int(tokens), []).append(tau)
    return {depth: dict(sorted(curve.items())) for depth, curve in sorted(found.items())}


def _lines(table: ResultTable, by: str) -> dict[int, Row]:
    """Return the log-linear fits of a file by group."""
    return {int(group[by]): forms["log-linear"] for group, forms in groups(table, [by]) if "log-linear" in forms}


def _law(axes: Any, row: Row, low: float, high: float, colour: str) -> float:
    """Draw a fitted line and return its value at the right end."""
    grid = [low * (high / low) ** (step / 60) for step in range(61)]
    axes.plot(grid, [row["a"] * math.log(x) + row["c"] for x in grid], color=colour, linewidth=1.4)
    return float(row["a"] * math.log(high) + row["c"])


def _seeds(axes: Any, x: float, values: list[float], colour: str) -> None:
    """Draw the value of every seed and their mean."""
    axes.plot([x] * len(values), values, ".", color=colour, markersize=4, alpha=0.55)
    axes.plot([x], [mean(values)], "o", color=colour, markersize=5)


def _short(tokens: int) -> str:
    """Return a number of tokens with a binary prefix.

    Examples
    --------
    >>> _short(65536), _short(1 << 20)
    ('64k', '1M')
    """
    return f"{tokens >> 20}M" if tokens >= 1 << 20 else f"{tokens >> 10}k"


def _by_tokens(axes: Any, points: Points, fits: dict[int, Row]) -> None:
    """Draw tokens per cycle by training tokens, with one curve for each number of decoder layers."""
    ticks = list(next(iter(points.values())))
    ends = []
    for (depth, curve), colour in zip(points.items(), _COLOURS):
        for tokens, values in curve.items():
            _seeds(axes, tokens, values, colour)
        if depth in fits:
            ends.append((_law(axes, fits[depth], min(curve), max(curve), colour), f"{depth}", colour))
    label_ends(axes, max(ticks), ends, 0.11)
    axes.set_xscale("log")
    axes.set_xticks(ticks, [_short(tokens) for tokens in ticks])
    axes.set(title="Theorem 1.1", xlabel="training tokens of the draft", ylabel="tokens per cycle")
    lowest = min(row["r2"] for row in fits.values())
    axes.text(0.02, 0.97, f"labels: decoder layers\nR² {lowest:.3f} or higher", **_corner(axes))


def _by_layers(axes: Any, points: Points, fits: dict[int, Row]) -> None:
    """Draw tokens per cycle by decoder layers, with one curve for each number of training tokens."""
    depths = list(points)
    ends = []
    for (tokens, row), colour in zip(fits.items(), _COLOURS):
        for depth in depths:
            _seeds(axes, depth, points[depth][tokens], colour)
        ends.append((_law(axes, row, depths[0], depths[-1], colour), _short(tokens), colour))
    label_ends(axes, depths[-1], ends, 0.11)
    axes.set_xscale("log")
    axes.set_xticks(depths, [str(depth) for depth in depths])
    axes.set(title="Theorem 1.2", xlabel="decoder layers of the draft")
    last = max(next(iter(points.values())))
    middle, low, high, _ = slope(fits[last])
    text = (
        f"labels: training tokens\n{_short(last)}: {middle:.2f} [{low:.2f}, {high:.2f}] per ln, "
        f"R² {fits[last]['r2']:.3f}"
    )
    axes.text(0.02, 0.97, text, **_corner(axes))


def small_scale(results: Results) -> Canvas:
    """Draw Theorems 1.1 and 1.2 on trained drafts: seeds as small dots, fits of their means as lines."""
    (run, by_depth), (_, by_tokens) = laws(results, "tokens")[0], laws(results, "layers")[0]
    points = _points(results, run)
    drawing = canvas(
        "small-scale",
        "Theorems 1.1 and 1.2 on trained drafts, at small scale",
        "Tokens per cycle of greedy chains on held-out text; target and drafts have less than half a million "
        f"weights (evidence small-scale; {RUNS[run]}). Small dots: training seeds; dots: their mean; lines: a ln x "
        f"+ c, fitted to the means. Commit {commits([by_depth, by_tokens])}.",
        size=(9.2, 4.3),
        columns=2,
        share_y=True,
    )
    left, right = drawing.axes
    _by_tokens(left, points, _lines(by_depth, "decoder_layers"))
    _by_layers(right, points, _lines(by_tokens, "train_tokens"))
    for axes in (left, right):
        axes.minorticks_off()
        axes.margins(x=0.05)
        axes.tick_params(colors=INK)
    return drawing


def _corner(axes: Any) -> dict[str, Any]:
    """Return the style of text in the upper left corner of a panel."""
    style = {"va": "top", "fontsize": 8, "color": GREY, "linespacing": 1.5, "label": NOTE}
    return {"transform": axes.transAxes, **style}
