"""Ranking of configurations that fit in memory."""

from dataclasses import replace

import numpy as np
import pytest

from scylla_sim.acceptance import draft_shape, drafting
from scylla_sim.acceptance.speculative_config import no_drafting
from scylla_sim.calibration import device_calibration
from scylla_sim.planning import capacity
from scylla_sim.prediction.steps import Deployment
from scylla_sim.prediction.throughput import predict
from scylla_sim.specs import catalog

EAGLE3 = catalog.draft("eagle3")
LLAMA8 = catalog.model("llama-3.1-8b")
NONE = no_drafting(catalog.draft("none"))


def chain(length, **options):
    return drafting.resolve(EAGLE3, draft_shape.shape(EAGLE3, length, None, None), **options)


def search(**options):
    deployments = [
        Deployment(device_calibration.shipped(name), catalog.engine("vllm")) for name in ("h100-sxm", "l4")
    ]
    item, _ = chain(3, tokens_per_cycle=2.4)
    candidates = [capacity.Candidates([NONE, item], deployment) for deployment in deployments]
    return capacity.search(LLAMA8, candidates, batch=[1, 8, 64, 4096], context=4096, **options)


def test_points_fit_memory_and_meet_the_limit():
    found = search(tpot_limit_s=0.02)
    assert found.points
    for item in found.points:
        assert item.tpot_s <= 0.02
        assert item.batch_size < 4096  # 2 TB of KV cache
    assert all(item.hardware != "l4" or item.draft != "none" for item in found.points)


def test_points_are_ranked_by_throughput_or_cost():
    by_rate = search().points
    assert [d.tokens_per_s_per_gpu for d in by_rate] == sorted(
        (d.tokens_per_s_per_gpu for d in by_rate), reverse=True
    )
    cheap = search(prices={"h100-sxm": 1000.0, "l4": 0.01}, rank="cost_per_million_tokens").points
    assert cheap[0].hardware == "l4"


def test_impossible_limit_reports_the_fastest_time():
    found = search(tpot_limit_s=1e-6)
    assert not found.points
    assert len(found.too_slow) + len(found.too_large) == found.considered == 4
    assert found.fastest_tpot_s > 1e-3


def test_cost_per_million_tokens():
    # 2 per hour, 1000 tokens/s: 3.6 million tokens an hour
    assert float(capacity.cost_per_million(2.0, 1, np.array(1000.0))) == pytest.approx(2 / 3.6)


def test_draft_runs_on_its_own_deployment():
    """A draft in 16 bits on one GPU, beside a target in 4 bits on two: as `predict` estimates them."""
    h100, vllm = device_calibration.shipped("h100-sxm"), catalog.engine("vllm")
    target = Deployment(h100, vllm, "int4_wo", tp=2)
    own = Deployment(h100, vllm, "bfloat16", tp=1)
    item, _ = chain(3, tokens_per_cycle=2.4)
    points = [
        capacity.search(LLAMA8, [capacity.Candidates([item], *pair)], batch=[1], context=4096).points[0]
        for pair in ((target, own), (target,))
    ]
    expected = [predict(LLAMA8, item, target, batch=1, context=4096, draft_deployment=d) for d in (own, None)]
    assert [point.tpot_s for point in points] == [float(out.tpot_s) for out in expected]
    assert points[0].tpot_s > points[1].tpot_s


def test_a_price_counts_every_gpu():
    """4 GPUs at 2 an hour produce 3.6 million tokens an hour: 8 / 3.6."""
    assert float(capacity.cost_per_million(2.0, 4, np.array(1000.0))) == pytest.approx(8 / 3.6)


def two_points():
    model, calibration = catalog.model("llama-3.1-8b"), device_calibration.shipped("h100-sxm")
    groups = [capacity.Candidates([NONE], Deployment(calibration, catalog.engine("ideal"), tp=tp)) for tp in (1, 4)]
    return capacity.search(model, groups, batch=[1, 8], context=1000, prices={"h100-sxm": 2.0}).points


def test_throughput_of_one_gpu_is_that_of_all_ranks_divided():
    points = two_points()
    assert [point.tp for point in points] == [1, 4], "one GPU serves more for each GPU"
    for point in points:
        assert point.tokens_per_s_per_gpu * point.tp == pytest.approx(point.tokens_per_s)
        assert point.cost_per_million_tokens == pytest.approx(2.0 * point.tp / 3600 / point.tokens_per_s * 1e6)


def test_rankings_begin_with_the_best():
    one, four = two_points()
    assert four.tpot_s < one.tpot_s
    assert capacity._ranked([one, four], "tpot_s") == [four, one]
    free = replace(four, cost_per_million_tokens=None)
    assert capacity._ranked([free, one], "cost_per_million_tokens") == [one, free]
