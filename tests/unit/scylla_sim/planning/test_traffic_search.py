"""Ranking of deployments that serve a load."""

from types import SimpleNamespace

import numpy as np

from scylla_sim.planning.traffic import Served, Traffic
from scylla_sim.planning.traffic_search import Option
from scylla_sim.prediction.served_load import ServedLoad

TRAFFIC = Traffic(10.0, ServedLoad(1000, 200))


def option(rate_per_s: float, tp: int, price: float | None = None, *, tpot_s: float = 0.02) -> Option:
    served = Served({}, SimpleNamespace(tp=tp), None, None, 2 * rate_per_s, rate_per_s, "saturation", tpot_s, None)
    return Option(served, served, price)


def test_the_last_part_of_a_load_has_a_replica_of_its_own():
    assert option(3.0, 1).served.replicas(TRAFFIC) == 4
    assert option(5.0, 1).served.replicas(TRAFFIC) == 2
    assert option(0.0, 1).served.replicas(TRAFFIC) == np.inf


def test_effort_counts_the_gpus_of_all_ranks_and_their_price():
    assert option(3.0, 2).effort(TRAFFIC, False)[0] == 8.0
    assert option(3.0, 2, 1.5).effort(TRAFFIC, True)[0] == 12.0
    assert option(3.0, 2).effort(TRAFFIC, True)[0] == np.inf


def test_a_tie_of_gpus_goes_to_the_lower_time_per_token_and_not_to_the_lower_load():
    emptier = option(6.0, 2, tpot_s=0.03)
    faster = option(5.0, 2, tpot_s=0.02)
    assert emptier.served.replicas(TRAFFIC) == faster.served.replicas(TRAFFIC) == 2
    assert faster.effort(TRAFFIC, False) < emptier.effort(TRAFFIC, False)
    fewer = option(10.0, 2, tpot_s=0.04)
    assert fewer.effort(TRAFFIC, False) < faster.effort(TRAFFIC, False)
