"""Metrics of a run by hand, and their intervals over seeds and steps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from serving_models import equal_requests, flat_model

from scylla_sim.serving.limits import Limit
from scylla_sim.serving.metrics import counted, metrics, over_seeds, summary
from scylla_sim.serving.simulation import Run, plain_work, simulate


def two_requests() -> Run:
    """Two requests: tokens at 10, 20, 40, 50 ms and at 40, 50, 60, 70 ms; the second arrives at 15 ms."""
    model, requests = flat_model(), equal_requests(np.array([0.0, 0.015]), 100, 4)
    return simulate(model, requests, plain_work(requests, model))


def test_latencies_rates_and_means_over_time_by_hand() -> None:
    run = two_requests()
    limits = [Limit("ttft", "p95", 0.02), Limit("tpot", "mean", 1.0)]
    found = summary(run, counted(run, warmup=0.0, cooldown=0.0), limits=limits, pool=1000.0)
    assert found["ttft_s mean"] == pytest.approx((0.010 + 0.025) / 2)
    assert found["tpot_s mean"] == pytest.approx((0.040 + 0.030) / 2 / 3)
    assert found["e2e_s p50"] == pytest.approx((0.050 + 0.055) / 2)
    # gaps: 10, 20 and 10 ms of the first request, 10 ms three times of the second
    assert found["itl_s mean"] == pytest.approx((0.01 * 5 + 0.02) / 6)
    assert found["requests_per_s"] == pytest.approx(2 / 0.07)
    assert found["output_tokens_per_s"] == pytest.approx(8 / 0.07)
    assert found["goodput_per_s"] == pytest.approx(1 / 0.07)  # the second one waits 25 ms
    assert found["running"] == pytest.approx((0.050 + 0.050) / 0.07)  # admitted at 0 and 20 ms
    assert found["waiting"] == pytest.approx(0.005 / 0.07)
    assert found["busy"] == pytest.approx(1.0)
    assert found["kv_use max"] == pytest.approx((103 + 101) / 1000, abs=0.003)


def test_the_first_and_the_last_requests_are_not_counted() -> None:
    model, requests = flat_model(), equal_requests(np.arange(20) * 0.5, 100, 4)
    run = simulate(model, requests, plain_work(requests, model))
    slow = replace(run, first_s=run.first_s + np.where(np.arange(20) < 4, 100.0, 0.0))
    time = counted(slow, warmup=0.2, cooldown=0.1)
    assert time.requests.tolist() == [4 <= who < 18 for who in range(20)]
    assert (time.start_s, time.end_s) == (2.0, 8.5)
    found = summary(slow, time)
    assert found["ttft_s p99"] == pytest.approx(0.01)
    assert found["busy"] == pytest.approx(0.04 / 0.5)
    assert found["requests_per_s"] == pytest.approx(2.0)


def test_the_interval_over_seeds_is_students() -> None:
    """Mean 10, deviation 2, 4 seeds: 10 +- 2.353 * 2 / 2."""
    spread = np.array([-1.0, -1.0, 1.0, 1.0]) * np.sqrt(3.0)
    found = over_seeds(10.0 + spread)
    assert float(found.up) == pytest.approx(2.353, abs=1e-3)
    assert float(over_seeds([5.0]).up) == 0.0


def test_both_errors_add_in_quadrature() -> None:
    runs = [{"x": 10.0 + shift * np.sqrt(3.0)} for shift in (-1.0, -1.0, 1.0, 1.0)]
    found = metrics(runs, [{"x": 8.0}], [{"x": 14.0}])["x"]
    assert float(found.value.upper) == pytest.approx(10.0 + np.hypot(2.353, 4.0), abs=1e-3)
    assert float(found.value.lower) == pytest.approx(10.0 - np.hypot(2.353, 2.0), abs=1e-3)
    assert (found.fast, found.slow) == (8.0, 14.0)


def test_no_lower_end_is_below_the_latency_of_an_empty_replica():
    """Seeds of 1 and 9 s have a wide interval; the floor of a latency below its value is kept."""
    some = [{"ttft_s p50": 1.0, "requests_per_s": 1.0}, {"ttft_s p50": 9.0, "requests_per_s": 9.0}]
    found = metrics(some, [], [], floor={"ttft_s p50": 0.8})
    assert float(found["ttft_s p50"].value.lower) == 0.8
    assert float(found["requests_per_s"].value.lower) == 0.0
    assert float(metrics(some, [], [], floor={"ttft_s p50": 7.0})["ttft_s p50"].value.lower) == 5.0


def test_ends_of_percentiles_rise_with_the_percentile() -> None:
    """Seeds scatter the 99th percentile more, yet it is never below the 90th one."""
    names = [f"ttft_s p{one}" for one in (50, 90, 95, 99)]
    runs = [dict(zip(names, values)) for values in ((1.0, 2.0, 2.1, 2.2), (1.0, 2.0, 2.1, 9.0))]
    found = metrics(runs, [], [])
    lower = [float(found[name].value.lower) for name in names]
    assert lower == [1.0, 2.0, 2.1, 2.1]


def test_gaps_count_once_for_each_decode_of_their_iteration() -> None:
    """Nine requests decode in iterations of 10 ms and one of them alone, with a longer answer, in others."""
    base = two_requests()
    run = replace(
        base,
        gap_s=np.array([0.01, 0.05]),
        gap_weight=np.array([9, 1]),
        gap_end_s=np.array([0.01, 0.06]),
    )
    found = summary(run, counted(run, warmup=0.0, cooldown=0.0))
    assert found["itl_s mean"] == pytest.approx((9 * 0.01 + 0.05) / 10)
    assert found["itl_s p50"] == pytest.approx(0.01 + 0.04 * (0.5 - 0.45) / 0.5)
