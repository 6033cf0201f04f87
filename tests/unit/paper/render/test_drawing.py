"""Placement of labels in figures."""

from __future__ import annotations

from itertools import pairwise

import pytest

from paper.render.drawing import spread


@pytest.mark.parametrize("heights", [[1.0], [3.0, 1.0, 2.0], [1.0, 1.0, 1.0, 5.0], [0.0, 0.3, 0.6, 0.7]])
def test_labels_keep_their_distance_and_order(heights: list[float]) -> None:
    placed = spread(heights, 0.5)
    order = sorted(range(len(heights)), key=lambda i: (heights[i], i))
    gaps = [placed[b] - placed[a] for a, b in pairwise(order)]
    assert all(gap >= 0.5 - 1e-9 for gap in gaps)
    assert sum(placed) == pytest.approx(sum(heights))
