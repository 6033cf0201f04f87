"""A scenario under a load: acceptance of requests, saturation, ends of the step model, and gains."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from scylla_sim.acceptance.speculative_config import SpeculativeConfig
from scylla_sim.checks import InputError
from scylla_sim.prediction.scenario import Scenario
from scylla_sim.prediction.served_load import ServedLoad
from scylla_sim.serving import report
from scylla_sim.serving.batching import MIXED
from scylla_sim.serving.closed_form import saturation
from scylla_sim.serving.configs import configs_of, policy_of
from scylla_sim.serving.gain import SATURATION, gains
from scylla_sim.serving.limits import Limit
from scylla_sim.serving.load import Load
from scylla_sim.serving.replica import replica
from scylla_sim.serving.serve import Served, Settings, emitted, model_of, resolved, saturation_rate, serve, work_of
from scylla_sim.serving.workload import Lengths, RequestClass
from scylla_sim.specs.draft import Draft
from scylla_sim.stats.estimate import exact

PLAIN = Scenario("llama-3.1-8b", hardware="h100-sxm")
EAGLE = replace(PLAIN, draft="eagle3", draft_len=3, acceptance=0.7)
SMALL = Settings(max_num_seqs=16, requests=120, seeds=2)


def a_class(name: str = "all", prompt: str = "400", answer: str = "60", **options: float) -> RequestClass:
    return RequestClass(name, Lengths.parse("input_len", prompt), Lengths.parse("output_len", answer), **options)


def test_the_emitted_tokens_have_the_mean_of_the_configuration() -> None:
    chain = SpeculativeConfig(Draft("eagle3", "head", num_layers=1), 5, 1, 6, 2.7, 2.5, 2.9)
    tree = SpeculativeConfig(Draft("eagle2", "head", num_layers=1), 6, 10, 61, 4.1, 4.0, 4.2)
    for config in (chain, tree):
        found = emitted(config)
        assert found.size == config.draft_len + 1
        assert float(found @ np.arange(1, found.size + 1)) == pytest.approx(config.tokens_per_cycle)


def test_classes_need_cycles_by_their_own_acceptance() -> None:
    configs, _ = configs_of(EAGLE, None)
    better, _ = configs_of(replace(EAGLE, acceptance=0.95), None)
    load = Load([a_class("a", answer="400"), a_class("b", answer="400")], rate=1.0)
    requests = load.draw(np.random.default_rng(0), 200)
    work = work_of(requests, configs, [configs, better], np.random.default_rng(1), seats=4)
    means = [work.cycles[0][requests.class_index == index].mean() for index in (0, 1)]
    for mean, own in zip(means, (configs, better)):
        assert 399.0 / mean == pytest.approx(own[1].tokens_per_cycle, rel=0.02)


@pytest.fixture(scope="module")
def half_loaded() -> Served:
    return serve(PLAIN, Load([a_class()], rate=10.0), SMALL, limits=[Limit("ttft", "p95", 1e-4)])


def test_slow_steps_are_slower_by_more_than_the_step_itself(half_loaded: Served) -> None:
    metric = half_loaded.metrics["tpot_s mean"]
    step = half_loaded.model.decoding.seconds
    assert metric.slow / float(metric.value.value) > float(step.upper[4, 8] / step.value[4, 8])
    assert metric.fast < float(metric.value.value) < metric.slow
    assert float(metric.value.lower) < float(metric.seeds.lower) <= float(metric.seeds.upper)


def test_the_saturation_is_a_rate_that_a_queue_can_just_follow(half_loaded: Served) -> None:
    assert half_loaded.saturation is not None
    most = half_loaded.saturation[0]
    below, above = (
        serve(PLAIN, Load([a_class()], rate=share * most), replace(SMALL, requests=600, seeds=1))
        for share in (0.9, 1.1)
    )
    assert (below.stable["value"], above.stable["value"]) == (True, False)
    waits = [float(found.metrics["waiting"].value.value) for found in (below, above)]
    assert waits[1] > 3.0 * waits[0]
    by_key = {(row["metric"], row["statistic"]): row for row in report.rows(above)}
    assert by_key["ttft_s", "p95"]["value"] is None
    assert by_key["tpot_s", "p95"]["value"] > 0.0
    assert "grows without end" in report.headline(above, Load([a_class()], rate=1.1 * most))
    assert report.limits_met(above, [Limit("tpot", "mean", 10.0)]) == ["no"]


def test_limits_are_met_by_the_whole_interval_only(half_loaded: Served) -> None:
    metric = half_loaded.metrics["tpot_s p95"].value
    limits = [Limit("tpot", "p95", float(one)) for one in (0.5 * metric.lower, metric.value, 2.0 * metric.upper)]
    assert report.limits_met(half_loaded, limits) == ["no", "undecided", "yes"]
    assert float(half_loaded.metrics["goodput_per_s"].value.value) == 0.0  # nobody starts within 0.1 ms


def test_a_seed_gives_the_same_result_twice(half_loaded: Served) -> None:
    again = serve(PLAIN, Load([a_class()], rate=10.0), SMALL)
    name = "ttft_s p99"
    assert float(again.metrics[name].value.value) == float(half_loaded.metrics[name].value.value)
    other = serve(PLAIN, Load([a_class()], rate=10.0), replace(SMALL, seed=7))
    assert float(other.metrics[name].value.value) != float(half_loaded.metrics[name].value.value)


def test_speculation_gains_at_a_low_load_and_hardly_at_saturation() -> None:
    load = Load([a_class()], rate=2.0)
    settings = replace(SMALL, max_num_seqs=128)
    found = {one.metric: one for one in gains(serve(EAGLE, load, settings), EAGLE, load)}
    tpot, most = found["TPOT"], found[SATURATION]
    assert tpot.value is not None
    assert most.value is not None
    assert tpot.verdict == "faster"
    assert 1.5 < float(tpot.value.value) < 2.5
    assert float(most.value.value) < 0.75 * float(tpot.value.value)


def test_engines_schedule_prompts_in_their_own_way() -> None:
    sglang = replace(PLAIN, engine="sglang").deployments()[0]
    assert policy_of(PLAIN.deployments()[0]) == "mixed"
    assert policy_of(sglang) == "prefill-first"
    assert policy_of(sglang, "mixed") == "mixed"


def test_one_run_is_enough_where_nothing_is_random() -> None:
    load = Load([a_class()], concurrency=4)
    assert len(serve(PLAIN, load, SMALL).cases) == 1
    assert len(serve(EAGLE, load, SMALL).cases) == 2


def test_bad_combinations_are_refused() -> None:
    with pytest.raises(InputError, match="acceptance=0.5 of class 'all' needs a draft"):
        serve(PLAIN, Load([a_class()], rate=1.0, acceptance={"all": {"acceptance": 0.5}}), SMALL)
    with pytest.raises(InputError, match="draft_len=3 must not be given beside a schedule"):
        configs_of(EAGLE, {1: 2})
    with pytest.raises(InputError, match="needs a draft"):
        configs_of(PLAIN, {1: 2})
    with pytest.raises(InputError, match="must be one value"):
        configs_of(replace(EAGLE, draft_len=[1, 2]), None)
    with pytest.raises(InputError, match="rate must be given"):
        Load([a_class()])
    with pytest.raises(InputError, match=r"burstiness=2 needs a rate"):
        Load([a_class()], concurrency=4, burstiness=2.0)


def test_more_seats_raise_the_saturation_until_the_pool_is_full_and_lower_it_beyond() -> None:
    """Answers that outgrow a full pool are computed again; a pool that holds all seats has no such loss."""
    configs, _ = configs_of(PLAIN, None)
    load = Load([a_class(prompt="300", answer="600")], rate=1.0)
    rates: list[float] = []
    ample: list[float] = []
    for seats in (256, 512, 1024):
        settings = resolved(Settings(max_num_seqs=seats), PLAIN, configs)
        model = model_of(PLAIN, configs, [load.draw(np.random.default_rng(0), 100)], settings)
        held = float(model.kv_tokens.value) / 600
        assert (seats < held) == (seats < 1024)
        large = replace(model, kv_tokens=exact(1e7))
        for found, one in ((rates, model), (ample, large)):
            found.append(saturation_rate(one, load, configs, [configs], settings, MIXED))
    assert rates[:2] == pytest.approx(ample[:2], rel=0.01)
    assert ample[0] < ample[1] < ample[2]
    assert rates[2] < 0.9 * rates[1]


def test_the_formula_of_saturation_prices_the_prompts_that_run_together() -> None:
    """Five prompts share an iteration of 512 decodes; the second of two fills no further tile, as others do."""
    scenario = Scenario("llama-3.1-8b", hardware="h100-sxm", precision="fp8")
    configs, _ = configs_of(scenario, None)
    load = Load([a_class(prompt="500", answer="100")], rate=1.0)
    settings = resolved(Settings(max_num_seqs=512), scenario, configs)
    model = model_of(scenario, configs, [load.draw(np.random.default_rng(0), 100)], settings)
    simulated = saturation_rate(model, load, configs, [configs], settings, MIXED)
    assert float(saturation(replica(model, ServedLoad(500, 100)))) == pytest.approx(simulated, rel=0.03)


def test_the_run_of_saturation_has_no_longer_requests_than_the_model_knows() -> None:
    """It draws thousands of lengths, of which some exceed those of a short run; they ended in an IndexError."""
    load = Load([a_class(prompt="lognormal:150,1.8", answer="20")], rate=1.0)
    found = serve(PLAIN, load, Settings(requests=20, seeds=1, max_num_seqs=1))
    assert found.saturation is not None and found.saturation[0] > 0.0
    long = load.draw(np.random.default_rng(0), 2000)
    short = long.cut_to(500)
    assert long.longest > 500 == short.longest
    kept = long.input_tokens + long.output_tokens <= 500
    assert (short.input_tokens[kept] == long.input_tokens[kept]).all()
