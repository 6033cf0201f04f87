"""Weights by operation, and bytes of operations with another data type."""

import pytest

from scylla_sim.ops.weights import exception_bytes, op_weights
from scylla_sim.specs import catalog


@pytest.mark.parametrize("name", ["llama-3.1-8b", "qwen3-30b-a3b", "deepseek-v3", "gpt-oss-120b"])
def test_operations_hold_all_weights_of_the_decoder_and_the_head(name):
    model = catalog.model(name)
    total = sum(op_weights(model).values())
    assert total == pytest.approx(model.decoder_parameters + model.head_parameters, rel=1e-3)


def test_experts_in_mxfp4_leave_attention_in_16_bits():
    """gpt-oss-120b: 36 layers of (4096 + 2 x 512) x 2880 and 2880 x 4096, at 2 instead of 0.53 bytes."""
    model = catalog.model("gpt-oss-120b")
    weights = 36 * (5120 * 2880 + 2880 * 4096)
    extra = exception_bytes(model, "mxfp4", {"qkv_proj": "bfloat16", "o_proj": "bfloat16", "lm_head": "bfloat16"})
    assert extra == pytest.approx((2.0 - 0.53125) * weights)


def test_no_exceptions_add_no_bytes():
    assert exception_bytes(catalog.model("llama-3.1-8b"), "fp8", {}) == 0.0


def test_a_rank_has_its_share_of_the_exceptions():
    model = catalog.model("llama-3.1-8b")
    whole, half = (exception_bytes(model, "fp8", {"o_proj": "bfloat16"}, tp=tp) for tp in (1, 2))
    assert whole == pytest.approx(32 * 4096 * 4096)
    assert half == pytest.approx(whole / 2)
