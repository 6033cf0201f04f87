"""The resource that takes most of a cycle, by hand."""

import numpy as np
import pytest

from scylla_sim.prediction.cycle import bound
from scylla_sim.prediction.step_time import OpTime, step_of
from scylla_sim.stats.estimate import exact


def op(kind, seconds, *, compute_s=0.0):
    """An operation with a memory time of one second in the datasheet."""
    return OpTime(kind, kind, 1, exact(seconds), np.asarray(1.0), np.asarray(compute_s), "silicon")


@pytest.mark.parametrize(
    ("parts", "overhead_s", "expected"),
    [
        ([op("gemm", 2.0, compute_s=0.5)], 1.0, "memory"),
        ([op("gemm", 2.0, compute_s=1.5)], 1.0, "compute"),
        ([op("gemm", 2.0), op("all_reduce", 3.0)], 1.0, "communication"),
        ([op("gemm", 2.0), op("launch", 1.5)], 1.0, "overhead"),
        ([op("gemm", 2.0), op("gemm", 2.0, compute_s=2.0), op("elementwise", 0.5)], 1.0, "memory"),
    ],
)
def test_bound_is_the_largest_share(parts, overhead_s, expected):
    assert bound([step_of(tuple(parts))], np.asarray(overhead_s)) == [expected]


def test_bound_is_given_for_every_point_of_the_grid():
    assert bound([step_of((op("gemm", 2.0),))], np.array([[1.0, 3.0]])) == ["memory", "overhead"]
