"""Figure of measured GPUs."""

from __future__ import annotations

from pathlib import Path

from gpu_results import cycle, rewrite, without_gpu

from paper.figures.gpu import MAX_CURVES, curves, gpu
from paper.render.drawing import styled
from paper.sources.gpu_records import campaigns
from paper.sources.results import Results


def test_chains_of_the_shortest_context_are_drawn_by_batch(own_results: Path) -> None:
    tree = {"top_k": 4, "draft_len": 2, "verify_tokens": 21}
    rows = [cycle(batch, length, 1.2) for batch in range(1, 9) for length in (5, 1)]
    rows += [cycle(1, 3, 1.2) | {"context_len": 2048}, cycle(1, 2, 1.5) | tree, cycle(1, 3, 0.9, graph=0)]
    rewrite(own_results, "specdecode", rows)
    (campaign,) = campaigns(Results(own_results))
    found = curves(campaign)
    assert 2 < len(found) <= MAX_CURVES and min(found) == 1
    assert all([row["draft_len"] for row in some] == [1, 5] for some in found.values())


def test_points_are_the_measured_speed_ups(own_results: Path) -> None:
    rewrite(own_results, "specdecode", [cycle(1, 1, 1.3), cycle(1, 3, 1.6, blind=1.9)])
    with styled():
        (axes,) = gpu(Results(own_results)).axes
    points, blind, loop, _ = axes.lines
    assert list(points.get_ydata()) == [1.3, 1.6]
    assert list(blind.get_ydata())[1] == 1.9 and list(loop.get_ydata())[1] != 1.9


def test_without_a_gpu_the_figure_says_so(own_results: Path) -> None:
    with styled():
        (axes,) = gpu(Results(without_gpu(own_results))).axes
    assert "No GPU has been measured yet" in axes.texts[0].get_text()
