"""The answer of a plan is simulated."""

from __future__ import annotations

from dataclasses import replace

import pytest

from scylla_sim.planning import decision, finalists
from scylla_sim.planning.candidates import candidates
from scylla_sim.planning.decision import decide
from scylla_sim.planning.traffic import Traffic
from scylla_sim.planning.traffic_rows import FORMULA, SIMULATION, TrafficPoint, traffic_point
from scylla_sim.planning.traffic_search import Option
from scylla_sim.prediction.scenario import Scenario
from scylla_sim.prediction.served_load import ServedLoad
from scylla_sim.serving.limits import Limit

TRAFFIC = Traffic(40.0, ServedLoad(1000, 200), (Limit("tpot", "p95", 0.02),))


@pytest.fixture(scope="module")
def row() -> tuple[TrafficPoint, Option]:
    scenario = Scenario("llama-3.1-8b", hardware="h100-sxm")
    configs, _ = scenario.speculative_configs()
    (served,) = candidates(scenario.target_model(), configs, scenario.deployments(), TRAFFIC)
    return traffic_point(scenario.target_model(), served, served, TRAFFIC), Option(served, served)


def test_a_formula_that_comes_first_is_simulated_too(row, monkeypatch):
    """Simulation makes the first finalist dearer than the second, which only a formula describes."""
    point, option = row
    dearer = {1: replace(point, gpus=9, method=SIMULATION), 2: replace(point, gpus=5, method=SIMULATION)}
    monkeypatch.setattr(decision, "confirm", lambda point, *_, **__: dearer[point.replicas])
    points = [replace(point, replicas=1, gpus=3, draft="x"), replace(point, replicas=2, gpus=4, draft="x")]
    found = decide(points, [option, option], TRAFFIC, finalists=1)
    assert [(one.gpus, one.method) for one in found.rows] == [(5, SIMULATION), (9, SIMULATION)]


def test_a_candidate_that_simulation_refutes_has_no_row(row, monkeypatch):
    monkeypatch.setattr(finalists, "holds", lambda *_: False)
    monkeypatch.setattr(finalists, "simulated", lambda *_, **__: {})
    found = decide([row[0]], [row[1]], TRAFFIC, finalists=1)
    assert found.rows == []
    assert found.refuted == [row[0]]


def test_without_finalists_nothing_is_simulated(row):
    (only,) = decide([row[0]], [row[1]], TRAFFIC, finalists=0).rows
    assert only.method == FORMULA


def elsewhere(option: Option, tp: int) -> Option:
    """Return an option on another deployment."""
    served = option.served
    return replace(option, served=replace(served, deployment=replace(served.deployment, tp=tp)))


def test_the_best_of_each_deployment_is_a_finalist_and_not_its_other_drafts(row, monkeypatch):
    """All drafts of the first deployment would otherwise take the places of the others, and change the answer."""
    point, option = row
    monkeypatch.setattr(decision, "confirm", lambda point, *_, **__: replace(point, method=SIMULATION))
    points = [replace(point, replicas=1, gpus=gpus, draft="x") for gpus in (4, 4, 9)]
    found = decide(points, [option, option, elsewhere(option, 2)], TRAFFIC, finalists=2).rows
    assert [(one.gpus, one.method) for one in found] == [(4, SIMULATION), (4, FORMULA), (9, SIMULATION)]


def test_the_best_of_a_deployment_is_simulated_if_one_replica_less_would_put_it_first(row, monkeypatch):
    point, option = row
    runs = {5: 5, 6: 4}
    monkeypatch.setattr(
        decision, "confirm", lambda point, *_, **__: replace(point, gpus=runs[point.gpus], method=SIMULATION)
    )
    first, second = (replace(point, replicas=gpus, gpus=gpus, draft="x") for gpus in (5, 6))
    same, far = replace(second, gpus=5), replace(point, replicas=7, gpus=7, draft="x")
    others = [elsewhere(option, tp) for tp in (2, 4)]
    found = decide([first, same, second, far], [option, option, *others], TRAFFIC, finalists=1).rows
    assert [(one.gpus, one.method) for one in found] == [
        (5, SIMULATION),
        (5, FORMULA),
        (6, FORMULA),
        (7, FORMULA),
    ]
    nearer = replace(second, replicas=2)
    found = decide([first, same, nearer, far], [option, option, *others], TRAFFIC, finalists=1).rows
    assert [(one.gpus, one.method) for one in found][:2] == [(4, SIMULATION), (5, SIMULATION)]


def test_a_tie_of_gpus_goes_to_the_lower_simulated_time_per_token(row, monkeypatch):
    point, option = row
    times = {1: 0.02, 2: 0.015}
    monkeypatch.setattr(
        decision,
        "confirm",
        lambda point, *_, **__: replace(
            point, method=SIMULATION, latency_s={**point.latency_s, "tpot_mean_s": times[point.replicas]}
        ),
    )
    points = [replace(point, replicas=replicas, gpus=4, draft="x") for replicas in (1, 2)]
    found = decide(points, [option, elsewhere(option, 2)], TRAFFIC, finalists=2).rows
    assert [one.replicas for one in found] == [2, 1]
