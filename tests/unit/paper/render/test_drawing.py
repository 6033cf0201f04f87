"""Placement of labels in figures, and their thumbnails."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from paper.render.drawing import NOTE, THUMBNAIL_DPI, canvas, spread, styled


@pytest.mark.parametrize("heights", [[1.0], [3.0, 1.0, 2.0], [1.0, 1.0, 1.0, 5.0], [0.0, 0.3, 0.6, 0.7]])
def test_labels_keep_their_distance_and_order(heights: list[float]) -> None:
    placed = spread(heights, 0.5)
    order = sorted(range(len(heights)), key=lambda i: (heights[i], i))
    gaps = [placed[b] - placed[a] for a, b in pairwise(order)]
    assert all(gap >= 0.5 - 1e-9 for gap in gaps)
    assert sum(placed) == pytest.approx(sum(heights))


def test_a_thumbnail_is_smaller_and_leaves_the_figure_as_it_was() -> None:
    with styled():
        drawing = canvas("any", "A title", "A caption.", size=(4.0, 3.0))
        drawing.axes[0].plot([1, 2], [1, 3])
    before = drawing.bytes("png")
    small = drawing.thumbnail()
    assert len(small) < len(before)
    assert drawing.bytes("png") == before


def test_a_figure_of_many_panels_has_a_thumbnail_of_its_own() -> None:
    with styled():
        few = canvas("any", "", "", size=(4.0, 3.0))
        many = replace(canvas("any", "A title", "A caption.", size=(9.0, 6.0), rows=2, columns=5), small=few)
    assert many.thumbnail() == few.bytes("png", THUMBNAIL_DPI) != many.bytes("png", THUMBNAIL_DPI)


def test_a_thumbnail_leaves_out_notes_inside_panels() -> None:
    with styled():
        plain = canvas("any", "A title", "A caption.", size=(4.0, 3.0))
        noted = canvas("any", "A title", "A caption.", size=(4.0, 3.0))
        noted.axes[0].text(0.5, 0.5, "all seeds", label=NOTE)
    assert noted.thumbnail() == plain.thumbnail()
    assert noted.bytes("png") != plain.bytes("png")
