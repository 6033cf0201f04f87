"""Properties of schedules for every device, draft and acceptance."""

from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from scylla_sim.acceptance.profiles import iid_tokens_per_cycle
from scylla_sim.acceptance.speculative_config import SpeculativeConfig
from scylla_sim.calibration import device_calibration
from scylla_sim.planning.context_crossover import faster_ranges
from scylla_sim.planning.crossover import MIN_SWITCH_GAIN, spans_of
from scylla_sim.planning.schedule import schedule
from scylla_sim.prediction.steps import Deployment
from scylla_sim.prediction.throughput import predict
from scylla_sim.specs import catalog

devices = st.sampled_from(["h100-sxm", "h200-sxm", "a100-sxm", "b200-sxm", "l40s", "rtx-3090"])
engines = st.sampled_from(["ideal", "vllm", "sglang"])
rates = st.floats(0.02, 0.98)
contexts = st.sampled_from([128, 1024, 4096])
MAX_BATCH = 200
MODEL = catalog.model("llama-3.2-1b")
few = settings(max_examples=25, deadline=None)
NEVER = float("inf")


def chain(length, rate, draft="eagle3", spread=0.0):
    tau, low, high = (
        float(iid_tokens_per_cycle(np.clip(rate * share, 0, 1), length)) for share in (1, 1 - spread, 1 + spread)
    )
    return SpeculativeConfig(catalog.draft(draft), length, 1, length + 1, tau, low, high)


def scheduled(device, engine, rate, context, *, draft="eagle3", lengths=(1, 2, 4, 6), spread=0.0):
    deployment = Deployment(device_calibration.shipped(device), catalog.engine(engine))
    items = [chain(length, rate, draft, spread) for length in lengths]
    return schedule(MODEL, items, deployment, batch=[1, 32], context=[context], max_batch=MAX_BATCH)


def batches(item):
    """Return lower end, value and upper end of a crossover; a missing one is infinite."""
    return [NEVER if value is None else value for value in (item.lower, item.batch, item.upper)]


@few
@given(devices, engines, rates, contexts, st.just(0.0) | st.floats(1e-9, 0.3))
def test_crossover_lies_in_its_interval(device, engine, rate, context, spread):
    for item in scheduled(device, engine, rate, context, spread=spread).crossovers:
        lower, value, upper = batches(item)
        assert 1 <= lower <= value <= upper


@settings(max_examples=15, deadline=None)
@given(devices, engines, rates, st.floats(0, 0.5), contexts)
def test_better_acceptance_never_lowers_the_crossover(device, engine, rate, more, context):
    worse = scheduled(device, engine, rate, context).crossovers
    better = scheduled(device, engine, min(rate + more, 0.999), context).crossovers
    for a, b in zip(worse, better):
        assert all(x <= y for x, y in zip(batches(a), batches(b)))


@few
@given(devices, contexts)
def test_free_draft_with_full_acceptance_has_no_crossover(device, context):
    for item in scheduled(device, "ideal", 1.0, context, draft="ngram").crossovers:
        assert item.batch is None


@settings(max_examples=10, deadline=None)
@given(devices, engines, contexts)
def test_draft_without_acceptance_has_crossover_one(device, engine, context):
    found = scheduled(device, engine, 0.0, context)
    assert {item.batch for item in found.crossovers} == {1}
    assert all(choice.config.draft.kind == "none" for choice in found.choices)


@few
@given(devices, engines, rates, contexts)
def test_choices_are_never_slower_than_plain_decoding_and_spans_cover_every_batch_once(
    device, engine, rate, context
):
    found = scheduled(device, engine, rate, context)
    best, *each = found.crossovers
    for one in each:
        assert all(x <= y for x, y in zip(batches(one), batches(best))), "the best wins as long as any candidate"
    for choice in found.choices:
        assert choice.tokens_per_s >= choice.plain_tokens_per_s * (1 - 1e-12)
        assert choice.speedup_lower <= choice.speedup <= choice.speedup_upper
        assert choice.config in choice.may_be_best
    assert found.spans[0].first == 1
    for before, after in pairwise(found.spans):
        assert after.first == before.last + 1
        assert after.config != before.config


@given(arrays.arrays(float, st.tuples(st.integers(1, 4), st.integers(1, 40)), elements=st.floats(-2, 2)))
def test_spans_score_no_less_than_one_candidate_or_the_best_of_each_batch(score):
    weight = np.log1p(1.0 / np.arange(1, score.shape[1] + 1))
    spans = spans_of(score)
    total = sum(float(weight[a - 1 : b] @ score[c, a - 1 : b]) for a, b, c in spans)
    switch_cost = MIN_SWITCH_GAIN * np.log(2.0)
    assert total - switch_cost * (len(spans) - 1) >= (score @ weight).max() - 1e-9
    hops = int((np.diff(score.argmax(axis=0)) != 0).sum())
    assert total - switch_cost * (len(spans) - 1) >= float(score.max(axis=0) @ weight) - switch_cost * hops - 1e-9


@few
@given(devices, engines, rates, contexts)
def test_a_candidate_breaks_even_exactly_where_its_speed_up_is_one(device, engine, rate, context):
    deployment = Deployment(device_calibration.shipped(device), catalog.engine(engine))
    items = [chain(length, rate) for length in (1, 4)]
    found = schedule(MODEL, items, deployment, batch=[1, 32], context=[context], max_batch=1)
    for item in found.break_even:
        out = predict(MODEL, item.config, deployment, batch=item.batch_size, context=context)
        assert item.lower <= item.tokens_per_cycle <= item.upper
        assert np.isclose(out.speedup, item.config.tokens_per_cycle / item.tokens_per_cycle)


@given(arrays.arrays(float, st.integers(2, 30), elements=st.floats(0.1, 10)))
def test_contexts_where_drafting_pays_are_disjoint_and_hold_every_faster_node(speedup):
    context = np.round(np.geomspace(128, 1e6, speedup.size))
    ranges = faster_ranges(context, speedup)
    for (_, last), (first, _) in pairwise(ranges):
        assert last <= first
    for at, one in zip(context, speedup):
        held = any(first - 1 <= at <= last + 1 for first, last in ranges)
        assert held or one <= 1.0
