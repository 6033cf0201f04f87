"""Experts of config.json files: their widths, and the layers that stay dense."""

import pytest
from hf_configs import read

from scylla_sim.checks import InputError


def test_layers_without_experts_are_counted():
    assert read("qwen3_moe", mlp_only_layers=[0, 3]).moe.dense_layers == 2
    assert read("qwen3_moe", decoder_sparse_step=2).moe.dense_layers == 3
    assert read("deepseek_v3").moe.dense_layers == 1
    assert read("glm_moe_dsa", mlp_layer_types=["dense"] * 2 + ["sparse"] * 4).moe.dense_layers == 2
    assert read("mimo_v2_flash", moe_layer_freq=[0, 1, 1, 1, 1, 1]).moe.dense_layers == 1
    assert read("llama4_text").moe.dense_layers == 3
    assert read("llama4_text", moe_layers=[1, 5]).moe.dense_layers == 4


def test_shared_experts_are_read():
    assert read("deepseek_v3").moe.shared_intermediate_size == 2 * 32
    assert read("qwen3_next", shared_expert_intermediate_size=48).moe.shared_intermediate_size == 48
    assert read("llama4_text").moe.shared_intermediate_size == 128
    assert read("minimax_m2", shared_intermediate_size=16).moe.shared_intermediate_size == 16


def test_llama_4_has_a_width_for_each_kind_of_layer():
    model = read("llama4_text", intermediate_size_mlp=256)
    assert (model.intermediate_size, model.moe.intermediate_size) == (256, 128)


def test_dense_mlp_of_gemma_4_runs_beside_its_experts():
    layers = {"layer_types": ["full_attention"] * 6, "head_dim": 16, "enable_moe_block": True}
    model = read("gemma4_text", num_experts=8, top_k_experts=2, moe_intermediate_size=32, **layers)
    assert (model.moe_layers, model.dense_layers) == (6, 0)
    assert (model.moe.intermediate_size, model.moe.shared_intermediate_size) == (32, 128)


def test_draft_head_of_a_model_without_dense_layers_has_the_active_width():
    assert read("qwen3_5_moe_text", intermediate_size=None).intermediate_size == 2 * 32


@pytest.mark.parametrize(
    ("kind", "change", "line"),
    [
        ("deepseek_v3", {"moe_layer_freq": 2}, "moe_layer_freq=2 is not modelled"),
        ("mimo_v2_flash", {"moe_layer_freq": [0, 1]}, "moe_layer_freq=2 must have num_hidden_layers=6 entries"),
        ("qwen3_moe", {"num_experts": None}, "num_experts=None must be a whole number"),
    ],
)
def test_unmodelled_experts_are_refused_by_name(kind, change, line):
    with pytest.raises(InputError, match=line):
        read(kind, **change)


def test_every_second_layer_has_experts_from_the_second_on():
    """Three layers: the step counts from one, so only layer 2 has experts."""
    assert read("qwen3_moe", num_hidden_layers=3, decoder_sparse_step=2).moe.dense_layers == 2
