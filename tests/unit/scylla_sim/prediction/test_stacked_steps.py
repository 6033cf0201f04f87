"""Several draft lengths at once."""

from __future__ import annotations

import numpy as np
import pytest

from scylla_sim.prediction.scenario import Scenario
from scylla_sim.prediction.throughput import predict_each

BATCH = np.array([1.0, 40.0, 300.0])[:, None]
CONTEXT = np.array([700.0, 4000.0])[None, :]


@pytest.mark.parametrize(
    ("model", "hardware", "draft", "engine"),
    [
        (
            "llama-3.1-8b",
            "h100-sxm",
            "eagle3",
            "vllm",
        ),  # 300 sequences verify more tokens than its CUDA graphs hold
        ("llama-3.1-8b", "l40s", "llama-3.2-1b", "vllm"),
        ("qwen3-30b-a3b", "h200-sxm", "eagle3", "sglang"),
    ],
)
def test_draft_lengths_together_equal_each_alone(model: str, hardware: str, draft: str, engine: str) -> None:
    scenario = Scenario(
        model, hardware=hardware, draft=draft, draft_len=[1, 2, 5, 7], acceptance=0.7, engine=engine
    )
    configs, _ = scenario.speculative_configs()
    target, where = scenario.deployments()
    grid = {"batch": BATCH, "context": CONTEXT, "draft_deployment": where}
    together = list(predict_each(scenario.target_model(), configs, target, **grid))
    for config, one in zip(configs, together):
        (alone,) = predict_each(scenario.target_model(), [config], target, **grid)
        np.testing.assert_array_equal(one.cycle_s, alone.cycle_s)
        np.testing.assert_array_equal(one.speedup_estimate.upper, alone.speedup_estimate.upper)
        np.testing.assert_array_equal(one.tokens_per_s_estimate.lower, alone.tokens_per_s_estimate.lower)
        assert (one.evidence, one.bound()) == (alone.evidence, alone.bound())
        spread = {**grid, "batch": np.tile(BATCH, (1, 2)), "context": np.tile(CONTEXT, (3, 1))}
        (whole,) = predict_each(scenario.target_model(), [config], target, **spread)  # GEMMs at every context too
        np.testing.assert_array_equal(one.cycle_s, whole.cycle_s)
        np.testing.assert_array_equal(one.speedup_estimate.upper, whole.speedup_estimate.upper)
