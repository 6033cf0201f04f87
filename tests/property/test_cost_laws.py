"""Properties of predicted seconds, FLOPs and bytes for every shape, device and batch."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scylla_sim.acceptance.speculative_config import SpeculativeConfig
from scylla_sim.calibration import device_calibration
from scylla_sim.calibration.fitted_kernel import Band, FittedKernel
from scylla_sim.kernels.device_rates import rates
from scylla_sim.kernels.gemm import GEMM_TILES
from scylla_sim.kernels.model import evaluate
from scylla_sim.ops import forward
from scylla_sim.ops.expert_routing import (
    TILE_ROWS,
    distinct_experts,
    filled_tiles,
    independent_tokens,
    routed_loads,
    routing_probabilities,
)
from scylla_sim.prediction.steps import Deployment, draft_pass, draft_step, target_step
from scylla_sim.prediction.throughput import predict
from scylla_sim.specs import catalog
from scylla_sim.specs.engine import Engine
from scylla_sim.specs.layers import MoE
from scylla_sim.testing.strategies import experts

devices = st.sampled_from(["h100-sxm", "h200-sxm", "a100-sxm", "b200-sxm", "l40s", "rtx-3090", "h800-sxm"])
models = st.sampled_from(["llama-3.1-8b", "qwen2.5-7b", "llama-2-7b", "llama-3.2-1b"])
sparse = st.sampled_from(["mixtral-8x7b", "qwen3-30b-a3b", "gpt-oss-20b", "deepseek-v3"])
skews = st.floats(0, 4)
batches = st.integers(1, 256)
contexts = st.integers(1, 32768)
tokens = st.integers(1, 64)
IDEAL = catalog.engine("ideal")


def seconds(device, model, **shape):
    spec = catalog.model(model) if isinstance(model, str) else model
    return float(target_step(spec, Deployment(device_calibration.shipped(device), IDEAL), **shape).seconds)


@given(devices, st.integers(1, 10**9), st.integers(0, 10**9), st.integers(1, 65536), st.integers(1, 65536))
def test_elementwise_time_grows_with_bytes_and_rows(device, size, more, rows, more_rows):
    kernel = device_calibration.shipped(device).kernel("elementwise")
    at = {
        "bytes": [size, size + more, size * (rows + more_rows) / rows, size],
        "rows": [rows, rows, rows + more_rows, 0],
    }
    columns = {name: np.asarray(value, dtype=float) for name, value in at.items()}
    t = kernel.seconds(columns, rates(catalog.hardware(device), "bfloat16"))
    assert (t[1:3] >= t[0] * (1 - 1e-12)).all()
    assert t[3] <= t[0] * (1 + 1e-12)


@given(devices, batches, contexts, st.integers(1, 8))
def test_a_draft_that_is_never_accepted_never_beats_plain_decoding(device, batch, context, length):
    deployment = Deployment(device_calibration.shipped(device), IDEAL)
    drafting = SpeculativeConfig(catalog.draft("eagle3"), length, 1, length + 1, 1.0, 1.0, 1.0)
    assert (
        float(predict(catalog.model("llama-3.1-8b"), drafting, deployment, batch=batch, context=context).speedup)
        < 1
    )


@given(devices, batches, contexts, st.integers(1, 7))
def test_drafting_longer_costs_more(device, batch, context, length):
    deployment = Deployment(device_calibration.shipped(device), IDEAL)
    draft, model = catalog.draft("eagle3"), catalog.model("llama-3.1-8b")

    def cost(n):
        one = draft_pass(draft, model, deployment, batch=batch, context=context)
        return float(draft_step(draft, lambda tokens, scored: one, draft_len=n).seconds)

    assert cost(length + 1) > cost(length)


@given(
    st.lists(st.tuples(st.integers(1, 512), st.integers(64, 8192), st.integers(64, 8192)), min_size=1, max_size=40)
)
def test_arrays_and_scalars_agree(shapes):
    kernel = device_calibration.shipped("h100-sxm").kernel("gemm")
    form, r = kernel.model, rates(catalog.hardware("h100-sxm"), "bfloat16")
    whole = {name: np.array(column, dtype=float) for name, column in zip("mnk", zip(*shapes))}
    together = evaluate(form, kernel.parameters, whole, r)
    alone = [
        float(evaluate(form, kernel.parameters, {name: np.array(v[i]) for name, v in whole.items()}, r))
        for i in range(len(shapes))
    ]
    assert np.allclose(together, alone, rtol=1e-14)


@given(experts(), st.integers(1, 10000), st.integers(0, 10000))
def test_distinct_experts_are_bounded_and_grow_with_tokens(experts, total, more):
    few, many = distinct_experts(experts, [total, total + more])
    chosen = experts.experts_per_token
    assert chosen * (1 - 1e-12) <= few <= min(experts.num_experts, chosen * total) * (1 + 1e-12)
    assert few <= many * (1 + 1e-12)


@given(experts(), st.integers(1, 10000), st.floats(0, 4))
def test_more_skew_never_uses_more_experts(experts, total, more):
    skewed = replace(experts, router_skew=experts.router_skew + more)
    assert distinct_experts(skewed, total) <= distinct_experts(experts, total) * (1 + 1e-12)


@given(experts())
def test_routing_probabilities_are_probabilities_of_the_chosen_number(experts):
    p = routing_probabilities(experts)
    assert ((p >= 0) & (p <= 1)).all()
    assert np.isclose(p.sum(), experts.experts_per_token)
    assert (np.diff(p) <= 1e-15).all()


@given(st.integers(1, 512), st.data(), st.integers(1, 10000))
def test_zero_skew_is_the_uniform_router(count, data, total):
    chosen = data.draw(st.integers(1, count))
    uniform = count * (1 - (1 - chosen / count) ** total)
    assert np.isclose(float(distinct_experts(MoE(count, chosen, 64), total)), uniform, rtol=1e-9)
    almost = MoE(count, chosen, 64, router_skew=1e-9)
    assert np.isclose(float(distinct_experts(almost, total)), uniform, rtol=1e-6)


@given(st.integers(2, 64), st.data(), st.integers(1, 300), st.sampled_from(TILE_ROWS))
def test_tiles_of_zero_skew_are_those_of_the_uniform_router(count, data, total, rows):
    chosen = data.draw(st.integers(1, count - 1))
    p, found = chosen / count, np.arange(total + 1.0)
    factorials = np.cumsum(np.log(np.maximum(found, 1.0)))
    choices = factorials[-1] - factorials - factorials[::-1]
    binomial = np.exp(choices + found * np.log(p) + found[::-1] * np.log1p(-p))
    uniform = count * float(binomial @ np.ceil(found / rows))
    assert np.isclose(float(filled_tiles(MoE(count, chosen, 64), total, rows)), uniform, rtol=1e-9)
    almost = MoE(count, chosen, 64, router_skew=1e-9)
    assert np.isclose(float(filled_tiles(almost, total, rows)), uniform, rtol=1e-6)


@given(experts(), st.integers(1, 10000), st.integers(0, 10000))
def test_tiles_hold_all_rows_and_grow_with_tokens(experts, total, more):
    few, many = (routed_loads(experts, tokens) for tokens in (total, total + more))
    for rows in TILE_ROWS:
        tiles = few[f"tiles_{rows}"]
        assert tiles >= few["groups"] * (1 - 1e-9)
        assert tiles * rows >= experts.experts_per_token * total * (1 - 1e-9)
        assert tiles <= (few["groups"] + experts.experts_per_token * total / rows) * (1 + 1e-9)
        assert tiles <= many[f"tiles_{rows}"] * (1 + 1e-9)


@given(st.sampled_from(["h100-sxm", "h200-sxm", "b200-sxm", "l40s"]), sparse, skews, batches, contexts, tokens)
def test_verification_of_8_bit_experts_is_never_cheaper_than_decoding(device, name, skew, batch, context, n):
    model = catalog.model(name).with_router_skew(skew)
    deployment = Deployment(device_calibration.shipped(device), IDEAL, dtype="fp8")
    verify, decode = (
        float(target_step(model, deployment, batch=batch, context=context, tokens=k).seconds) for k in (n, 1)
    )
    assert verify >= decode * (1 - 1e-12)


@given(devices, sparse, skews, batches, contexts, tokens)
def test_verification_is_never_cheaper_than_decoding_with_experts(device, name, skew, batch, context, n):
    model = catalog.model(name).with_router_skew(skew)
    verify = seconds(device, model, batch=batch, context=context, tokens=n)
    assert verify >= seconds(device, model, batch=batch, context=context) * (1 - 1e-12)


@given(devices, sparse, batches, contexts)
def test_plain_decoding_of_a_mixture_grows_with_the_batch(device, name, batch, context):
    model = catalog.model(name)
    assert seconds(device, model, batch=2 * batch, context=context) > seconds(
        device, model, batch=batch, context=context
    )


@given(sparse, batches, tokens, st.sampled_from([1, 2, 4, 8]))
def test_ranks_share_expert_flops_and_use_the_same_experts(name, batch, n, tp):
    def experts(ranks):
        ops = forward.forward_ops(catalog.model(name), batch=batch, context=100, tokens=n, tp=ranks)
        return [op for op in ops if op.kind == "expert_gemm"]

    for one, part in zip(experts(1), experts(tp)):
        assert np.isclose(float(one.flops()), tp * float(part.flops()))
        assert float(one.columns["groups"]) == float(part.columns["groups"])


@settings(max_examples=40, deadline=None)
@given(sparse, st.lists(st.tuples(batches, contexts), min_size=1, max_size=8), tokens)
def test_moe_steps_of_arrays_and_scalars_agree(name, grid, n):
    deployment, model = Deployment(device_calibration.shipped("h100-sxm"), IDEAL), catalog.model(name)
    batch, context = (np.array(column, dtype=float) for column in zip(*grid))
    together = target_step(model, deployment, batch=batch, context=context, tokens=n).seconds
    alone = [float(target_step(model, deployment, batch=b, context=s, tokens=n).seconds) for b, s in grid]
    assert np.allclose(together, alone, rtol=1e-13)


below, above = st.floats(0.5, 1), st.floats(1, 2)


@given(st.builds(Band, below, above), st.builds(Band, below, above), st.floats(1e-7, 1e-2))
def test_an_interval_never_jumps_with_the_seconds_of_a_kernel(short, long, split_s):
    kernel = FittedKernel(GEMM_TILES, GEMM_TILES.prior, long, short, split_s)
    seconds = np.geomspace(split_s / 10, split_s * 10, 2000)
    interval = kernel.interval(seconds)
    for end in (interval.lower, interval.upper):
        steps = np.abs(np.diff(np.log(end)))
        assert steps.max() < 0.01  # the grid itself has steps of 0.0023
    assert interval.upper[0] / seconds[0] == pytest.approx(short.upper_ratio)
    assert interval.upper[-1] / seconds[-1] == pytest.approx(long.upper_ratio)


@given(devices, models, batches, contexts, tokens, st.sampled_from(["vllm", "sglang", "trtllm"]))
def test_verification_is_never_cheaper_than_decoding_in_any_backend(device, model, batch, context, n, framework):
    deployment = Deployment(device_calibration.shipped(device), Engine("x", framework=framework))
    verify, decode = (
        float(target_step(catalog.model(model), deployment, batch=batch, context=context, tokens=count).seconds)
        for count in (n, 1)
    )
    assert verify >= decode * (1 - 1e-12)


@given(experts(), st.integers(1, 300), st.integers(1, 16), st.floats(0, 1), st.floats(0, 1))
def test_more_overlap_never_uses_more_experts(experts, sequences, tokens, one, other):
    less, more = sorted((one, other))
    rows = sequences * tokens
    few, many = (
        routed_loads(experts, rows, independent_tokens(sequences, tokens, share)) for share in (more, less)
    )
    for name in few:
        assert few[name] <= many[name] * (1 + 1e-12)
        assert many[name] <= routed_loads(experts, rows)[name] * (1 + 1e-12)
    for height in TILE_ROWS:
        assert few[f"tiles_{height}"] * height >= experts.experts_per_token * rows * (1 - 1e-9)


@given(experts(), st.integers(1, 300), st.integers(1, 16), st.floats(0, 1))
def test_no_overlap_is_independent_tokens_and_one_token_has_none(experts, sequences, tokens, share):
    alone, rows = routed_loads(experts, sequences), sequences * tokens
    one_token = routed_loads(experts, sequences, independent_tokens(sequences, 1, share))
    independent = routed_loads(experts, rows, independent_tokens(sequences, tokens, 0.0))
    for name, value in routed_loads(experts, rows).items():
        assert np.isclose(independent[name], value, rtol=1e-9)
        assert np.isclose(one_token[name], alone[name], rtol=1e-9)
