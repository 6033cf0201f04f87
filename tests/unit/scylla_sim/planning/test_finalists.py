"""Finalists of a plan: the closed form against simulation, and replicas that simulated runs confirm."""

from dataclasses import replace

import pytest

from scylla_sim.planning import finalists
from scylla_sim.planning.candidates import candidates
from scylla_sim.planning.closed_form_errors import PER_REQUEST, error_rows
from scylla_sim.planning.finalists import confirm, fewest_that, holds, simulated
from scylla_sim.planning.traffic import Traffic
from scylla_sim.planning.traffic_rows import amplification, doubts_at, traffic_point
from scylla_sim.planning.traffic_search import Option
from scylla_sim.prediction.scenario import Scenario
from scylla_sim.prediction.served_load import ServedLoad
from scylla_sim.serving.limits import Limit
from scylla_sim.serving.workload import Lengths

LENGTHS = ServedLoad(1000, 200)
LIMITS = (Limit("tpot", "p95", 0.02), Limit("ttft", "p95", 0.2))
BANDS = {(0.3, "mean"): 0.03, (0.3, "p95"): 0.10, (0.8, "mean"): 0.13, (0.8, "p95"): 0.25}
"""Share of saturation and statistic -> accepted error of the closed form."""


def served(traffic, **options):
    scenario = Scenario("llama-3.1-8b", **({"hardware": "h100-sxm", "engine": "vllm-2025"} | options))
    configs, _ = scenario.speculative_configs()
    (found,) = candidates(scenario.target_model(), configs, scenario.deployments(), traffic)
    return found


@pytest.mark.parametrize("options", [{}, {"draft": "eagle3", "draft_len": [3], "acceptance": 0.65}])
def test_the_closed_form_agrees_with_simulation(options):
    traffic = Traffic(1.0, LENGTHS, max_num_seqs=256)
    rows = error_rows("8b", served(traffic, **options), traffic, shares=(0.3, 0.8), seeds=2, count=4000)
    checked = [row for row in rows if (row["share"], row["statistic"]) in BANDS]
    assert len(checked) == 8
    for row in checked:
        assert abs(row["relative_error"]) <= BANDS[row["share"], row["statistic"]], row
        assert row["doubts"] == ""
    assert rows[-1]["latency"] == PER_REQUEST
    assert abs(rows[-1]["relative_error"]) < 0.01


@pytest.mark.parametrize(
    ("lengths", "options", "seats"),
    [
        ((1000, 200), {}, 8),
        ((1000, 200), {"hardware": "l4", "engine": "vllm"}, None),
        ((300, 600), {"hardware": "l4", "engine": "vllm"}, None),
    ],
)
def test_the_wait_for_a_seat_or_for_a_full_pool_is_found_and_doubted(lengths, options, seats):
    """Means at 80 % of saturation differ from 1.3 to 9 times the TTFT of a fresh prompt."""
    traffic = Traffic(1.0, ServedLoad(*lengths), max_num_seqs=seats)
    rows = error_rows("8b", served(traffic, **options), traffic, shares=(0.8,), seeds=3, count=3000)
    (ttft,) = (row for row in rows if (row["latency"], row["statistic"]) == ("ttft", "mean"))
    assert abs(ttft["relative_error"]) < 0.35, ttft
    assert ttft["doubts"] == ("seats" if seats else "KV pool")


@pytest.mark.parametrize("wrong", [0.8, 1.3])
def test_simulation_corrects_a_closed_form_that_is_wrong(wrong):
    """With a wrong highest rate, the finalist ends at the same replicas, one step apart at most."""
    traffic = Traffic(400.0, LENGTHS, LIMITS)
    one = served(traffic)
    model = Scenario("llama-3.1-8b", hardware="h100-sxm").target_model()
    right = confirm(traffic_point(model, one, one, traffic), Option(one, one), traffic)
    off = replace(one, rate_per_s=wrong * one.rate_per_s)
    found = confirm(traffic_point(model, off, off, traffic), Option(off, off), traffic)
    assert abs(found.replicas - right.replicas) <= 1
    for point in (right, found):
        assert point.method == "simulation"
        assert point.latency_s["tpot_p95_s"] <= 0.02
        assert point.latency_s["ttft_p95_s"] <= 0.2
        assert point.rate_per_s * point.replicas == pytest.approx(400.0)


def test_a_run_that_falls_behind_does_not_hold(monkeypatch):
    monkeypatch.setattr(finalists, "REQUESTS", 1000)
    traffic = Traffic(1.0, LENGTHS, [Limit("tpot", "mean", 10.0)])
    one = served(traffic)
    rate = 1.6 * one.saturation_per_s
    assert not holds(simulated(one, traffic, rate, seeds=1), traffic, rate)
    assert holds(simulated(one, traffic, 0.2 * rate, seeds=1), traffic, 0.2 * rate)


@pytest.mark.parametrize("start", [1, 30, 37, 38, 90, 500])
def test_the_fewest_replicas_are_found_from_any_start(start):
    assert fewest_that(lambda count: count >= 37, start) == 37
    assert fewest_that(lambda count: True, start) == 1


def test_a_search_without_success_ends():
    asked = []
    assert fewest_that(lambda count: bool(asked.append(count)), 10) is None
    assert len(asked) < 30


def test_variable_lengths_are_simulated_and_doubted():
    lengths = (Lengths.parse("input_len", "lognormal:1000,1"), Lengths.parse("output_len", "uniform:100,300"))
    traffic = Traffic(1.0, LENGTHS, input_lengths=lengths[0], output_lengths=lengths[1])
    one = served(traffic)
    rate = 0.6 * one.saturation_per_s
    same = simulated(one, Traffic(1.0, LENGTHS), rate, seeds=1, count=2000)
    varied = simulated(one, traffic, rate, seeds=1, count=2000)
    assert varied["ttft_s p95"] > 1.5 * same["ttft_s p95"]
    assert doubts_at(one, traffic, rate) == ("variable lengths",)
    assert doubts_at(one, replace(traffic, burstiness=0.5), rate) == ("variable lengths", "bursts")


def test_a_finalist_takes_load_and_amplification_from_its_final_rate():
    """A full KV pool preempts, which the closed form counts within 5 %; the load follows the simulation."""
    scenario = Scenario("llama-3.3-70b", hardware="h100-sxm", tp=2, precision="fp8")
    traffic = Traffic(4.0, ServedLoad(1500, 400))
    (one,) = candidates(scenario.target_model(), scenario.speculative_configs()[0], scenario.deployments(), traffic)
    full = finalists.simulated_saturation(one, traffic)
    assert one.saturation_per_s == pytest.approx(full, rel=0.05)
    point = confirm(traffic_point(scenario.target_model(), one, one, traffic), Option(one, one), traffic)
    assert point.replicas == 2
    assert point.saturation_per_s == pytest.approx(full)
    assert point.load == pytest.approx(2.0 / full)
    assert point.amplification == pytest.approx(amplification(one, 2.0))
