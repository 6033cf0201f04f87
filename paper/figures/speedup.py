"""Figure ``figure-speedup``: predicted speed-up by batch and context."""

from __future__ import annotations

import math
from itertools import pairwise

from paper.render.drawing import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PURPLE,
    RED,
    Canvas,
    canvas,
    label_line,
    powers_of_two,
)
from paper.sources.results import Results, commits, make_again, value
from scylla_sim.checks import fail


def crossover(batches: list[float], speedups: list[float]) -> float | None:
    """Return the first batch at which the speed-up falls below 1, or ``None``.

    The batch is interpolated between the points on a logarithmic axis.

    Examples
    --------
    >>> crossover([1, 4, 16], [2.0, 1.5, 0.5])
    8.0
    >>> crossover([1, 4], [2.0, 1.5]) is None
    True
    """
    points = list(zip(batches, speedups))
    for (b0, s0), (b1, s1) in pairwise(points):
        if s0 >= 1 > s1:
            return float(b0 * (b1 / b0) ** ((s0 - 1) / (s0 - s1)))
    return None


def speedup(results: Results) -> Canvas:
    """Draw the speed-up by batch for each context, up to the memory capacity.

    Raises
    ------
    InputError
        If no row fits the memory.
    """
    path = "steps/readme.json"
    table = results.table(path)
    first = table.rows[0]
    contexts = sorted(set(table.column("context_len")))
    banded = contexts[len(contexts) // 2]  # bands of all contexts would hide each other
    drawing = canvas(
        "speedup",
        f"Speed-up of speculative decoding by batch: {first['model']} on {first['hardware']}",
        f"Predicted speed-up over autoregressive decoding, by number of context tokens. Draft {first['draft']}, "
        f"{first['draft_len']} drafted and {first['tokens_per_cycle']:.2f} emitted tokens per cycle (given), "
        f"engine {first['engine']}, {first['precision']}. Band: 90 % interval at {banded:,} tokens. A curve "
        f"ends where the memory is full. Evidence: kernels {', '.join(table.levels())}. Commit {commits([table])}.",
        size=(7.2, 4.3),
    )
    axes = drawing.axes[0]
    largest = 1.0
    for context, colour in zip(contexts, (BLUE, GREEN, PURPLE, RED, ORANGE)):
        rows = [row for row in table.rows if row["context_len"] == context and value(row, "fits_memory", path)]
        if not rows:
            continue
        batches = [float(value(row, "batch_size", path)) for row in rows]
        gain = [float(value(row, "speedup", path)) for row in rows]
        bounds = [[float(value(row, f"speedup_{end}", path)) for row in rows] for end in ("lower", "upper")]
        if context == banded:
            axes.fill_between(batches, *bounds, color=colour, alpha=0.16, linewidth=0)
        axes.plot(batches, gain, color=colour)
        largest = max(largest, batches[-1])
        at = crossover(batches, gain)
        if at is not None:
            axes.plot([at], [1], "o", color=colour, markersize=6, zorder=6)
            label_line(axes, at, 1, f"batch {at:.0f}", colour, dx=-5, dy=-10)
        label_line(axes, batches[-1], gain[-1], f"{context:,} tokens", colour)
    if not axes.lines:
        raise fail("fits_memory", False, f"in every row of {path}", make_again(path))
    axes.axhline(1, color=INK, linewidth=1.0)
    powers_of_two(axes, [2**i for i in range(int(math.log2(largest)) + 1)])
    low, high = axes.get_ylim()
    axes.set(
        xlabel="batch (sequences decoded together)",
        ylabel="speed-up over plain decoding",
        xlim=(0.93, largest),
    )
    axes.set_ylim(min(low, 0.7), max(high, 1.3))
    axes.text(1, 0.985, "plain decoding is faster below", fontsize=8, color=GREY, va="top")
    return drawing
