"""The grid of the page: its values are those of a prediction, and its error between nodes is measured."""

from __future__ import annotations

import base64
from dataclasses import replace

import numpy as np
import pytest

from scylla_sim.explore import grid as grids
from scylla_sim.explore.grid import TREES, Grid, build, configs_of, draft_lengths, why_no_trees
from scylla_sim.explore.interpolate import MAX_ERROR, error_of, refined, seconds_at, smooth_at
from scylla_sim.explore.packing import CODES, packed
from scylla_sim.prediction.scenario import Scenario

CHAIN = Scenario("llama-3.1-8b", hardware="h100-sxm", draft="eagle3")


@pytest.fixture(scope="module")
def grid() -> Grid:
    return build(CHAIN)


def test_values_at_a_node_are_those_of_a_prediction(grid: Grid) -> None:
    batch, context = grid.nodes[[0, 20, -9]], grid.contexts[[0, 9, -1]]
    outs = list(grids.predictions(CHAIN, batch, context))
    exact = np.stack([np.broadcast_to(out.cycle.seconds, batch.shape) for out in outs])
    assert seconds_at(grid, batch, context) == pytest.approx(exact, rel=1e-12)


@pytest.mark.parametrize(
    "scenario",
    [
        CHAIN,
        replace(CHAIN, model="gpt-oss-20b", hardware="b200-sxm", engine="sglang"),
        replace(CHAIN, hardware="a100-sxm", draft="llama-3.2-1b"),
        replace(CHAIN, model="llama-3.3-70b", tp=4, precision="fp8", draft="medusa"),
    ],
    ids=["dense", "moe", "draft-model", "tp"],
)
def test_the_error_between_nodes_is_below_one_percent(scenario: Scenario) -> None:
    error = refined(build(scenario), scenario)[1]
    assert 0.0 < error.speedup <= MAX_ERROR
    assert error.band <= 0.05


def test_a_coarse_grid_has_a_larger_error(grid: Grid) -> None:
    coarse = build(CHAIN, nodes=np.array([1.0, 64.0, 1024.0]), contexts=np.array([128.0, 65536.0]))
    assert error_of(coarse, CHAIN).speedup > 2 * error_of(grid, CHAIN).speedup


def test_a_shifted_grid_is_noticed(grid: Grid) -> None:
    values = {**grid.values, "attention": np.roll(grid.values["attention"], 1, axis=1)}
    assert error_of(replace(grid, values=values), CHAIN).speedup > MAX_ERROR


def test_lengths_follow_the_draft() -> None:
    assert draft_lengths(replace(CHAIN, draft="none")) == []
    assert draft_lengths(CHAIN) == list(range(1, 9))
    medusa = replace(CHAIN, draft="medusa")
    assert draft_lengths(medusa) == list(range(1, medusa.draft_model().max_len + 1))


def test_trees_are_those_that_the_engine_can_verify() -> None:
    assert "tree attention" in why_no_trees(CHAIN) and "heads" in why_no_trees(replace(CHAIN, draft="ngram"))
    shapes = [(one.draft_len, one.top_k, one.verify_tokens) for one in configs_of(replace(CHAIN, engine="sglang"))]
    assert shapes[:3] == [(0, 1, 1), (1, 1, 2), (2, 1, 3)] and tuple(shapes[-4:]) == TREES
    assert all(one.top_k == 1 for one in configs_of(CHAIN))


def test_contexts_end_with_the_positions_of_the_model() -> None:
    assert grids.first_contexts(replace(CHAIN, model="llama-2-7b", draft="eagle"))[-1] == 4096


def test_packed_values_are_read_back_within_their_step() -> None:
    values = np.array([0.0, 3e-6, 1e-3, 2.5, 7.0])
    found = packed(values)
    low, high = float(str(found["low"])), float(str(found["high"]))
    codes = np.frombuffer(base64.b64decode(str(found["codes"])), dtype="<u2").astype(float)
    back = np.where(codes == 0.0, 0.0, np.exp(low + (high - low) / CODES * (codes - 1.0)))
    assert back == pytest.approx(values, rel=1.2e-4)


def test_bytes_and_flops_of_the_roofline_are_linear_between_nodes() -> None:
    scenario = replace(CHAIN, model="gpt-oss-20b", precision="mxfp4")
    batch, context = np.array([11.0, 70.0, 333.0]), np.array([300.0, 2000.0, 30000.0])
    steps = [out.verify for out in grids.predictions(scenario, batch, context)]
    found = build(scenario)
    for name in ("memory", "compute"):
        exact = np.stack([sum(getattr(part, f"{name}_s") for part in step.parts) for step in steps])
        assert smooth_at(found, name, batch, context) == pytest.approx(exact, rel=0.005)
