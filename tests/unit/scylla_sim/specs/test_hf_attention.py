"""Attention of config.json files: windows, layers of several shapes, MLA, linear attention."""

import pytest
from hf_configs import read

from scylla_sim.checks import InputError
from scylla_sim.specs import catalog
from scylla_sim.specs.hf_attention import LINEAR_NOTE, SPARSE_NOTE, read_windows
from scylla_sim.specs.layers import AttentionLayers

LOCAL = ["sliding_attention"] * 5 + ["full_attention"]


def test_catalog_and_config_have_the_same_windows():
    listed = ["sliding_attention", "full_attention"] * 3
    assert read("gpt_oss", sliding_window=128).windows == (128, 0) * 3
    assert read("gpt_oss", sliding_window=128, layer_types=listed).windows == (128, 0) * 3
    assert catalog.model("gpt-oss-20b").window_layers == {128: 12, 0: 12}


def test_windows_follow_the_rule_of_the_family():
    assert read("mistral", sliding_window=4096).windows == (4096,) * 6
    assert read("mistral", sliding_window=None).windows == ()
    assert read("phi3", sliding_window=2047).windows == (2047,) * 6
    assert read("gemma2", sliding_window=512).windows == (512, 0) * 3
    assert read("gemma3_text", sliding_window=512).windows == (512,) * 5 + (0,)
    assert read("cohere2", sliding_window=512).windows == (512, 512, 512, 0, 512, 512)
    used = {"sliding_window": 64, "max_window_layers": 4}
    assert read("qwen2", use_sliding_window=True, **used).windows == (0, 0, 0, 0, 64, 64)
    assert read("qwen2", use_sliding_window=False, **used).windows == ()
    assert read("llama", sliding_window=64).windows == ()


def test_chunked_attention_is_a_window_with_a_note():
    model = read("llama4_text")
    assert model.windows == (8192, 8192, 8192, 0, 8192, 8192)
    assert "chunks of 8192 tokens is estimated as a sliding window" in model.notes[0]
    assert read("llama4_text", no_rope_layers=[1, 0, 1, 0, 1, 0]).windows == (8192, 0) * 3


def test_gemma_4_has_wider_global_heads():
    shape = {"head_dim": 256, "global_head_dim": 512, "num_key_value_heads": 4, "layer_types": LOCAL}
    model = read("gemma4_text", attention_k_eq_v=True, num_global_key_value_heads=2, **shape)
    assert model.attention_groups == (
        AttentionLayers(5, 4, 4, 256, 256, window=128),
        AttentionLayers(1, 4, 2, 512, 512, values_from_keys=True),
    )
    assert model.cache_layers == {128: 5 * 2 * 4 * 256, 0: 2 * 2 * 512}
    without_values = 64 * 512 * (4 + 2) + 64 * 4 * 512
    assert model.attention_groups[1].parameters(64) == without_values


def test_mimo_v2_has_narrow_values():
    local, full = read("mimo_v2_flash").attention_groups
    assert (local.layers, local.num_kv_heads, local.window) == (4, 4, 128)
    assert (full.layers, full.num_kv_heads, full.window) == (2, 2, 0)
    assert full.projection_width == 4 * 24 + 2 * (24 + 16)
    assert full.parameters(64) == 64 * (4 * 24 + 2 * (24 + 16) + 4 * 16)


def test_shared_indexers_are_not_counted():
    types = ["full", "shared"] * 3
    assert read("deepseek_v32").mla.indexer.layers == 6
    shared = read("glm_moe_dsa", indexer_types=types)
    assert shared.mla.indexer.layers == 3
    saved = 3 * (24 * 2 * 16 + 64 * (16 + 2))
    assert read("glm_moe_dsa").parameters - shared.parameters == saved
    assert read("deepseek_v3").mla.indexer is None
    assert shared.notes == (SPARSE_NOTE,)
    assert read("glm_moe_dsa", layer_types=["deepseek_sparse_attention"] * 6) == read("glm_moe_dsa")


def test_gated_delta_net_layers():
    model = read("qwen3_next")
    linear = model.linear
    assert (linear.layers, model.attention_layers) == (4, 2)
    assert linear.projection_width == 2 * 2 * 8 + 2 * 4 * 8 + 2 * 4
    assert linear.parameters(64) == 64 * (linear.projection_width + 32) + (2 * 2 * 8 + 32) * 4
    listed = ["linear_attention"] * 3 + ["full_attention"] * 3
    assert read("qwen3_5_text", layer_types=listed).linear.layers == 3
    # the query projection also gives the output gate
    assert model.attention_parameters == 64 * (16 * (2 * 4 + 2 * 2) + 4 * 16)


def test_state_type_is_read_or_assumed():
    assert read("qwen3_5_text", mamba_ssm_dtype="bfloat16").linear.state_bytes == 2.0
    assert read("qwen3_5_text", mamba_ssm_dtype="float32").notes == (LINEAR_NOTE,)
    assert "float32 is assumed" in read("qwen3_next").notes[1]


@pytest.mark.parametrize(
    ("kind", "change", "line"),
    [
        ("qwen3", {"layer_types": ["linear_attention"] * 6}, "layer_types='linear_attention' is not modelled"),
        ("gpt_oss", {"layer_types": ["full_attention"]}, "layer_types=1 must have num_hidden_layers=6 entries"),
        ("gpt_oss", {"sliding_window": None}, "sliding_window=None must be a whole number"),
        ("qwen3_moe", {"use_sliding_window": True, "sliding_window": 8}, "use_sliding_window=True is not modelled"),
        ("minimax_m2", {"attn_type_list": [1, 0, 1]}, r"attn_type_list=.* is not modelled"),
        ("deepseek_v3", {"layer_types": ["sliding_attention"] * 6}, "layer_types='sliding_attention' is not"),
        ("deepseek_v3", {"kv_lora_rank": None}, "kv_lora_rank=None must be a whole number"),
        ("deepseek_v32", {"indexer_types": ["full"]}, "indexer_types=1 must have num_hidden_layers=6 entries"),
        ("mimo_v2_flash", {"hybrid_layer_pattern": [1]}, "hybrid_layer_pattern=.* must have num_hidden_layers=6"),
        ("qwen3_next", {"mamba_ssm_dtype": "fp4"}, "mamba_ssm_dtype='fp4' is not modelled"),
        ("gemma4_text", {}, "layer_types=None is missing"),
    ],
)
def test_unmodelled_attention_is_refused_by_name(kind, change, line):
    with pytest.raises(InputError, match=line):
        read(kind, **change)


def test_letters_say_which_layers_slide():
    config = {"sliding_window": 4096, "sliding_window_pattern": "LLLG"}
    assert read_windows("exaone4", config, 6, "x") == (4096, 4096, 4096, 0, 4096, 4096)
    assert read_windows("exaone4", {"sliding_window": 4096}, 2, "x") == ()
    with pytest.raises(InputError, match="must consist of L and G"):
        read_windows("exaone4", {"sliding_window_pattern": "LX"}, 2, "x")
