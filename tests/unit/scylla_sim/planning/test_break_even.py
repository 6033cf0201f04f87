"""Tokens per cycle at which a draft breaks even."""

import pytest

from scylla_sim.acceptance.speculative_config import SpeculativeConfig
from scylla_sim.calibration.device_calibration import shipped
from scylla_sim.planning.break_even import break_even_tokens, break_evens
from scylla_sim.prediction.steps import Deployment
from scylla_sim.prediction.throughput import predict
from scylla_sim.specs import catalog


def predicted(tau: float):
    config = SpeculativeConfig(catalog.draft("eagle3"), 3, 1, 4, tau, tau, tau)
    where = Deployment(shipped("h100-sxm"), catalog.engine("vllm"))
    return predict(catalog.model("llama-3.1-8b"), config, where, batch=[1, 64], context=1000)


def test_a_draft_with_as_many_tokens_as_it_needs_is_as_fast_as_plain_decoding():
    out = predicted(2.0)
    needed = break_even_tokens(out)
    assert needed.value == pytest.approx(2.0 / out.speedup)
    assert predicted(float(needed.value[0])).speedup[0] == pytest.approx(1.0)
    assert (needed.lower < needed.value).all() and (needed.value < needed.upper).all()


def test_every_point_has_its_break_even():
    out = predicted(2.0)
    assert [item.batch_size for item in break_evens([out])] == [1, 64]
    assert break_evens([out])[1].tokens_per_cycle > break_evens([out])[0].tokens_per_cycle
