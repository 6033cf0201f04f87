"""Figure ``figure-profiles``: log-odds of trained drafts by training tokens, and errors of predicted trees."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

from paper.render.drawing import BLUE, GREEN, GREY, INK, NOTE, ORANGE, PURPLE, Canvas, canvas, label_ends
from paper.sources.results import Results, commits
from paper.tables.small_scale_profiles import PATH
from scylla_sim.records import Row

POINTS = "smallscale/long/profiles.csv"
_COLOURS = ("#3b1f6b", "#38598c", "#25858e", "#2ab07f", "#8bc34a", "#e0a80d")
_SHOWN = {"temperature": "0", "domain": "all", "depth": "1"}
_TESTS = {"draft": "one draft", "tokens and layers": "its tokens\nand layers", "more tokens": "more tokens"}
_TESTS |= {"corner": "more of both"}
_MARKS = (
    ("own", True, "own profile", GREY, "s"),
    ("power-interaction", True, "moved, ranks share slopes", PURPLE, "v"),
    ("by-rank", True, "moved, slopes by rank", BLUE, "o"),
    ("nearest", True, "nearest profile", ORANGE, "^"),
    ("iid", False, "one rate", GREEN, "D"),
)
"""Prediction, whether it knows side branches, label, colour and marker."""


def _odds(results: Results) -> dict[int, dict[float, list[float]]]:
    """Return the log-odds of the first choice at depth 1: layers -> training tokens -> every seed."""
    kinds = zip(*results.columns(POINTS, tuple(_SHOWN)).values())
    chosen = [index for index, kind in enumerate(kinds) if kind == tuple(_SHOWN.values())]
    columns = results.numbers(POINTS, ("decoder_layers", "train_tokens", "rank_0"), rows=chosen)
    found: dict[int, dict[float, list[float]]] = {}
    for layers, tokens, rate in zip(*columns.values()):
        found.setdefault(int(layers), {}).setdefault(tokens, []).append(math.log(rate / (1 - rate)))
    return dict(sorted(found.items()))


def _law(fit: Row, tokens: float, layers: int) -> float:
    """Return the log-odds of the fitted law at depth 1."""
    u, d = (tokens / fit["unit"]) ** -fit["exponent"], math.log(layers)
    gain, depth, both = fit["slopes_1"]
    return float(fit["base_1"] - gain * u + depth * d - both * u * d)


def _left(axes: Any, results: Results, fit: Row) -> None:
    """Draw the log-odds of every draft, and the law that is fitted to all of them."""
    ends = []
    for (layers, curve), colour in zip(_odds(results).items(), _COLOURS):
        low, high = min(curve), max(curve)
        grid = [low * (high / low) ** (step / 60) for step in range(61)]
        axes.plot(grid, [_law(fit, x, layers) for x in grid], color=colour, linewidth=1.2)
        for tokens, values in curve.items():
            axes.plot([tokens] * len(values), values, "o", color=colour, markersize=4)
        ends.append((_law(fit, high, layers), str(layers), colour))
    label_ends(axes, high, ends, 0.06)
    axes.set_xscale("log")
    axes.set(title="First choice at depth 1", xlabel="training tokens of the draft", ylabel="log-odds")
    axes.text(
        0.02, 0.97, "labels: decoder layers", transform=axes.transAxes, va="top", fontsize=8, color=GREY, label=NOTE
    )


def _right(axes: Any, rows: list[Row]) -> None:
    """Draw the median error of trees by test, with a line to the 90th percentile."""
    for offset, (name, side, label, colour, marker) in enumerate(_MARKS):
        found = {row["held_out"]: row for row in rows if (row["prediction"], row["side_branches"]) == (name, side)}
        for place, test in enumerate(_TESTS):
            x = place + 0.15 * (offset - 2)
            axes.plot([x, x], [100 * found[test]["median"], 100 * found[test]["p90"]], color=colour, linewidth=1.0)
            axes.plot([x], [100 * found[test]["median"]], marker, color=colour, label=label if place == 0 else None)
    axes.set_xticks(range(len(_TESTS)), list(_TESTS.values()))
    axes.set(title="Trees of 16 to 60 nodes", xlabel="held out", ylabel="error of tokens per cycle, %")
    axes.set_ylim(0, 1.35 * axes.get_ylim()[1])  # room for the legend above the lines
    axes.legend(frameon=False, fontsize=8, ncols=2, loc="upper left")


def profiles(results: Results) -> Canvas:
    """Draw how the profile moves with tokens and layers, and how well it then predicts trees."""
    table = results.table(PATH)
    rows = [row for row in table.rows if row["kind"] == "training" and row["temperature"] == 0]
    drawing = canvas(
        "profiles",
        "Rank profiles move with training tokens and layers",
        "Drafts trained here at temperature 0 (evidence small-scale). Left: dots are drafts, lines the shift "
        "-a T^-p + b ln D - e T^-p ln D, with slopes of this rank, fitted to all drafts. Right: median of the "
        f"absolute error; lines end at the 90th percentile; no fit uses the held-out drafts. "
        f"Commit {commits([table])}.",
        size=(9.2, 4.3),
        columns=2,
    )
    left, right = drawing.axes
    _left(left, results, rows[0])
    _right(right, rows)
    small = canvas("profiles", "", "", size=(5.6, 3.2))
    _right(small.axes[0], rows)
    for axes in (left, right, *small.axes):
        axes.minorticks_off()
        axes.tick_params(colors=INK)
    return replace(drawing, small=small)
