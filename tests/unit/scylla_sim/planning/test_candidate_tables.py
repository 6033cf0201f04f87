"""Tables with the entries of the closed form only."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import pytest

from scylla_sim.planning.traffic import Traffic, candidates, steady_states
from scylla_sim.prediction.scenario import Scenario
from scylla_sim.prediction.served_load import ServedLoad
from scylla_sim.serving.limits import Limit


@pytest.mark.parametrize(
    ("draft", "engine", "load", "budget"),
    [
        ("eagle3", "vllm", ServedLoad(2000, 300), 8192),
        ("eagle3", "vllm", ServedLoad(3000, 100, 0.4), 512),  # a prompt takes several chunks
        ("eagle3", "sglang", ServedLoad(700, 120), 2048),  # prompts first
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
