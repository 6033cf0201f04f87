"""Models of data-moving kernels against hand-computed times."""

import numpy as np
import pytest
from kernel_seconds import prior_seconds

from scylla_sim.kernels.device_rates import rates
from scylla_sim.kernels.elementwise import ELEMENTWISE_CACHED, ElementwiseCached
from scylla_sim.kernels.model import evaluate
from scylla_sim.specs import catalog

H100 = catalog.hardware("h100-sxm")


def test_a_moving_kernel_is_faster_within_the_l2_by_hand():
    """At a 24th of the L2 all bytes move at twice the rate, at 24 times its size none does."""
    r = rates(catalog.hardware("h100-sxm"), "bfloat16")
    sizes = {"bytes": np.array([r.l2_bytes / 24, r.l2_bytes * 24]), "rows": np.zeros(2)}
    small, large = evaluate(ELEMENTWISE_CACHED, ElementwiseCached(0.8, 2e-6, 2.0, 1.0, 2.0, 4e10, 6e-10), sizes, r)
    assert small == pytest.approx(2e-6 + r.l2_bytes / 24 / (2.0 * 0.8 * r.bytes_per_s), rel=1e-5)
    assert large == pytest.approx(2e-6 + r.l2_bytes * 24 / (0.8 * r.bytes_per_s), rel=1e-5)


def test_row_kernel_waits_for_one_row_and_for_all_starts():
    fast = {"bandwidth_fraction": 1e3, "launch_s": 1e-12, "row_bytes_per_s": 4e10, "row_s": 1e-9}
    one, same, many = (
        prior_seconds(ELEMENTWISE_CACHED, H100, fast, rows=rows, bytes=rows * width)
        for rows, width in ((1, 4e6), (10, 4e6), (1e6, 4.0))
    )
    assert one == pytest.approx(1e-4, rel=1e-3)
    assert same == pytest.approx(one, rel=1e-3)
    assert many == pytest.approx(1e-3, rel=1e-3)
    assert prior_seconds(ELEMENTWISE_CACHED, H100, fast, rows=0, bytes=4e6) < 0.01 * one
