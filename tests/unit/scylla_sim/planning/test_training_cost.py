"""GPU-hours of training against GPU-hours saved."""

from __future__ import annotations

import numpy as np
import pytest

from scylla_sim.checks import InputError
from scylla_sim.planning.training_cost import TrainingCost, training_cost, utilization
from scylla_sim.stats.estimate import Estimate


def cost(lower: float = 1.5, *, value: float = 2.0, traffic: float = 1000.0, used: float = 0.5) -> TrainingCost:
    """An 8B head of 1 layer on 10 B tokens: 6 x 0.27e9 + 2 x 8e9 = 17.6e9 FLOPs per token."""
    return training_cost(
        17.6e9 * 10e9,
        Estimate.of(value, lower, 2.5),
        tokens_per_s=200.0,
        traffic=traffic,
        tp=2,
        peak_flop_per_s=1e15,
        used=used,
    )


def test_hours_and_gpus_are_those_of_a_hand_computation() -> None:
    found = cost()
    assert found.train_gpu_hours == pytest.approx(17.6e19 / 5e14 / 3600)
    assert (found.draft_gpus, found.plain_gpus) == (10.0, 20.0)
    assert float(found.saved_gpu_hours_per_day.value) == 240.0
    assert float(found.saved_gpu_hours_per_day.lower) == pytest.approx((20 - 20 / 1.5) * 24)
    assert float(found.payback_days.value) == pytest.approx(found.train_gpu_hours / 240)
    assert found.payback_days.lower < found.payback_days.value < found.payback_days.upper


def test_a_draft_that_may_be_slower_may_never_be_paid_back() -> None:
    found = cost(lower=0.9)
    assert float(found.saved_gpu_hours_per_day.lower) < 0
    assert np.isinf(float(found.payback_days.upper)) and np.isfinite(float(found.payback_days.value))


def test_twice_the_traffic_is_paid_back_in_half_the_time() -> None:
    assert float(cost(traffic=2000.0).payback_days.value) == pytest.approx(float(cost().payback_days.value) / 2)


def test_the_utilization_is_a_share() -> None:
    assert 0.38 <= utilization() <= 0.43  # Llama 3, arXiv 2407.21783, Table 4
    with pytest.raises(InputError, match="train_utilization=1.5"):
        cost(used=1.5)
    with pytest.raises(InputError, match="traffic=0"):
        cost(traffic=0.0)
