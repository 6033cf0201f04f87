"""Throughput and speed-up, with the intervals that kernels and engines give them."""

from dataclasses import replace

import numpy as np
import pytest

from scylla_sim.acceptance.speculative_config import SpeculativeConfig, no_drafting
from scylla_sim.calibration import device_calibration
from scylla_sim.calibration.fitted_kernel import Band
from scylla_sim.prediction import between_sources
from scylla_sim.prediction.steps import Deployment
from scylla_sim.prediction.throughput import predict
from scylla_sim.specs import catalog
from scylla_sim.specs.attention_backend import AttentionBackend
from scylla_sim.specs.engine import Engine

IDEAL = catalog.engine("ideal")
H100 = Deployment(device_calibration.shipped("h100-sxm"), IDEAL)
LLAMA8 = catalog.model("llama-3.1-8b")
NONE = no_drafting(catalog.draft("none"))


def test_plain_decoding_agrees_with_table_5():
    # arXiv 2505.07858, Table 5: Qwen2.5-72B on 4 H800, tokens/s without speculation; 10K input is inferred
    batch = np.array([1, 2, 4, 8, 16, 32, 40, 48, 64.0])
    reported = np.array([60, 118, 224, 428, 750, 1239, 1406, 1553, 1763.0])
    deployment = Deployment(device_calibration.shipped("h800-sxm"), IDEAL, tp=4)
    out = predict(catalog.model("qwen2.5-72b"), NONE, deployment, batch=batch, context=10240)
    assert np.abs(out.tokens_per_s / reported - 1).mean() < 0.06


def sure(deployment, engine):
    """Return a deployment with exact kernels and a given engine."""
    exact = {
        op: {name: replace(item, band=Band(1, 1), short_band=Band(1, 1)) for name, item in groups.items()}
        for op, groups in deployment.calibration.kernels.items()
    }
    calibration = replace(deployment.calibration, kernels=exact)
    return replace(deployment, calibration=calibration, engine=engine)


def test_overhead_interval_widens_throughput_and_speedup():
    drafting = SpeculativeConfig(catalog.draft("eagle3"), 3, 1, 4, 2.4, 2.4, 2.4)
    engine = Engine("x", host_s=2e-3, draft_host_s=1e-3, intervals={"host_s": (1e-3, 4e-3)})
    low, middle, high = (
        predict(LLAMA8, drafting, sure(H100, replace(engine, host_s=host, intervals={})), batch=4, context=512)
        for host in (1e-3, 2e-3, 4e-3)
    )
    out = predict(LLAMA8, drafting, sure(H100, engine), batch=4, context=512)
    # the elementwise kernels keep their priors' interval, so what the engine adds is compared with its absence
    without = np.log(float(middle.tokens_per_s / middle.tokens_per_s_estimate.lower))
    assert float(out.tokens_per_s_estimate.lower) < float(high.tokens_per_s) * (1 + 1e-9)
    assert float(out.tokens_per_s_estimate.upper) > float(low.tokens_per_s) * (1 - 1e-9)
    assert np.log(float(out.tokens_per_s / out.tokens_per_s_estimate.lower)) > without
    # more host work slows the cycle and the plain step alike: what they share cancels in the speed-up
    ratio = float(high.speedup / middle.speedup)
    assert 1.0 < ratio < float(middle.tokens_per_s / high.tokens_per_s)
    wide, narrow = (float(item.speedup_estimate.upper / item.speedup) - 1 for item in (out, middle))
    grown = wide**2 - narrow**2
    between = between_sources.deviation(engine, between_sources.SPEEDUP)
    assert grown == pytest.approx((ratio - 1) ** 2 + between**2, rel=1e-6)


def test_speedup_without_a_draft_is_exactly_one():
    out = predict(LLAMA8, NONE, H100, batch=[1, 64], context=1024)
    assert out.speedup.tolist() == [1.0, 1.0]
    assert out.speedup_estimate.lower.tolist() == [1.0, 1.0]


def test_cycle_takes_at_least_a_plain_step():
    # the all-reduce of B200 is estimated to be faster with more tokens
    deployment = Deployment(device_calibration.shipped("b200-sxm"), IDEAL, tp=8)
    free = SpeculativeConfig(catalog.draft("ngram"), 1, 1, 2, 1.9, 1.9, 1.9)
    out = predict(LLAMA8, free, deployment, batch=np.arange(1.0, 129.0), context=1024)
    assert (out.verify.seconds < out.plain.seconds).any()
    assert (out.speedup <= 1.9 * (1 + 1e-12)).all()
    assert (out.cycle_s >= out.plain_cycle.seconds).all()


def test_power_limit_cancels_in_part_in_a_speedup() -> None:
    """The limit slows a plain step of many rows like the cycle, so the ratio has a narrower interval than each."""
    drafting = SpeculativeConfig(catalog.draft("eagle3"), 3, 1, 4, 2.5, 2.5, 2.5)
    out = predict(LLAMA8, drafting, H100, batch=512, context=64)
    slowed = float((out.verify.errors["power"].up + out.draft.errors["power"].up) / out.cycle_s)
    assert slowed > 0.15
    assert float(1 - out.speedup_estimate.lower / out.speedup) < 0.6 * slowed


EAGLE3 = SpeculativeConfig(catalog.draft("eagle3"), 3, 1, 4, 2.4, 2.2, 2.6)
VLLM = replace(H100, engine=catalog.engine("vllm"))


def test_a_cycle_is_its_draft_its_verification_and_its_overheads():
    out = predict(LLAMA8, EAGLE3, VLLM, batch=[4, 64], context=1000)
    assert (out.draft.seconds > 0).all()
    assert out.cycle_s == pytest.approx(out.draft.seconds + out.verify.seconds + out.overhead_s)
    assert out.plain_tpot_s == pytest.approx(out.plain.seconds + out.plain_overhead_s)
    assert out.cycle.overhead_counts["token_s"].tolist() == [16.0, 256.0]


def test_a_cycle_takes_at_least_a_plain_step():
    """A draft and a verification that take next to no time do not make it shorter."""
    quick = replace(H100, engine=Engine("x"))
    out = predict(LLAMA8, NONE, quick, batch=4, context=1000)
    drafted = predict(LLAMA8, EAGLE3, quick, batch=4, context=1000)
    free = replace(drafted, verify=replace(drafted.verify, time=drafted.verify.time.scaled(1e-3)))
    free = replace(free, draft=replace(free.draft, time=free.draft.time.scaled(1e-3)))
    assert float(free.cycle_s) == pytest.approx(float(out.plain.seconds))


def test_a_batch_fits_in_memory_only_over_the_whole_range():
    out = predict(LLAMA8, EAGLE3, VLLM, batch=1, context=1000)
    lower, upper = (float(end) for end in out.max_sequences)
    assert lower < upper
    sizes = [lower, lower + 1.0, upper, upper + 1.0]
    found = predict(LLAMA8, EAGLE3, VLLM, batch=sizes, context=1000).fits_memory
    assert found.tolist() == [True, False, False, False]


def test_the_draft_takes_memory_and_slots():
    out = predict(LLAMA8, EAGLE3, VLLM, batch=1, context=1000)
    assert out.max_sequences[0] < out.plain_max_sequences[0]


def test_the_precision_of_the_draft_changes_its_time_only():
    base = predict(LLAMA8, EAGLE3, VLLM, batch=64, context=1000)
    narrow = replace(VLLM, dtype="fp8")
    found = predict(LLAMA8, EAGLE3, VLLM, batch=64, context=1000, draft_deployment=narrow)
    assert float(found.verify.seconds) == float(base.verify.seconds)
    assert float(found.plain.seconds) == float(base.plain.seconds)
    assert float(found.draft.seconds) != float(base.draft.seconds)


def test_no_speed_up_is_sure_where_no_published_row_describes_the_attention():
    out = predict(LLAMA8, EAGLE3, VLLM, batch=1, context=1000)
    assert float(out.p_slower) < 0.3
    parts = tuple(
        replace(part, backend=AttentionBackend("x", "x", undecided=True))
        if part.kind == "decode_attention"
        else part
        for part in out.verify.parts
    )
    unsure = replace(out, verify=replace(out.verify, parts=parts))
    assert float(unsure.p_slower) == 0.3
