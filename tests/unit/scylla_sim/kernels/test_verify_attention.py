"""Verify attention by backend, compared with published kernel times and with tiles counted by hand."""

from dataclasses import replace

import numpy as np
import pytest

from scylla_sim.calibration import device_calibration, kernel_table
from scylla_sim.calibration.benchmark import benchmark_seconds
from scylla_sim.calibration.op_time import op_seconds
from scylla_sim.kernels.attention import ATTENTION_WAVES, AttentionWaves
from scylla_sim.kernels.device_rates import rates
from scylla_sim.kernels.model import evaluate
from scylla_sim.kernels.verify_attention import unsplit_seconds, with_backend
from scylla_sim.ops.op import Op
from scylla_sim.specs import catalog
from scylla_sim.specs.attention_backend import HEAD, PACKED, AttentionBackend
from scylla_sim.stats.estimate import Estimate

SHAPE = ("batch", "kv_len", "q_len", "num_heads", "num_kv_heads", "head_dim", "window")


def columns(batch, kv_len, q_len, heads, kv_heads, head_dim):
    return {
        name: np.asarray(float(x)) for name, x in zip(SHAPE, (batch, kv_len, q_len, heads, kv_heads, head_dim, 0))
    }


def attention(device, framework, *shape, kv_dtype="bfloat16"):
    op = Op("attention", "decode_attention", 1, columns(*shape))
    calibration = device_calibration.shipped(device)
    return op_seconds(op, calibration, dtype="bfloat16", kv_dtype=kv_dtype, framework=framework)


@pytest.mark.parametrize(
    "kv_len, head_dim, heads, kv_heads, measured_ms",
    [
        (4096, 256, 12, 2, 0.375),
        (32768, 256, 12, 2, 2.939),
        (200000, 256, 12, 2, 15.789),
        (32768, 128, 32, 8, 1.336),
    ],
)
def test_eight_query_tokens_of_flashattention_2_take_as_long_as_measured_on_rtx_3090(
    kv_len, head_dim, heads, kv_heads, measured_ms
):
    """Source: vllm-project/flash-attention, pull request 193; the second and third row gave the fraction."""
    found = attention("rtx-3090", "vllm", 1, kv_len, 8, heads, kv_heads, head_dim)
    assert float(found.seconds.value) == pytest.approx(measured_ms / 1e3, rel=0.16)


def test_one_cta_computes_whole_tiles_of_one_query_head():
    """32 CTAs on 108 SMs: the time is that of one CTA, 4 x 64 x 32768 x 128 FLOP at half the peak of an SM."""
    r = rates(catalog.hardware("a100-sxm"), "bfloat16", "bfloat16")
    p = AttentionWaves(
        bandwidth_fraction=100.0, launch_s=1e-12, write_s=1e-12, cold_s=1e-12, query_ratio=1e-9, overlap_norm=64.0
    )
    found = unsplit_seconds(p, columns(1, 32768, 6, 32, 8, 128), r, per_head=True, compute_fraction=0.5)
    assert float(found) == pytest.approx(4 * 64 * 32768 * 128 / (0.5 * 312e12 / 108), rel=1e-3)
    packed = unsplit_seconds(p, columns(27, 32768, 6, 32, 8, 128), r, per_head=False, compute_fraction=0.5)
    assert float(packed) == pytest.approx(2 * float(found), rel=0.05)  # 27 x 8 CTAs are two for each SM


def test_flashattention_2_packs_query_heads_for_one_query_token_only():
    decode, as_fitted = (attention("a100-sxm", name, 1, 32768, 1, 32, 8, 128) for name in ("vllm", ""))
    assert float(decode.seconds.value) == float(as_fitted.seconds.value)
    assert decode.backend is None
    verify = attention("a100-sxm", "vllm", 1, 32768, 2, 32, 8, 128)
    assert float(verify.seconds.value) > 5 * float(decode.seconds.value)
    assert verify.backend.kernels == "FlashAttention-2"


def test_verify_attention_of_flashattention_3_grows_little_with_the_query_tokens():
    """Source: adixg/vllm-specdecode-cost-model: 2.8 % per cached token from 1 to 8 query tokens, 64 requests."""
    one, eight = (float(attention("h100-sxm", "vllm", 64, 4096, q, 16, 2, 128).seconds.value) for q in (1, 8))
    assert 1.0 <= eight / one < 1.1


def test_the_range_of_a_backend_is_a_named_source_of_error():
    (source,) = attention("a100-sxm", "vllm", 64, 1024, 6, 32, 8, 128).sources.items()
    assert source[0] == "fa2 compute_fraction"
    assert float(source[1].up) > float(source[1].down) > 0.0


def test_rows_of_a_table_are_predicted_with_the_backend_of_their_framework():
    text = {name: ["1", "32768", "8", "12", "2", "256"][i] for i, name in enumerate(SHAPE[:6])}
    labels = {"op": "decode_attention", "device": "rtx-3090", "dtype": "bf16", "kv_dtype": "bf16"}
    rows = [{**labels, **text, "framework": name} for name in ("vllm", "torch")]
    table = kernel_table.from_columns({name: [row[name] for row in rows] for name in rows[0]}, "rows.csv")
    found = benchmark_seconds(table, {"rtx-3090": device_calibration.shipped("rtx-3090")})
    assert found["predicted_s"][0] > 10 * found["predicted_s"][1]
    assert found["lower_s"][0] < 2.939e-3 < found["upper_s"][0]


def seconds_of(model, *shape, device="a100-sxm"):
    r = rates(catalog.hardware(device), "bfloat16", "bfloat16")
    return float(evaluate(model, ATTENTION_WAVES.prior, columns(*shape), r))


def test_several_query_tokens_never_take_less_time_than_one():
    """The merge of a split head takes a second with one query token; the unsplit kernel merges nothing."""
    quick = AttentionBackend("x", "x", HEAD, {"compute_fraction": Estimate.of(1e9, 1e9, 1e9)})
    p = replace(ATTENTION_WAVES.prior, merge_s=1.0)
    r = rates(catalog.hardware("a100-sxm"), "bfloat16", "bfloat16")
    shape = columns(1, 32768, 2, 32, 8, 128)
    assert float(unsplit_seconds(p, shape, r, per_head=True, compute_fraction=1e9)) < 0.1
    assert float(evaluate(with_backend(ATTENTION_WAVES, quick), p, shape, r)) >= 1.0


def test_the_slowdown_of_a_backend_multiplies_its_time():
    for tiling in (PACKED, HEAD):
        plain, slow = (
            with_backend(ATTENTION_WAVES, AttentionBackend("x", "x", tiling, settings))
            for settings in ({}, {"slowdown": Estimate.of(3.0, 3.0, 3.0)})
        )
        shape = (8, 4096, 4, 32, 8, 128)
        assert seconds_of(slow, *shape) == pytest.approx(3.0 * seconds_of(plain, *shape))
        assert seconds_of(slow, 8, 4096, 1, 32, 8, 128) == seconds_of(plain, 8, 4096, 1, 32, 8, 128)
