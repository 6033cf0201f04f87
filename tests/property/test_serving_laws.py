"""Laws of the simulation, for all loads, limits and step times."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from serving_models import flat_model

from scylla_sim.serving.batching import POLICIES
from scylla_sim.serving.iteration import IterationModel
from scylla_sim.serving.metrics import counted, summary
from scylla_sim.serving.simulation import Run, plain_work, simulate
from scylla_sim.serving.workload import Requests, closed_loop_arrivals


@st.composite
def runs(draw: st.DrawFn) -> tuple[IterationModel, Run]:
    count = draw(st.integers(1, 30))
    rng = np.random.default_rng(draw(st.integers(0, 10_000)))
    prompt, answer = rng.integers(1, 300, count), rng.integers(1, 60, count)
    cached = np.minimum(rng.integers(0, 100, count), prompt - 1)
    arrival = np.cumsum(rng.exponential(draw(st.sampled_from([1e-3, 0.02, 0.5])), count)) - 1e-9
    arrival[0] = 0.0
    if draw(st.booleans()):
        arrival = closed_loop_arrivals(count, draw(st.integers(1, 8)))
    requests = Requests(arrival, prompt, cached, answer, 0 * prompt)
    model = flat_model(
        decode_row_s=draw(st.sampled_from([0.0, 1e-3])),
        seats=draw(st.integers(1, 8)),
        budget=draw(st.sampled_from([8, 64, 1000])),
        pool=draw(st.sampled_from([requests.longest + 1.0, 700.0 + requests.longest, 1e9])),
        host_s=draw(st.sampled_from([0.0, 2e-3])),
    )
    return model, simulate(model, requests, plain_work(requests, model), policy=draw(st.sampled_from(POLICIES)))


@given(runs())
@settings(max_examples=50, deadline=None)
def test_every_request_ends_within_the_limits_of_the_scheduler(case: tuple[IterationModel, Run]) -> None:
    model, run = case
    assert np.isfinite(run.finish_s).all()
    assert (run.requests.arrival_s <= run.admit_s + 1e-12).all()
    assert (run.admit_s < run.first_s).all()
    assert (run.first_s <= run.finish_s).all()
    assert run.running.max() <= model.max_num_seqs
    assert run.max_kv_tokens <= float(model.kv_tokens.value) + 1e-6


@given(runs())
@settings(max_examples=50, deadline=None)
def test_every_decoded_token_has_its_gap(case: tuple[IterationModel, Run]) -> None:
    """Conservation: gaps of all iterations count each output token but the first once.

    A preempted request computes its tokens again, but emits none twice.
    """
    _, run = case
    tokens = int((run.requests.output_tokens - 1).sum())
    assert int(run.gap_weight.sum()) == tokens if not run.preemptions else int(run.gap_weight.sum()) >= tokens


@given(runs())
@settings(max_examples=50, deadline=None)
def test_littles_law_holds_on_every_run(case: tuple[IterationModel, Run]) -> None:
    """Requests that run, over time, are the sum of their residences; a preempted one waits in between."""
    _, run = case
    over_time = float((run.ends_s - run.starts_s) @ run.running)
    residences = float((run.finish_s - run.admit_s).sum())
    if not run.preemptions:
        np.testing.assert_allclose(over_time, residences, rtol=1e-9)
    whole = counted(run, warmup=0.0, cooldown=0.0)
    found = summary(run, whole)
    inside = float((run.finish_s - run.requests.arrival_s).sum()) / (whole.end_s - whole.start_s)
    np.testing.assert_allclose(found["running"] + found["waiting"], inside, rtol=1e-9)


@given(runs())
@settings(max_examples=50, deadline=None)
def test_the_replica_never_idles_while_requests_are_there(case: tuple[IterationModel, Run]) -> None:
    _, run = case
    order = np.argsort(run.requests.arrival_s, kind="stable")
    start, end = run.requests.arrival_s[order], run.finish_s[order]
    reached = np.maximum.accumulate(end)
    idle = np.maximum(start[1:] - reached[:-1], 0.0).sum() + start[0]
    busy = (run.ends_s - run.starts_s).sum()
    np.testing.assert_allclose(busy, run.finish_s.max() - idle, rtol=1e-9)
    assert (run.starts_s[1:] >= run.ends_s[:-1] - 1e-12).all()
