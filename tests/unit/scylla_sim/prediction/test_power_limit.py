"""Extra time of GEMMs at the power limit."""

import numpy as np
import pytest

from scylla_sim.prediction.power_limit import MAX_EXTRA_SHARE, extra_share


@pytest.mark.parametrize(("ratio", "share"), [(0.0, 0.0), (0.5, 0.0), (0.75, 0.5), (1.0, 1.0), (50.0, 1.0)])
def test_share_rises_between_the_two_ratios(ratio, share):
    assert extra_share(4.0 * ratio, 4.0) == pytest.approx(share * MAX_EXTRA_SHARE)


def test_operation_without_memory_traffic_gains_nothing():
    assert extra_share([1.0, 1.0], np.array([0.0, 1.0])).tolist() == [0.0, MAX_EXTRA_SHARE]
