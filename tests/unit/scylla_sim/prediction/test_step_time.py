"""Sums of operations and their sources of error, by hand."""

import numpy as np
import pytest

from scylla_sim.prediction.step_time import NAMED, OpTime, step_of
from scylla_sim.stats.estimate import Deviation, Estimate


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


def test_gemms_of_an_moe_layer_were_measured_as_one():
    step = step_of((op("up", kind="expert_gemm", up=0.3), op("down", kind="expert_gemm", up=0.4)))
    assert set(step.errors) == {"expert_gemm"}
    assert float(step.time.up) == pytest.approx(0.7)


def test_deviations_of_a_named_source_add_over_operations():
    power, other = Deviation(np.asarray(0.0), np.asarray(0.3)), Deviation(np.asarray(0.1), np.asarray(0.8))
    step = step_of((op("qkv", sources={"power": power}), op("down", sources={"power": power, "overlap": other})))
    assert {name: error.kind for name, error in step.errors.items() if error.up > 0} == {
        "power": NAMED,
        "overlap": NAMED,
    }
    assert (float(step.time.up), float(step.time.down)) == pytest.approx((1.0, 0.1))  # 0.6 and 0.8, 0 and 0.1


def test_named_source_that_moves_nothing_is_left_out():
    step = step_of((op("qkv", sources={"power": Deviation(np.asarray(0.0), np.asarray(0.0))}),))
    assert set(step.errors) == {"qkv"}


def test_repeated_passes_add_counts_and_seconds():
    first, later = (op("qkv", up=up, sources={"power": Deviation(up, 0.5)}) for up in (0.1, 0.2))
    both = first.followed_by(later, 3)
    assert both.count == 4
    power = both.sources["power"]
    assert (float(power.down), float(power.up)) == pytest.approx((0.1 + 3 * 0.2, 4 * 0.5))
    assert (float(both.seconds), float(both.time.upper)) == pytest.approx((4.0, 1.1 + 3 * 1.2))
