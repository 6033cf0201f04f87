"""Steps that read prompts."""

import pytest

from scylla_sim.calibration.device_calibration import shipped
from scylla_sim.prediction.prefill import prefill_step, prompt_step
from scylla_sim.prediction.steps import Deployment
from scylla_sim.specs import catalog

LLAMA8 = catalog.model("llama-3.1-8b")
IDEAL = Deployment(shipped("h100-sxm"), catalog.engine("ideal"))


def test_each_chunk_attends_to_the_earlier_ones():
    chunks = [prefill_step(LLAMA8, IDEAL, tokens=1000, cached=old).seconds for old in (0, 1000, 2000)]
    whole = prompt_step(LLAMA8, IDEAL, tokens=3000, chunk=1000)
    assert float(whole.seconds) == pytest.approx(float(sum(chunks)))
    assert chunks[0] < chunks[1] < chunks[2]
    later = prompt_step(LLAMA8, IDEAL, tokens=2000, cached=1000, chunk=1000)
    assert float(later.seconds) == pytest.approx(float(sum(chunks[1:])))


def test_only_the_last_token_of_a_prompt_is_sampled():
    heads = [
        next(part for part in prefill_step(LLAMA8, IDEAL, tokens=size).parts if part.name == "lm_head")
        for size in (10, 5000)
    ]
    assert float(heads[0].compute_s) == float(heads[1].compute_s)
