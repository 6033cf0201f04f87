"""Intervals of a median, and the comparison of two of them."""

from __future__ import annotations

import numpy as np
import pytest

from gpu_validate.device.intervals import bootstrap_interval, compare_medians, drift, rank_interval
from scylla_sim.stats.estimate import Estimate


@pytest.mark.parametrize(("second_half", "said"), [(1.0, "steady"), (1.2, "slower"), (0.8, "faster")])
def test_a_clock_that_changes_half_way_is_flagged(second_half: float, said: str) -> None:
    rng = np.random.default_rng(4)
    samples = np.exp(0.01 * rng.standard_normal(60))
    samples[30:] *= second_half
    ratio, flag = drift(samples)
    assert flag == said
    assert ratio == pytest.approx(second_half, rel=0.02)


def spread(median: float, seed: int) -> Estimate:
    """Median and interval of 40 samples with 1 % noise."""
    samples = median * np.exp(0.01 * np.random.default_rng(seed).standard_normal(40))
    return Estimate.of(float(np.median(samples)), *bootstrap_interval(samples))


@pytest.mark.parametrize("seed", range(10))
def test_a_planted_slowdown_of_five_percent_is_found(seed: int) -> None:
    base, slow = spread(1e-3, 2 * seed), spread(1.05e-3, 2 * seed + 1)
    assert compare_medians(base, slow) == "slower"
    assert compare_medians(slow, base) == "faster"


def test_planted_noise_is_not_called_a_change() -> None:
    verdicts = [compare_medians(spread(1e-3, 2 * seed), spread(1e-3, 2 * seed + 1)) for seed in range(40)]
    assert set(verdicts) <= {"same", "ambiguous"}
    assert verdicts.count("same") >= 30


def test_few_noisy_samples_are_ambiguous_rather_than_same() -> None:
    assert compare_medians(Estimate.of(1.0, 0.9, 1.1), Estimate.of(1.0, 0.9, 1.1)) == "ambiguous"


def test_bootstrap_interval_has_its_coverage() -> None:
    rng = np.random.default_rng(5)
    intervals = [bootstrap_interval(np.exp(0.1 * rng.standard_normal(40)), seed=i) for i in range(200)]
    assert 0.88 <= np.mean([low <= 1.0 <= high for low, high in intervals]) <= 1.0


def test_rank_interval_has_its_coverage() -> None:
    rng = np.random.default_rng(6)
    covered = [low <= 0 <= high for low, high in (rank_interval(rng.standard_normal(25)) for _ in range(500))]
    assert 0.92 <= np.mean(covered) <= 0.99
