"""Figure of the speed-up by batch."""

from __future__ import annotations

import pytest

from paper.figures.speedup import crossover


def test_crossover_is_interpolated_on_a_logarithmic_axis() -> None:
    assert crossover([1, 4, 16], [2.0, 1.5, 0.5]) == pytest.approx(8.0)
    assert crossover([1, 4], [0.9, 0.8]) is None
