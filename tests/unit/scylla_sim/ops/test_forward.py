"""FLOPs and bytes against numbers counted by hand or printed by the models' authors."""

import numpy as np
import pytest

from scylla_sim.checks import InputError
from scylla_sim.ops import forward, memory
from scylla_sim.ops import op as ops_op
from scylla_sim.ops.draft import draft_ops
from scylla_sim.specs import catalog, dtypes

LLAMA8 = catalog.model("llama-3.1-8b")
NONE = catalog.draft("none")


def total(ops, what):
    return sum(
        float(np.max(getattr(op, what)(*(() if what == "flops" else ("bfloat16", "bfloat16"))))) for op in ops
    )


@pytest.mark.parametrize(
    ("name", "billions"),
    [  # parameter counts printed on the model cards
        ("llama-2-7b", 6.74),
        ("llama-2-13b", 13.02),
        ("llama-2-70b", 68.98),
        ("llama-3.1-8b", 8.03),
        ("llama-3.1-70b", 70.55),
        ("llama-3.2-1b", 1.24),
        ("qwen2.5-0.5b", 0.49),
        ("qwen2.5-7b", 7.61),
        ("qwen2.5-72b", 72.7),
        ("qwen3-8b", 8.19),
        ("tinyllama-1.1b", 1.10),
        ("vicuna-33b", 32.5),
    ],
)
def test_parameters_are_those_of_the_model_card(name, billions):
    assert catalog.model(name).parameters / 1e9 == pytest.approx(billions, abs=0.011 * billions)


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


def test_eagle3_head_of_llama_8b_has_the_size_of_the_released_one():
    # yuhuili/EAGLE3-LLaMA3.1-Instruct-8B is a file of 850 MB in 16 bits; embeddings are the target's
    head = memory.draft_parameters(catalog.draft("eagle3"), LLAMA8)
    assert head / 1e6 == pytest.approx(425, rel=0.02)


def test_scylla_heads_grow_by_one_decoder_layer_each():
    sizes = [memory.draft_parameters(catalog.draft(f"scylla-{n}l"), LLAMA8) for n in (1, 2, 5)]
    assert sizes[1] - sizes[0] == LLAMA8.layer_parameters
    assert sizes[2] - sizes[1] == 3 * LLAMA8.layer_parameters


def test_qwen_72b_at_10k_and_batch_64_does_not_fit_four_h800():
    qwen = catalog.model("qwen2.5-72b")
    held = 4 * memory.resident_bytes(qwen, NONE, batch=64, context=10240, tp=4)
    assert float(held) / 1e9 == pytest.approx(360, rel=0.01)


def test_medusa_and_ngram_drafts_have_no_sequential_decoder_passes():
    assert draft_ops(catalog.draft("ngram"), LLAMA8, batch=1, context=10) == []
    names = {op.name for op in draft_ops(catalog.draft("medusa"), LLAMA8, batch=1, context=10)}
    assert "attention" not in names and "medusa_block" in names
