"""Closed loops with the errors of their parts."""

from dataclasses import fields, replace

import numpy as np
import pytest

from scylla_sim.calibration.device_calibration import shipped
from scylla_sim.prediction.steps import Deployment
from scylla_sim.serving.closed_load import closed_load
from scylla_sim.serving.closed_loop import LoopCosts
from scylla_sim.serving.closed_loop_runs import NO_ROOM, TOO_FAST, TOO_MUCH, VALUE, RunCosts, excluded, run_costs
from scylla_sim.specs import catalog


def costs(memory_s, compute_s, seats=4.0):
    size = len(memory_s)
    parts = {item.name: np.ones(size) for item in fields(LoopCosts)} | {"seats": np.full(size, seats)}
    return RunCosts({VALUE: LoopCosts(**parts)}, np.array(memory_s), np.array(compute_s))


def test_runs_that_the_datasheet_does_not_allow_are_left_out():
    found = excluded(costs([0.02, 0.001, 0.001], [0.001, 0.009, 0.001]), np.array([0.01, 0.01, 0.01]))
    assert found.tolist() == [TOO_FAST, TOO_MUCH, ""]
    assert excluded(costs([0.001], [0.001], seats=0.0), np.array([0.01])).tolist() == [NO_ROOM]


def test_the_size_of_the_pool_is_an_error_of_its_own():
    """Requests of 100,000 tokens fill the pool, so its ends give other seats; short ones have all their seats."""
    where = Deployment(shipped("h100-sxm"), catalog.engine("vllm"))
    model = catalog.model("llama-3.1-8b")
    long = run_costs(model, where, closed_load([16.0], 100_000, 1000))
    seats = {end: float(long.ends["pool", end].seats[0]) for end in ("lower", "upper")}
    assert seats["lower"] < float(long.ends[VALUE].seats[0]) + 1 and seats["lower"] < seats["upper"]
    short = run_costs(model, where, closed_load([4.0], 1000, 100))
    assert short.ends["pool", "lower"].seats == pytest.approx(short.ends["pool", "upper"].seats)
    assert (short.ends["decoding", "lower"].decode_s < short.ends["decoding", "upper"].decode_s).all()


def test_runs_can_be_picked():
    picked = costs([0.02, 0.001], [0.001, 0.009]).at(np.array([1]))
    assert (picked.memory_s.tolist(), picked.compute_s.tolist()) == ([0.001], [0.009])
    assert replace(picked).least_s.tolist() == [0.009]
