"""FLOPs and bytes of a forward pass against hand-counted numbers and model cards."""

import numpy as np
import pytest

from scylla_sim.checks import InputError
from scylla_sim.ops import forward
from scylla_sim.ops import op as ops_op
from scylla_sim.specs import catalog, dtypes

LLAMA8 = catalog.model("llama-3.1-8b")


def total(ops, what):
    return sum(
        float(np.max(getattr(op, what)(*(() if what == "flops" else ("bfloat16", "bfloat16"))))) for op in ops
    )


def test_gemm_flops_of_one_token_are_twice_the_weights():
    ops = forward.forward_ops(LLAMA8, batch=1, context=1)
    gemms = sum(float(op.flops()) for op in ops if op.kind == "gemm")
    weights = LLAMA8.num_layers * LLAMA8.layer_parameters + LLAMA8.head_parameters
    assert gemms == 2 * weights


def test_attention_reads_the_kv_cache_once_however_many_tokens_are_verified():
    def kv(tokens):
        (op,) = [
            op for op in forward.forward_ops(LLAMA8, batch=3, context=1000, tokens=tokens) if op.name == "attention"
        ]
        return float(op.count * ops_op.kv_bytes(op.columns, dtypes.element_bytes("bfloat16")))

    by_hand = 3 * 1000 * 2 * 32 * 8 * 128 * 2  # batch, tokens, k and v, layers, kv heads, head size, bf16
    assert kv(1) == kv(8) == by_hand


def test_tensor_parallel_ranks_share_gemm_flops_equally():
    one = [op for op in forward.forward_ops(LLAMA8, batch=4, context=64) if op.kind == "gemm"]
    four = [op for op in forward.forward_ops(LLAMA8, batch=4, context=64, tp=4) if op.kind == "gemm"]
    assert sum(float(op.flops()) for op in one) == pytest.approx(4 * sum(float(op.flops()) for op in four))


def test_tensor_parallelism_adds_two_all_reduces_a_layer():
    ops = {op.name: op for op in forward.forward_ops(LLAMA8, batch=4, context=64, tp=4)}
    assert ops["all_reduce"].count == 2 * LLAMA8.num_layers
    assert float(ops["all_reduce"].columns["bytes"]) == 4 * 4096 * 2
    assert not any(op.kind == "all_reduce" for op in forward.forward_ops(LLAMA8, batch=4, context=64))


def test_kv_heads_are_replicated_beyond_their_number():
    qwen = catalog.model("qwen2.5-7b")  # 4 KV heads, 28 query heads
    assert forward.check_tensor_parallel(qwen, 4) == 4
    with pytest.raises(InputError, match="tp=8 must divide num_heads=28"):
        forward.check_tensor_parallel(qwen, 8)


def test_every_scored_token_passes_the_vocabulary_projection():
    model = catalog.model("llama-3.1-8b")
    ops = {op.name: op for op in forward.forward_ops(model, batch=3, context=100, tokens=4)}
    assert float(ops["lm_head"].columns["m"]) == 12.0
    last = {op.name: op for op in forward.forward_ops(model, batch=3, context=100, tokens=4, scored=1)}
    assert float(last["lm_head"].columns["m"]) == 3.0


def test_gathering_the_logits_moves_half_of_an_all_reduce():
    """2 bytes times 128,256 logits of 12 tokens, sent once instead of twice."""
    ops = forward.forward_ops(catalog.model("llama-3.1-8b"), batch=3, context=100, tokens=4, tp=2)
    (gather,) = (op for op in ops if op.name == "logits_gather")
    assert float(gather.columns["bytes"]) == 0.5 * 2 * 128_256 * 12
    assert (gather.kind, gather.count, float(gather.columns["num_gpus"])) == ("all_reduce", 1, 2.0)


def test_only_attention_spans_a_grid_of_batches_and_contexts():
    batch, context = np.array([[1.0], [8.0], [64.0]]), np.array([512.0, 2048.0])
    for name in ("llama-3.1-8b", "gpt-oss-20b"):
        ops = forward.forward_ops(catalog.model(name), batch=batch, context=context, tokens=4)
        shapes = {op.kind: np.broadcast(*op.columns.values()).shape for op in ops}
        assert shapes.pop("decode_attention") == (3, 2)
        assert set(shapes.values()) == {(3, 1)}
