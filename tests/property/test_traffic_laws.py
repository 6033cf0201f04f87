"""Laws of a plan: more GPUs, a faster GPU, a lower rate or a looser limit never hurt."""

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from scylla_sim.planning.traffic import Traffic, highest_rate
from scylla_sim.prediction.served_load import ServedLoad
from scylla_sim.serving.closed_form import curve, saturation
from scylla_sim.serving.limits import Limit
from scylla_sim.testing.strategies import replicas

LOADS = np.concatenate([[0.0], np.geomspace(0.05, 256.0, 80)])
LENGTHS = ServedLoad(1000, 200)


limits = st.builds(
    Limit,
    st.sampled_from(["ttft", "tpot"]),
    st.sampled_from(["mean", "p50", "p95", "p99"]),
    st.floats(4e-3, 1.0),
)


def rate(replica, *bounds):
    found = highest_rate(curve(replica, LOADS), float(saturation(replica)), Traffic(1.0, LENGTHS, bounds))[0]
    assert 0.0 <= found <= 0.9 * float(saturation(replica)) + 1e-12
    return found


@settings(max_examples=60, deadline=None)
@given(replicas(), limits, st.floats(0.3, 0.98))
def test_a_faster_gpu_never_serves_less(replica, limit, factor):
    names = ("cycle_s", "prompt_s", "next_prompt_s", "alone_s")
    fast = replace(replica, **{name: factor * getattr(replica, name) for name in names})
    assert rate(fast, limit) >= rate(replica, limit) * (1 - 2e-3)


@settings(max_examples=60, deadline=None)
@given(replicas(), limits, st.floats(1.0, 3.0))
def test_a_looser_limit_never_serves_less(replica, limit, factor):
    looser = Limit(limit.metric, limit.statistic, factor * limit.seconds)
    assert rate(replica, looser) >= rate(replica, limit) * (1 - 1e-9)


@settings(max_examples=60, deadline=None)
@given(replicas(), limits, limits)
def test_a_further_limit_never_serves_more(replica, first, second):
    assert rate(replica, first, second) == min(rate(replica, first), rate(replica, second))


@settings(max_examples=60, deadline=None)
@given(replicas(), limits, st.floats(0.1, 0.9))
def test_every_lower_rate_meets_the_limit_too(replica, limit, share):
    """More replicas lower the rate of each, so more GPUs never hurt."""
    highest = rate(replica, limit)
    at = curve(replica, LOADS).at_rate([share * highest, highest])
    if highest > 0.0:
        values = {"ttft": (at.ttft_s, at.ttft_quantile), "tpot": (at.tpot_s, at.tpot_quantile)}[limit.metric]
        found = values[0] if limit.probability is None else values[1](limit.probability)
        assert (found <= limit.seconds * (1 + 2e-3)).all()
