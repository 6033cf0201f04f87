"""Rates that limits allow: hand values, the trap of a diverging queue, gains and schedules."""

import numpy as np
import pytest

from scylla_sim.planning.candidates import candidates
from scylla_sim.planning.traffic import SATURATION, Traffic, highest_rate, statistic
from scylla_sim.planning.traffic_rows import amplification, doubts_at, rate_gain, traffic_point
from scylla_sim.prediction.scenario import Scenario
from scylla_sim.prediction.served_load import ServedLoad
from scylla_sim.serving.closed_form import curve, saturation
from scylla_sim.serving.limits import Limit
from scylla_sim.serving.loop_state import Replica
from scylla_sim.serving.replica import POOL, SEATS
from scylla_sim.serving.workload import Lengths
from scylla_sim.stats.estimate import Estimate

LENGTHS = ServedLoad(2000, 300)
MEAN_40 = Limit("tpot", "mean", 0.04)


@pytest.fixture(scope="module")
def flat():
    """Return a replica whose iterations all take 10 ms, with 10 ms for each prompt."""
    rows = np.arange(1.0, 65.0)
    ten = np.full(64, 0.01)
    some = {"output_len": np.array(101.0), "max_rows": np.array(64.0), "cycles_cv": np.array(0.0)}
    return Replica(rows, ten, np.full(64, 100.0), ten, ten, np.array(0.01), **some)


def under(limits=(), **options):
    return Traffic(100.0, LENGTHS, limits, **options)


@pytest.fixture(scope="module")
def large():
    """Return Llama-3.3-70B in fp8 on four H100, plain and with drafts of 1, 2 and 4 tokens."""

    def on(traffic, **options):
        scenario = Scenario("llama-3.3-70b", hardware="h100-sxm", tp=4, precision="fp8", engine="vllm", **options)
        configs, _ = scenario.speculative_configs()
        schedule = len(configs) > 1
        return list(
            candidates(scenario.target_model(), configs, scenario.deployments(), traffic, schedule=schedule)
        )

    return on


def test_the_time_per_token_limits_the_rate_by_hand(flat):
    """Time per token is 10 ms over the rest of the time, so 12.5 ms leave 20 % to prompts: 20 requests/s."""
    full = float(saturation(flat))
    assert full == pytest.approx(64 / (100 * 0.01 + 64 * 0.01))
    found = curve(flat, np.linspace(0.0, 64.0, 400))
    rate, binds = highest_rate(found, full, under([Limit("tpot", "mean", 0.0125)]))
    assert rate == pytest.approx(20.0, rel=0.02)
    assert binds == "TPOT mean <= 12.5 ms"


def test_the_tightest_limit_binds_and_a_limit_below_the_unloaded_latency_gives_no_rate(flat):
    full, found = float(saturation(flat)), curve(flat, np.linspace(0.0, 64.0, 400))
    loose, tight = Limit("tpot", "mean", 0.014), Limit("ttft", "mean", 0.03)
    rates = [highest_rate(found, full, under(limits))[0] for limits in ([loose], [tight], [loose, tight])]
    assert rates[2] == min(rates[:2])
    for limit in (Limit("tpot", "p99", 0.0099), Limit("ttft", "mean", 0.0099)):
        assert highest_rate(found, full, under([limit])) == (0.0, str(limit))


def test_without_limits_the_load_is_a_share_of_saturation(flat):
    found = curve(flat, np.linspace(0.0, 64.0, 400))
    for share in (0.5, 0.9):
        assert highest_rate(found, 10.0, under(max_load=share)) == (10.0 * share, SATURATION)


def test_a_small_budget_never_meets_a_limit_with_a_diverging_queue(large):
    """A budget of 512 keeps 40 ms per token at any rate, because prompts wait; the plan stays below saturation."""
    traffic = Traffic(200.0, LENGTHS, [MEAN_40], max_num_batched_tokens=512)
    (found,) = large(traffic)
    assert found.binds == SATURATION
    assert found.rate_per_s == pytest.approx(0.9 * found.saturation_per_s)
    assert found.replicas(traffic) * 4 > 130  # 52 GPUs meet the limit while the queue grows
    (normal,) = large(Traffic(200.0, LENGTHS, [MEAN_40]))
    assert normal.binds == str(MEAN_40)


def test_the_planned_rate_just_meets_its_limit(large):
    for limit in (MEAN_40, Limit("tpot", "p95", 0.045), Limit("ttft", "p95", 0.5)):
        (found,) = large(Traffic(20.0, LENGTHS, [limit]))
        assert statistic(found.curve.at_rate([found.rate_per_s]), limit)[0] == pytest.approx(
            limit.seconds, rel=2e-3
        )


def test_a_model_that_does_not_fit_is_no_candidate():
    scenario = Scenario("llama-3.3-70b", hardware="h100-sxm", tp=1, engine="vllm")
    configs, _ = scenario.speculative_configs()
    assert list(candidates(scenario.target_model(), configs, scenario.deployments(), under())) == []


def test_a_schedule_serves_as_much_as_its_best_length(large):
    found = large(under([MEAN_40]), draft="eagle3", draft_len=[1, 2, 4], acceptance=0.7)
    *fixed, schedule = found
    assert [one.configs[1].draft_len for one in fixed] == [1, 2, 4]
    assert next(iter(schedule.configs)) == 1
    assert schedule.rate_per_s > 0.98 * max(one.rate_per_s for one in fixed)


def test_errors_grow_with_load(large):
    (found,) = large(under([MEAN_40]))
    low, high = (amplification(found, share * found.saturation_per_s) for share in (0.05, 0.8))
    assert 1.0 < low < 1.2
    assert 2.5 < high < 5.0


def test_the_gain_over_itself_is_one_and_its_interval_follows_the_speed_up(large):
    traffic = under([MEAN_40])
    (plain,) = large(traffic)
    sure = rate_gain(plain, plain, Estimate.of([1.0], [1.0], [1.0]), traffic)
    assert [float(end) for end in (sure.lower, sure.value, sure.upper)] == pytest.approx([1.0, 1.0, 1.0])
    wide = rate_gain(plain, plain, Estimate.of([1.0], [0.8], [1.25]), traffic)
    assert 0.8 < wide.lower < 0.95
    assert 1.05 < wide.upper < 1.25


def test_a_point_counts_whole_replicas_and_costs_what_they_cost(large):
    traffic = Traffic(200.0, LENGTHS, [MEAN_40])
    (plain,) = large(traffic)
    model = Scenario("llama-3.3-70b", hardware="h100-sxm").target_model()
    point = traffic_point(model, plain, plain, traffic, price=2.0)
    assert point.gpus == 4 * point.replicas
    assert point.rate_per_s * point.replicas == pytest.approx(200.0)
    assert point.cost_per_million_tokens == pytest.approx(2.0 * point.gpus / 3600 / (200 * 300) * 1e6)
    assert point.replicas_lower <= point.replicas <= point.replicas_upper
    assert point.tpot_mean_lower_s < point.latency_s["tpot_mean_s"] < point.tpot_mean_upper_s
    assert point.running == pytest.approx(point.rate_per_s * point.latency_s["tpot_mean_s"] * 299, rel=1e-3)
    assert (point.verdict, point.gain) == ("baseline", 1.0)


def test_no_more_requests_run_by_formula_than_the_pool_holds():
    """Long prompts on a small pool: the loop of the curve has no seats, and its mean exceeded them."""
    scenario = Scenario("qwen3-32b", hardware="l40s", precision="fp8")
    traffic = Traffic(20.0, ServedLoad(16_000, 500), max_load=0.99)
    configs, _ = scenario.speculative_configs()
    (one,) = candidates(scenario.target_model(), configs, scenario.deployments(), traffic)
    at = one.curve.at_rate([one.rate_per_s, 0.98 * one.saturation_per_s])
    assert one.binds == SEATS
    assert at.running[0] == pytest.approx(at.max_rows[0], rel=0.02) and at.running[0] <= at.max_rows[0]
    assert at.running[1] > at.max_rows[1]
    assert at.max_rows[0] * traffic.load.context <= float(one.model.kv_tokens.value)
    assert {POOL, SEATS} <= set(doubts_at(one, traffic, one.rate_per_s))


def test_simulated_lengths_stay_within_the_tables_of_a_plan():
    """Some of thousands of lognormal lengths exceed the longest request that a plan is made for."""
    prompt = Lengths.parse("input_len", "lognormal:620,1.9")
    traffic = Traffic(
        1.0, ServedLoad(620, 283), input_lengths=prompt, output_lengths=Lengths.parse("output_len", 283)
    )
    drawn, answers = (one.draw(np.random.default_rng(0), 20_000) for one in traffic.lengths)
    assert prompt.draw(np.random.default_rng(0), 20_000).max() > traffic.longest
    assert drawn.max() + answers.max() <= traffic.longest
    assert np.mean(drawn == drawn.max()) == pytest.approx(0.001, abs=0.0007)
    assert drawn.mean() == pytest.approx(620, rel=0.05)
