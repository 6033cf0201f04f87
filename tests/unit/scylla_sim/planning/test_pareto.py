"""The Pareto front against every pair of points."""

import numpy as np

from scylla_sim.planning.pareto import not_dominated


def test_no_point_of_the_front_is_beaten_and_every_other_one_is():
    rng = np.random.default_rng(3)
    for size in (1, 2, 30):
        a, b = rng.integers(0, 12, (2, size)).astype(float)
        beaten = [
            any((a[j] >= x and b[j] > y) or (a[j] > x and b[j] >= y) for j in range(size)) for x, y in zip(a, b)
        ]
        kept = not_dominated(a, b)
        assert {(x, y) for x, y in zip(a[kept], b[kept])} == {(x, y) for x, y, out in zip(a, b, beaten) if not out}


def test_no_points_have_no_front():
    assert not_dominated(np.array([]), np.array([])).tolist() == []
