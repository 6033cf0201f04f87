"""Figure ``figure-gpu``: speed-up by draft length on measured GPUs, measured and predicted."""

from __future__ import annotations

from typing import Any

from paper.render.drawing import BLUE, GREEN, GREY, INK, NOTE, ORANGE, PURPLE, RED, Canvas, canvas, label_line
from paper.sources.gpu_records import Campaign, campaigns
from paper.sources.results import Results, commits
from paper.tables.gpu_table import NOT_MEASURED
from scylla_sim.records import Row

COLOURS = (BLUE, GREEN, ORANGE, PURPLE, RED)
MAX_CURVES = len(COLOURS)
WITH_LOOP, KERNELS = "loop", "blind"
"""Predictions with the kernels that choose tokens, and without them."""


def curves(campaign: Campaign) -> dict[float, list[Row]]:
    """Return the chains of each batch at the shortest context, by draft length; at most `MAX_CURVES` batches."""
    rows = [row for row in campaign.graphed_cycles() if row["top_k"] == 1]
    shortest = min((row["context_len"] for row in rows), default=0)
    found: dict[float, list[Row]] = {}
    for row in rows:
        if row["context_len"] == shortest:
            found.setdefault(row["batch_size"], []).append(row)
    sizes = sorted(found)
    step = max(1, -(-len(sizes) // MAX_CURVES))
    return {size: sorted(found[size], key=lambda row: float(row["draft_len"])) for size in sizes[::step]}


def _panel(axes: Any, campaign: Campaign) -> None:
    """Draw one GPU: points are measured, lines predicted, bands their intervals."""
    for (batch, rows), colour in zip(curves(campaign).items(), COLOURS):
        lengths = [row["draft_len"] for row in rows]
        axes.plot(lengths, [row["speedup"] for row in rows], "o", color=colour, markersize=5, zorder=5)
        for name, style in ((KERNELS, ":"), (WITH_LOOP, "-")):
            if any(row.get(f"{name}_speedup") is None for row in rows):
                continue
            axes.plot(lengths, [row[f"{name}_speedup"] for row in rows], style, color=colour, linewidth=1.3)
            if name == WITH_LOOP:
                ends = [[row[f"{name}_speedup_{end}"] for row in rows] for end in ("lower", "upper")]
                axes.fill_between(lengths, *ends, color=colour, alpha=0.13, linewidth=0)
        label_line(axes, lengths[-1], rows[-1]["speedup"], f"batch {batch:g}", colour)
    axes.axhline(1, color=INK, linewidth=1.0)
    axes.set(title=campaign.gpu, xlabel="drafted tokens")
    place = {"transform": axes.transAxes, "ha": "right", "va": "top"}
    axes.text(0.98, 0.97, "points: measured", fontsize=8, color=GREY, label=NOTE, **place)


def gpu(results: Results) -> Canvas:
    """Draw the speed-up of chains on every measured GPU, or a panel that says none was measured."""
    measured = [campaign for campaign in campaigns(results) if curves(campaign)]
    tables = [table for campaign in measured for table in campaign.compared("specdecode").values()]
    drawing = canvas(
        "gpu",
        "Speed-up on GPUs that were measured after the prediction",
        "Llama-3.1-8B with a 1B draft at given acceptance, chains, shortest context, CUDA graphs. Dotted: blind "
        "predictions from kernels. Lines and 90 % bands: with the sampling of the loop, fitted on the first GPU. "
        f"Evidence: points recorded, lines silicon. Commit {commits(tables) if tables else 'unknown'}.",
        size=(4.6 * max(len(measured), 1), 4.3),
        columns=max(len(measured), 1),
        share_y=True,
    )
    if not measured:
        drawing.axes[0].text(0.5, 0.5, NOT_MEASURED, transform=drawing.axes[0].transAxes, ha="center", wrap=True)
    for axes, campaign in zip(drawing.axes, measured):
        _panel(axes, campaign)
    drawing.axes[0].set_ylabel("speed-up over plain decoding")
    return drawing
