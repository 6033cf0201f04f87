"""config.json files of every modelled family, and refused options."""

import pytest

from scylla_sim.checks import InputError
from scylla_sim.specs import catalog
from scylla_sim.specs.hf_config import DENSE_TYPES, MOE_TYPES, model_from_config, mtp_layers

SHAPE = {
    "num_hidden_layers": 6,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 1000,
}
EXPERTS = {"num_experts_per_tok": 2, "moe_intermediate_size": 32}
MIXTURE = {
    "mixtral": {**SHAPE, **EXPERTS, "num_local_experts": 8},
    "gpt_oss": {**SHAPE, **EXPERTS, "num_local_experts": 8, "sliding_window": 128},
    "qwen3_moe": {**SHAPE, **EXPERTS, "num_experts": 8},
    "deepseek_v3": {
        **{**SHAPE, **EXPERTS, "n_routed_experts": 8, "n_shared_experts": 2, "first_k_dense_replace": 1},
        **{"kv_lora_rank": 16, "q_lora_rank": None, "qk_rope_head_dim": 4, "qk_nope_head_dim": 8, "v_head_dim": 8},
    },
}
MIXTURE["deepseek_v2"] = MIXTURE["deepseek_v3"]


def read(kind, **changes):
    return model_from_config("m", {"model_type": kind, **MIXTURE.get(kind, SHAPE), **changes})


@pytest.mark.parametrize("kind", (*DENSE_TYPES, *MOE_TYPES))
def test_every_family_is_read(kind):
    model = read(kind)
    assert (model.num_layers, model.hidden_size) == (6, 64)
    assert (model.moe is not None) == (kind in MOE_TYPES)


@pytest.mark.parametrize(
    ("name", "billions", "config"),
    [  # parameters as the model cards state them (Gemma 2: arXiv 2408.00118, table 2; Gemma 3: arXiv 2503.19786,
        # table 1, embedding and text model; DeepSeek-V2: arXiv 2405.04434)
        (
            "mistral-7b",
            7.24,
            {
                **{"model_type": "mistral", "num_hidden_layers": 32, "hidden_size": 4096},
                **{"intermediate_size": 14336, "num_attention_heads": 32, "num_key_value_heads": 8},
                **{"vocab_size": 32000, "sliding_window": 4096},
            },
        ),
        (
            "gemma-2-9b",
            9.24,
            {
                **{"model_type": "gemma2", "num_hidden_layers": 42, "hidden_size": 3584, "head_dim": 256},
                **{"intermediate_size": 14336, "num_attention_heads": 16, "num_key_value_heads": 8},
                **{"vocab_size": 256000, "sliding_window": 4096},
            },
        ),
        (
            "gemma-3-4b",
            3.88,
            {
                "model_type": "gemma3",
                "text_config": {
                    **{"model_type": "gemma3_text", "num_hidden_layers": 34, "hidden_size": 2560},
                    **{"intermediate_size": 10240, "sliding_window": 1024},
                },
            },
        ),
        (
            "deepseek-v2",
            236,
            {
                **{"model_type": "deepseek_v2", "num_hidden_layers": 60, "hidden_size": 5120},
                **{"intermediate_size": 12288, "num_attention_heads": 128, "vocab_size": 102400},
                **{"n_routed_experts": 160, "n_shared_experts": 2, "num_experts_per_tok": 6},
                **{"moe_intermediate_size": 1536, "first_k_dense_replace": 1, "moe_layer_freq": 1},
                **{"kv_lora_rank": 512, "q_lora_rank": 1536, "qk_rope_head_dim": 64},
                **{"qk_nope_head_dim": 128, "v_head_dim": 128},
            },
        ),
    ],
)
def test_published_configs_have_the_published_size(name, billions, config):
    assert model_from_config(name, config).parameters / 1e9 == pytest.approx(billions, rel=0.005)


def test_catalog_and_config_have_the_same_windows():
    listed = ["sliding_attention", "full_attention"] * 3
    assert read("gpt_oss", sliding_window=128).windows == (128, 0) * 3
    assert read("gpt_oss", sliding_window=128, layer_types=listed).windows == (128, 0) * 3
    assert catalog.model("gpt-oss-20b").window_layers == {128: 12, 0: 12}


def test_windows_follow_the_rule_of_the_family():
    assert read("mistral", sliding_window=4096).windows == (4096,) * 6
    assert read("mistral", sliding_window=None).windows == ()
    assert read("gemma2", sliding_window=512).windows == (512, 0) * 3
    assert read("gemma3_text", sliding_window=512).windows == (512,) * 5 + (0,)
    used = {"sliding_window": 64, "max_window_layers": 4}
    assert read("qwen2", use_sliding_window=True, **used).windows == (0, 0, 0, 0, 64, 64)
    assert read("qwen2", use_sliding_window=False, **used).windows == ()
    assert read("llama", sliding_window=64).windows == ()


def test_layers_without_experts_are_counted():
    assert read("qwen3_moe", mlp_only_layers=[0, 3]).moe.dense_layers == 2
    assert read("qwen3_moe", decoder_sparse_step=2).moe.dense_layers == 3
    assert read("deepseek_v3").moe.dense_layers == 1
    assert read("deepseek_v3").moe.shared_intermediate_size == 64


@pytest.mark.parametrize(
    ("kind", "change", "line"),
    [
        ("qwen2_moe", {}, "model_type='qwen2_moe' is not modelled"),
        ("llama4", {}, "model_type='llama4' is not modelled"),
        ("llama", {"n_routed_experts": 4}, "num_experts=4 is not modelled for model_type='llama'"),
        ("qwen3", {"layer_types": ["linear_attention"] * 6}, "layer_types='linear_attention' is not modelled"),
        (
            "gpt_oss",
            {"layer_types": ["full_attention"]},
            "layer_types=1 must have num_hidden_layers=6 entries",
        ),
        ("gpt_oss", {"sliding_window": None}, "sliding_window=None must be a whole number"),
        ("qwen3_moe", {"use_sliding_window": True, "sliding_window": 8}, "use_sliding_window=True is not modelled"),
        ("deepseek_v3", {"moe_layer_freq": 2}, "moe_layer_freq=2 is not modelled"),
        ("deepseek_v3", {"kv_lora_rank": None}, "kv_lora_rank=None must be a whole number"),
        ("mixtral", {"num_experts_per_tok": "two"}, "num_experts_per_tok='two' must be a whole number"),
        ("mixtral", {"num_experts_per_tok": 9}, "experts_per_token=9 exceeds num_experts=8"),
    ],
)
def test_unmodelled_options_are_refused_by_name(kind, change, line):
    with pytest.raises(InputError, match=line):
        read(kind, **change)


@pytest.mark.parametrize(
    ("config", "layers"),
    [
        ({"num_nextn_predict_layers": 1}, 1),
        ({"mtp_num_hidden_layers": 2}, 2),
        ({"num_nextn_predict_layers": None}, 0),
        ({"num_mtp_modules": 3, "model_type": "minimax_m2"}, 0),
        ({"num_mtp_modules": 7, "model_type": "minimax_m3_vl"}, 7),
        ({}, 0),
    ],
)
def test_mtp_layers_are_read_from_the_keys_of_each_family(config, layers):
    assert mtp_layers(config) == layers
