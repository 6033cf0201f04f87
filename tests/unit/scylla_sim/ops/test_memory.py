"""Weights and KV cache of a deployment against hand-counted numbers and published sizes."""

import pytest
from hf_configs import read

from scylla_sim.ops import memory
from scylla_sim.specs import catalog

NONE = catalog.draft("none")
DEEPSEEK = catalog.model("deepseek-v3")
GPT_OSS = catalog.model("gpt-oss-120b")
LLAMA8 = catalog.model("llama-3.1-8b")


def test_mla_cache_holds_one_vector_per_token_and_layer():
    assert DEEPSEEK.kv_elements_per_token == (512 + 64) * 61
    held = memory.resident_bytes(DEEPSEEK, NONE, batch=[0.5, 1.5], context=1000, tp=1)
    assert held[1] - held[0] == pytest.approx(2 * (512 + 64) * 61 * 1000)
    ranks = memory.resident_bytes(DEEPSEEK, NONE, batch=[0.5, 1.5], context=1000, tp=8)
    assert ranks[1] - ranks[0] == pytest.approx(held[1] - held[0])  # every rank keeps the whole cache


def test_a_window_bounds_the_cache_that_is_kept():
    held = [float(memory.resident_bytes(GPT_OSS, NONE, batch=1, context=s)) for s in (128, 10128)]
    assert held[1] - held[0] == 2 * 18 * (2 * 8 * 64) * 10000


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


def test_states_of_linear_attention_do_not_grow_with_the_context():
    model, none = read("qwen3_next", mamba_ssm_dtype="float32"), catalog.draft("none")
    held = memory.resident_bytes(model, none, batch=[1, 1, 3], context=[1000, 2000, 1000])
    cache = 2 * 2 * 2 * 2 * 16  # bytes, layers, keys and values, KV heads, head size
    assert held[1] - held[0] == 1000 * cache
    assert (held[2] - held[0]) / 2 == 1000 * cache + 4 * model.linear.sequence_bytes


def test_layers_of_each_shape_have_their_own_cache():
    model, none = read("mimo_v2_flash"), catalog.draft("none")
    held = memory.resident_bytes(model, none, batch=1, context=[64, 128, 1128])
    assert held[1] - held[0] == 64 * 2 * (4 * 4 + 2 * 2) * (24 + 16)
    assert held[2] - held[1] == 1000 * 2 * 2 * 2 * (24 + 16)  # only full layers grow
