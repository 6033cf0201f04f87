"""Laws of the closed form of a served load, for all replicas and loads."""

from dataclasses import fields, replace
from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from scylla_sim.serving.closed_form import Curve, curve, saturation
from scylla_sim.serving.loop_state import Replica

ROWS = np.unique(np.round(np.geomspace(1.0, 512.0, 60)))
LOADS = np.concatenate([[0.0], np.geomspace(0.05, 256.0, 60)])


@st.composite
def replicas(draw):
    """Return a replica with growing iterations, prompts, and speculation or none."""
    base, slope = draw(st.floats(2e-3, 3e-2)), draw(st.floats(1e-6, 3e-4))
    prompt, cycles = draw(st.floats(1e-4, 0.3)), draw(st.integers(10, 1000))
    prompts = np.full(ROWS.size, prompt)
    return Replica(
        rows=ROWS,
        cycle_s=base + slope * ROWS,
        cycles=np.full(ROWS.size, float(cycles)),
        prompt_s=prompts,
        next_prompt_s=prompts * draw(st.floats(1.0, 1.2)),
        alone_s=np.array(prompt),
        output_len=np.array(cycles * draw(st.floats(1.0, 4.0)) + 1.0),
        max_rows=np.array(256.0),
        cycles_cv=np.array(draw(st.floats(0.0, 0.1))),
    )


def stable(replica):
    """Return the curve below 90 % of saturation."""
    found = curve(replica, LOADS)
    return found.at_rate(np.linspace(0.0, 0.9, 40) * saturation(replica))


@settings(max_examples=60, deadline=None)
@given(replicas())
def test_a_higher_rate_never_helps(replica):
    found = stable(replica)
    for seconds in (found.tpot_s, found.ttft_s, found.tpot_quantile(0.95), found.running):
        assert (np.diff(seconds) >= -1e-4 * seconds[:-1]).all()


@settings(max_examples=60, deadline=None)
@given(replicas(), st.floats(0.3, 0.99))
def test_a_faster_gpu_never_hurts(replica, factor):
    fast = replace(
        replica,
        **{name: factor * getattr(replica, name) for name in ("cycle_s", "prompt_s", "next_prompt_s", "alone_s")},
    )
    assert saturation(fast) > saturation(replica)
    slow = stable(replica)
    quick = curve(fast, LOADS).at_rate(slow.rate_per_s)
    for item in ("tpot_s", "ttft_s", "running"):
        assert (getattr(quick, item) <= getattr(slow, item) * (1 + 1e-3)).all()


@settings(max_examples=60, deadline=None)
@given(replicas(), st.floats(0.2, 5.0))
def test_the_unit_of_time_does_not_matter(replica, factor):
    names = ("cycle_s", "prompt_s", "next_prompt_s", "alone_s")
    other = curve(replace(replica, **{name: factor * getattr(replica, name) for name in names}), LOADS)
    one = curve(replica, LOADS)
    np.testing.assert_allclose(other.tpot_s, factor * one.tpot_s, rtol=1e-9)
    np.testing.assert_allclose(other.rate_per_s * factor, one.rate_per_s, rtol=1e-9)


@settings(max_examples=60, deadline=None)
@given(replicas())
def test_little_s_law_links_requests_rate_and_time(replica):
    found = curve(replica, LOADS)
    stay = found.tpot_s * (replica.output_len - 1.0)
    np.testing.assert_allclose(found.running, found.rate_per_s * stay, rtol=1e-9)


@settings(max_examples=60, deadline=None)
@given(replicas())
def test_percentiles_are_ordered_and_above_the_floor(replica):
    found = stable(replica)
    for quantile, floor in (
        (found.tpot_quantile, found.tpot_floor_s),
        (found.ttft_quantile, np.minimum(found.alone_s, found.wait_floor_s)),
    ):
        values = [floor, *(quantile(p) for p in (0.5, 0.9, 0.95, 0.99))]
        for low, high in pairwise(values):
            assert (low <= high * (1 + 1e-9)).all()


@settings(max_examples=60, deadline=None)
@given(replicas())
def test_every_number_is_finite(replica):
    found = curve(replica, LOADS)
    assert isinstance(found, Curve)
    for item in fields(found):
        assert np.isfinite(getattr(found, item.name)).all(), item.name
