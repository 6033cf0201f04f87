"""Steps and throughput against published end-to-end measurements that nothing here was fitted to."""

from dataclasses import replace

import numpy as np
import pytest

from scylla_sim.acceptance.speculative_config import SpeculativeConfig, no_drafting
from scylla_sim.calibration import device_calibration
from scylla_sim.calibration.fitted_kernel import Band
from scylla_sim.checks import InputError
from scylla_sim.prediction.cycle import bound
from scylla_sim.prediction.overheads import cycle_overhead_counts, overhead_seconds
from scylla_sim.prediction.steps import Deployment, draft_pass, draft_step, target_step
from scylla_sim.prediction.throughput import predict
from scylla_sim.specs import catalog
from scylla_sim.specs.engine import Engine

IDEAL = catalog.engine("ideal")
H100 = Deployment(device_calibration.shipped("h100-sxm"), IDEAL)
LLAMA8 = catalog.model("llama-3.1-8b")
NONE = no_drafting(catalog.draft("none"))


def test_llama_8b_decode_on_h100_agrees_with_the_published_fit():
    # SpecDecode-Bench (arXiv 2601.11580), predictor.py: 5.886 ms + 21.0 us a token + 39.3 ns a KV token
    batch = np.array([1, 2, 4, 8, 16, 32, 64.0])[:, None]
    context = np.array([512, 1024, 2048.0])
    published = 5.886e-3 + 21.0e-6 * batch + 39.3e-9 * batch * context
    error = target_step(LLAMA8, H100, batch=batch, context=context).seconds / published - 1
    assert np.abs(error).max() < 0.12
    assert np.abs(error).mean() < 0.04


def test_plain_column_of_table_5_is_predicted_without_fitting_to_it():
    # arXiv 2505.07858, Table 5: Qwen2.5-72B on 4 H800, tokens/s without speculation; 10K input is inferred
    batch = np.array([1, 2, 4, 8, 16, 32, 40, 48, 64.0])
    reported = np.array([60, 118, 224, 428, 750, 1239, 1406, 1553, 1763.0])
    deployment = Deployment(device_calibration.shipped("h800-sxm"), IDEAL, tp=4)
    out = predict(catalog.model("qwen2.5-72b"), NONE, deployment, batch=batch, context=10240)
    assert np.abs(out.tokens_per_s / reported - 1).mean() < 0.06


def test_naive_roofline_is_a_quarter_too_fast_on_the_same_step():
    step = target_step(LLAMA8, H100, batch=1, context=1024)
    naive = sum(float(np.maximum(part.memory_s, part.compute_s)) for part in step.parts)
    assert 0.65 < naive / float(step.seconds) < 0.85


def test_parts_add_up_and_the_interval_holds_the_estimate():
    step = target_step(LLAMA8, H100, batch=8, context=1024, tokens=4)
    assert float(step.seconds) == pytest.approx(sum(float(part.seconds) for part in step.parts))
    assert step.time.lower < step.seconds < step.time.upper


def drafting(draft, deployment=H100, *, draft_len, width=1, **load):
    """All draft passes of one cycle for Llama 3.1 8B."""
    return draft_step(
        draft,
        lambda candidates: draft_pass(draft, LLAMA8, deployment, **load, width=candidates),
        draft_len=draft_len,
        width=width,
    )


@pytest.mark.parametrize(("name", "passes"), [("eagle3", 5), ("medusa", 1), ("ngram", 0)])
def test_five_drafted_tokens_take_as_many_passes_as_the_draft_is_sequential(name, passes):
    draft = catalog.draft(name)
    one = float(
        draft_pass(catalog.draft("eagle3" if name == "ngram" else name), LLAMA8, H100, batch=4, context=100).seconds
    )
    five = float(drafting(draft, draft_len=5, batch=4, context=100).seconds)
    assert five == pytest.approx(passes * one)


def test_host_work_of_an_engine_by_hand():
    engine = catalog.engine("vllm")
    plain, drafted = (
        overhead_seconds(engine, cycle_overhead_counts(catalog.draft(name), tokens=tokens, draft_len=length))
        for name, tokens, length in (("none", 8, 0), ("eagle3", 32, 3))
    )
    assert float(plain) == pytest.approx(1.207e-3 + 8 * 13.4e-6)
    assert float(drafted) == pytest.approx(1.207e-3 + 32 * 13.4e-6 + 3 * 0.38e-3)


def test_a_tree_costs_an_engine_more_than_a_chain_by_hand():
    engine, draft = catalog.engine("sglang"), catalog.draft("eagle3")
    chain, tree = (
        overhead_seconds(engine, cycle_overhead_counts(draft, tokens=6, draft_len=5, top_k=top_k))
        for top_k in (1, 3)
    )
    assert float(chain) == pytest.approx(0.53e-3 + 0.71e-3 + 5 * 0.11e-3)
    assert float(tree - chain) == pytest.approx(0.89e-3)


def sure(deployment, engine):
    """The setting with kernels that are known exactly, under an engine that may not be."""
    exact = {
        op: {name: replace(item, band=Band(1, 1), short_band=Band(1, 1)) for name, item in groups.items()}
        for op, groups in deployment.calibration.kernels.items()
    }
    calibration = replace(deployment.calibration, kernels=exact)
    return replace(deployment, calibration=calibration, engine=engine)


def test_the_interval_of_an_engine_reaches_throughput_and_speedup():
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
    assert grown == pytest.approx((ratio - 1) ** 2, rel=1e-6)


def test_vllm_drafting_overhead_closes_the_published_draft_phase():
    # 2.135 ms a cycle at batch 1, of which kernels are about half
    draft = catalog.draft("eagle3")
    kernels_s = float(drafting(draft, draft_len=3, batch=1, context=512).seconds)
    assert kernels_s + 3 * catalog.engine("vllm").draft_pass_host_s == pytest.approx(2.135e-3, rel=0.05)


def test_no_draft_is_a_speedup_of_exactly_one():
    out = predict(LLAMA8, NONE, H100, batch=[1, 64], context=1024)
    assert out.speedup.tolist() == [1.0, 1.0]
    assert out.speedup_estimate.lower.tolist() == [1.0, 1.0]


def test_tokens_per_cycle_above_the_draft_length_is_refused():
    with pytest.raises(InputError, match=r"tokens_per_cycle=4.5 must lie in \[1, 4\]"):
        SpeculativeConfig(catalog.draft("eagle3"), 3, 1, 4, 4.5, 4.5, 4.5)


def test_tensor_parallelism_without_a_link_is_refused(tmp_path):
    file = tmp_path / "gpu.toml"
    file.write_text(
        """[lonely]
memory = { value = 24, unit = "GiB", source = "box" }
memory_bandwidth = { value = 1, unit = "TB/s", source = "box" }
peak_bf16 = { value = 100, unit = "TFLOP/s", source = "box" }
"""
    )
    hardware = catalog.hardware(str(file))
    calibration = device_calibration.Calibration(device="lonely", hardware=hardware, kernels={})
    with pytest.raises(InputError, match="tp=2 needs a link"):
        target_step(LLAMA8, Deployment(calibration, IDEAL, tp=2), batch=1, context=10)


def test_a_device_without_calibration_says_so():
    transferred = target_step(
        LLAMA8, Deployment(device_calibration.shipped("rtx-3090"), IDEAL), batch=1, context=10
    )
    measured = target_step(LLAMA8, H100, batch=1, context=10)
    assert transferred.evidence() == "transferred"
    assert measured.evidence() == "silicon"
    assert float(transferred.time.upper / transferred.seconds) > float(measured.time.upper / measured.seconds)


LIMITS = [
    pytest.param({"max_graph_tokens": 8}, 1, [False, False, True, True], id="tokens"),
    pytest.param({"max_graph_tokens": 8}, 4, [False, True, True, True], id="tokens-of-a-tree"),
    pytest.param({"max_graph_batch": 8}, 4, [False, False, True, True], id="sequences"),
    pytest.param({"eager": True}, 1, [True] * 4, id="no-graphs"),
]


@pytest.mark.parametrize(("limit", "tokens", "past"), LIMITS)
@pytest.mark.parametrize("tp", [1, 2])
def test_the_cost_jumps_past_what_was_captured_as_a_graph(limit, tokens, past, tp):
    """Steps within the limit are those without one; others take as long as their launches, which outlast them."""
    batch, slow = np.array([1.0, 8.0, 9.0, 64.0]), 1e-3

    def step(**graphs):
        deployment = replace(H100, engine=Engine("x", launch_s=slow, **graphs), tp=tp)
        return target_step(LLAMA8, deployment, batch=batch, context=512, tokens=tokens)

    mixed, inside, outside = step(**limit), step(), step(eager=True)
    launches = sum(part.count for part in outside.parts if part.kind != "launch")
    assert outside.seconds == pytest.approx(np.full(4, launches * slow))
    assert mixed.seconds.tolist() == np.where(past, outside.seconds, inside.seconds).tolist()
    assert (outside.seconds > inside.seconds).all()


def test_launches_hide_behind_kernels_that_take_longer():
    quick = replace(H100, engine=Engine("x", launch_s=1e-9, eager=True))
    step = target_step(LLAMA8, quick, batch=64, context=512)
    assert float(step.seconds) == float(target_step(LLAMA8, H100, batch=64, context=512).seconds)
    assert step.evidence() == "silicon"


def test_waiting_for_the_host_has_the_interval_of_a_launch_and_counts_as_overhead():
    engine = Engine("x", launch_s=1e-3, eager=True, intervals={"launch_s": (0.5e-3, 2e-3)})
    step = target_step(LLAMA8, replace(H100, engine=engine), batch=1, context=512)
    (waiting,) = [part for part in step.parts if part.kind == "launch"]
    busy = float(step.seconds - waiting.seconds)
    ends = [float(end) for end in (waiting.time.lower, waiting.time.value, waiting.time.upper)]
    assert ends == pytest.approx([waiting.count * each - busy for each in (0.5e-3, 1e-3, 2e-3)])
    assert bound([step], np.asarray(0.0)) == ["overhead"]


def test_drafting_waits_for_its_launches_too():
    """Two passes of a tree draft: one within the limit, one of three candidates past it."""
    engine = Engine("x", launch_s=1e-3, max_graph_tokens=8)
    deployment, draft = replace(H100, engine=engine), catalog.draft("eagle3")
    both = drafting(draft, deployment, draft_len=2, width=3, batch=8, context=512)
    first = drafting(draft, deployment, draft_len=1, batch=8, context=512)
    launches = sum(part.count for part in first.parts if part.kind != "launch")
    assert float(both.seconds) == pytest.approx(float(first.seconds) + launches * 1e-3)


def test_the_power_limit_widens_steps_of_many_rows_on_their_slow_side_only() -> None:
    few, many = (target_step(LLAMA8, H100, batch=64, context=512, tokens=n) for n in (1, 16))
    assert "power" not in few.errors
    assert float(many.errors["power"].down) == 0.0
    gemms = sum(float(part.seconds) for part in many.parts if part.kind == "gemm")
    assert float(many.errors["power"].up) == pytest.approx(0.2 * gemms, rel=0.02)
    assert float(many.time.up) > 2 * float(many.time.down)


def test_the_power_limit_delays_both_sides_of_a_speed_up_together() -> None:
    """A plain step of many rows is slowed like the cycle: the ratio is surer than either."""
    drafting = SpeculativeConfig(catalog.draft("eagle3"), 3, 1, 4, 2.5, 2.5, 2.5)
    out = predict(LLAMA8, drafting, H100, batch=512, context=64)
    slowed = float((out.verify.errors["power"].up + out.draft.errors["power"].up) / out.cycle_s)
    assert slowed > 0.15
    assert float(1 - out.speedup_estimate.lower / out.speedup) < 0.6 * slowed
