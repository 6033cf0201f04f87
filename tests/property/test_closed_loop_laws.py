"""Laws of closed loops that hold for all costs and loads."""

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from scylla_sim.serving.closed_load import closed_load
from scylla_sim.serving.closed_loop import LoopCosts, closed_loop

NAMES = ("decode_s", "half_decode_s", "prompt_s", "wave_prompt_s", "together", "alone_s", "chunks", "cycles")


@st.composite
def loops(draw):
    """Draw the parts of one closed loop and its load."""
    n = np.array([float(draw(st.integers(1, 300)))])
    decode = draw(st.floats(1e-3, 0.1))
    prompt = draw(st.floats(1e-3, 2.0))
    values = {"decode_s": decode, "half_decode_s": draw(st.floats(0.6, 1.0)) * decode, "prompt_s": prompt}
    values |= {
        "wave_prompt_s": prompt,
        "together": min(draw(st.floats(0.1, 20.0)), n[0]),
        "alone_s": prompt + decode,
    }
    least = max(10.0, 0.5 * n[0] * prompt / decode)  # prompts take at most about two thirds of the time
    values |= {"chunks": float(draw(st.integers(1, 5))), "cycles": draw(st.floats(1.0, 20.0)) * least}
    costs = LoopCosts(seats=n, running=n, **{name: np.array([values[name]]) for name in NAMES})
    load = closed_load(
        n + draw(st.integers(0, 50)), 1000, values["cycles"] + 1.0, start_share=draw(st.floats(0, 1))
    )
    return costs, load


@given(loops())
@settings(max_examples=60, deadline=None)
def test_requests_in_flight_are_rate_times_time(loop):
    costs, load = loop
    found = closed_loop(costs, load)
    np.testing.assert_allclose(found.requests_per_s * found.e2e_s, load.concurrency)
    np.testing.assert_allclose(found.e2e_s, found.ttft_s + (load.output_len - 1.0) * found.tpot_s)


@given(loops(), st.floats(0.0, 5e-3), st.floats(0.0, 1.0), st.floats(0.0, 0.2))
@settings(max_examples=60, deadline=None)
def test_a_slower_engine_never_serves_more(loop, host_s, slow, first_token_s):
    costs, load = loop
    fast = closed_loop(costs, load)
    later = closed_loop(costs, load, host_s=host_s, slow=slow, first_token_s=first_token_s)
    assert (later.e2e_s >= fast.e2e_s * (1 - 1e-6)).all()
    assert (later.requests_per_s <= fast.requests_per_s * (1 + 1e-6)).all()


@given(loops(), st.floats(0.0, 4.0))
@settings(max_examples=60, deadline=None)
def test_prompts_take_less_than_the_whole_time_however_long_they_are(loop, slow):
    costs, load = loop
    steady = replace(load, start_share=np.zeros(1))
    found = closed_loop(costs, steady, slow=slow)
    assert (found.requests_per_s * costs.prompt_s * (1.0 + slow) < 1.0).all()


@given(loops())
@settings(max_examples=60, deadline=None)
def test_prompts_of_others_are_read_at_most_once(loop):
    costs, load = loop
    found = closed_loop(costs, load)
    decoding = found.tpot_s * (np.asarray(load.output_len) - 1.0)
    most = costs.cycles * costs.decode_s + (costs.running - 1.0) * costs.prompt_s
    assert (costs.cycles * costs.half_decode_s * (1 - 1e-9) <= decoding).all()
    assert (decoding <= most * (1 + 1e-9)).all()


def test_long_prompts_reach_one_steady_state():
    one = np.ones(1)
    costs = LoopCosts(4 * one, 4 * one, 0.0625 * one, 0.047 * one, one, one, one, 1.0625 * one, one, 32 * one)
    load = closed_load(4 * one, 1000, 33.0 * one, start_share=0.0)
    found = closed_loop(costs, load, slow=[0.0, 0.5, 1.0, 2.0])
    assert (np.diff(found.e2e_s) > 0.0).all()
    assert (found.requests_per_s * np.array([1.0, 1.5, 2.0, 3.0]) < 1.0).all()
