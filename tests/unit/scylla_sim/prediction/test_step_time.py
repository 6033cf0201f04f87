"""Sums of operations and their sources of error, by hand."""

import numpy as np
import pytest

from scylla_sim.prediction.step_time import OpTime, step_of
from scylla_sim.stats.estimate import Estimate


def op(name, *, kind="gemm", evidence="silicon", down=0.0, up=0.0, **more):
    """An operation of one second with these deviations."""
    zero = np.asarray(0.0)
    return OpTime(name, kind, 1, Estimate.of(1.0, 1.0 - down, 1.0 + up), zero, zero, evidence, **more)


def test_operations_fitted_on_the_device_err_independently():
    step = step_of((op("qkv", up=0.3), op("down", up=0.4, down=0.1)))
    assert set(step.errors) == {"qkv", "down"}
    assert (float(step.time.up), float(step.time.down)) == pytest.approx((0.5, 0.1))


def test_operations_of_a_transferred_kernel_err_together():
    step = step_of((op("qkv", up=0.3, evidence="transferred"), op("down", up=0.4, evidence="transferred")))
    assert set(step.errors) == {"gemm"}
    assert float(step.time.up) == pytest.approx(0.7)


def test_power_limit_is_one_source_that_only_lengthens():
    power_s = np.asarray(0.2)
    step = step_of((op("qkv", power_s=power_s), op("down", power_s=power_s)))
    assert (float(step.time.up), float(step.time.down)) == pytest.approx((0.4, 0.0))


@pytest.mark.parametrize(
    ("levels", "weakest"),
    [
        (("silicon", "theory", "transferred"), "theory"),
        (("silicon", "transferred"), "transferred"),
        (("live",), "live"),
    ],
)
def test_evidence_is_the_weakest_of_the_operations(levels, weakest):
    parts = [op(level, evidence=level) for level in levels]
    assert step_of((*parts, op("norm", kind="elementwise", evidence="theory"))).evidence() == weakest


def test_repeated_passes_add_counts_and_seconds():
    both = op("qkv", up=0.1).followed_by(op("qkv", up=0.2), 3)
    assert both.count == 4
    assert (float(both.seconds), float(both.time.upper)) == pytest.approx((4.0, 1.1 + 3 * 1.2))
