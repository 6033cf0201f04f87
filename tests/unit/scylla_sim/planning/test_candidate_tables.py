"""Tables with the entries of the closed form only."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from scylla_sim.planning.candidates import candidates, candidates_of_drafts
from scylla_sim.planning.traffic import Traffic, steady_states
from scylla_sim.prediction.scenario import Scenario
from scylla_sim.prediction.served_load import ServedLoad
from scylla_sim.serving.limits import Limit


@pytest.mark.parametrize(
    ("draft", "engine", "load", "budget"),
    [
        ("eagle3", "vllm", ServedLoad(2000, 300), 8192),
        ("eagle3", "vllm", ServedLoad(3000, 100, 0.4), 512),  # a prompt takes several chunks
        ("eagle3", "sglang", ServedLoad(700, 120), 2048),  # prompts first
        ("eagle3", "vllm", ServedLoad(100, 600, 0.5), 512),  # an answer exceeds two prompts
        ("none", "vllm", ServedLoad(2500, 100), 16384),  # iterations beyond the calibrated ones
    ],
)
def test_the_curve_equals_that_of_the_whole_tables(draft: str, engine: str, load: ServedLoad, budget: int) -> None:
    options = {} if draft == "none" else {"draft_len": [1, 3], "acceptance": 0.7}
    scenario = Scenario("llama-3.1-8b", hardware="h100-sxm", draft=draft, engine=engine, **options)
    configs, _ = scenario.speculative_configs()
    traffic = Traffic(20.0, load, [Limit("ttft", "p95", 1.0)], max_num_batched_tokens=budget, max_num_seqs=300)
    found = list(candidates(scenario.target_model(), configs, scenario.deployments(), traffic))
    assert len(found) == len(configs)
    for one in found:
        curve, full = steady_states(one.model, one.deployment, traffic)
        assert one.saturation_per_s == full
        for item in fields(curve):
            np.testing.assert_array_equal(getattr(one.curve, item.name), getattr(curve, item.name))


def test_drafts_that_share_the_steps_of_a_target_have_the_curves_that_each_has_alone() -> None:
    traffic = Traffic(20.0, ServedLoad(2000, 300), [Limit("tpot", "p95", 0.03)])
    drafts = []
    for draft, hardware in (
        ("none", "h100-sxm"),
        ("eagle3", "h100-sxm"),
        ("eagle3", "a100-sxm"),
        ("ngram", "a100-sxm"),
    ):
        options = {} if draft == "none" else {"draft_len": [2, 4], "acceptance": 0.6}
        scenario = Scenario("llama-3.1-8b", hardware=hardware, draft=draft, **options)
        drafts.append((scenario.speculative_configs()[0], scenario.deployments()))
    model = scenario.target_model()
    together = candidates_of_drafts(model, drafts, traffic)
    assert [len(found) for found in together] == [1, 2, 2, 2]
    for found, (configs, where) in zip(together, drafts):
        for shared, alone in zip(found, candidates(model, configs, where, traffic)):
            assert shared.saturation_per_s == alone.saturation_per_s
            assert shared.rate_per_s == pytest.approx(alone.rate_per_s, rel=1e-9)
            for item in fields(alone.curve):
                ours, other = getattr(shared.curve, item.name), getattr(alone.curve, item.name)
                np.testing.assert_allclose(ours, other, rtol=1e-6, atol=1e-12)


def test_a_draft_that_does_not_fit_leaves_the_others_in_their_places() -> None:
    scenario = Scenario("llama-3.1-8b", hardware="l40s", precision="bf16")
    large = Scenario("llama-3.1-8b", hardware="l40s", draft="eagle3", acceptance=0.7, memory_share=0.5)
    drafts = [(one.speculative_configs()[0], one.deployments()) for one in (large, scenario)]
    found = candidates_of_drafts(scenario.target_model(), drafts, Traffic(1.0, ServedLoad(40_000, 300)))
    assert [len(one) for one in found] == [0, 1]
