"""config.json files of every modelled family: published sizes, wrappers, and refused options."""

import pytest
from hf_configs import SHAPE, config_of, read

from scylla_sim.checks import InputError
from scylla_sim.specs.hf_config import model_from_config
from scylla_sim.specs.hf_families import DENSE_TYPES, HYBRID_TYPES, MLA_TYPES, MOE_TYPES, mtp_layers


@pytest.mark.parametrize("kind", (*DENSE_TYPES, *MOE_TYPES))
def test_every_family_is_read(kind):
    model = read(kind)
    assert (model.num_layers, model.hidden_size) == (6, 64)
    assert (model.moe is not None) == (kind in MOE_TYPES)
    assert (model.mla is not None) == (kind in MLA_TYPES)
    assert (model.linear is not None) == (kind in HYBRID_TYPES)


def shape(kind, sizes, **more):
    """Return a config; ``sizes`` are layers, hidden, MLP width, heads, KV heads, vocabulary."""
    keys = ("num_hidden_layers", "hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads")
    return {"model_type": kind, **dict(zip((*keys, "vocab_size"), sizes, strict=True)), **more}


def mla(rank, query, nope, value):
    ranks = {"kv_lora_rank": rank, "q_lora_rank": query, "qk_rope_head_dim": 64}
    return {**ranks, "qk_nope_head_dim": nope, "v_head_dim": value}


def experts(count, per_token, width, **more):
    names = ("n_routed_experts", "num_experts", "num_local_experts")
    return {
        **dict.fromkeys(names, count),
        **{"num_experts_per_tok": per_token, "moe_intermediate_size": width, **more},
    }


DSA = {"index_n_heads": 32, "index_head_dim": 128, "index_topk": 2048}
DELTA = {
    **{"linear_num_key_heads": 16, "linear_key_head_dim": 128, "linear_value_head_dim": 128},
    **{"linear_conv_kernel_dim": 4, "full_attention_interval": 4, "head_dim": 256},
}
GEMMA4 = {
    **{"head_dim": 256, "global_head_dim": 512, "attention_k_eq_v": True, "sliding_window": 1024},
    "layer_types": (["sliding_attention"] * 5 + ["full_attention"]) * 10,
}
PUBLISHED = [
    # model cards of LGAI-EXAONE/EXAONE-4.0-32B and tencent/Hunyuan-7B-Instruct
    ("exaone-4-32b", 32.0, shape("exaone4", (64, 5120, 27392, 40, 8, 102400), sliding_window_pattern="LLLG")),
    ("hunyuan-7b", 7.5, shape("hunyuan_v1_dense", (32, 4096, 14336, 32, 8, 128167), tie_word_embeddings=True)),
    # name, 10^9 parameters, config, and the source of the number
    ("mistral-7b", 7.24, shape("mistral", (32, 4096, 14336, 32, 8, 32000), sliding_window=4096)),  # model card
    # arXiv 2408.00118, table 2
    ("gemma-2-9b", 9.24, shape("gemma2", (42, 3584, 14336, 16, 8, 256000), head_dim=256, sliding_window=4096)),
    # arXiv 2503.19786, table 1, embedding and text model
    ("gemma-3-4b", 3.88, shape("gemma3_text", (34, 2560, 10240, 8, 4, 262208), sliding_window=1024)),
    # model card of google/gemma-4-31B-it
    (
        "gemma-4-31b",
        30.7,
        shape("gemma4_text", (60, 5376, 21504, 32, 16, 262144), num_global_key_value_heads=4, **GEMMA4),
    ),
    # arXiv 2405.04434
    (
        "deepseek-v2",
        236,
        shape("deepseek_v2", (60, 5120, 12288, 128, 128, 102400), first_k_dense_replace=1)
        | experts(160, 6, 1536, n_shared_experts=2)
        | mla(512, 1536, 128, 128),
    ),
    # arXiv 2602.15763: total parameters of GLM-5
    (
        "glm-5",
        744,
        shape("glm_moe_dsa", (78, 6144, 12288, 64, 64, 154880), first_k_dense_replace=3, **DSA)
        | experts(256, 8, 2048, n_shared_experts=1)
        | mla(512, 2048, 192, 256),
    ),
    # model card of Qwen/Qwen3-Next-80B-A3B-Instruct
    (
        "qwen3-next-80b",
        80,
        shape("qwen3_next", (48, 2048, 5120, 16, 2, 151936), linear_num_value_heads=32, **DELTA)
        | experts(512, 10, 512, shared_expert_intermediate_size=512),
    ),
    # names of Qwen/Qwen3.5-27B and Qwen/Qwen3.5-397B-A17B
    (
        "qwen3.5-27b",
        27,
        shape("qwen3_5_text", (64, 5120, 17408, 24, 4, 248320), linear_num_value_heads=48, **DELTA),
    ),
    (
        "qwen3.5-397b",
        397,
        shape("qwen3_5_moe_text", (60, 4096, None, 32, 2, 248320), linear_num_value_heads=64, **DELTA)
        | experts(512, 10, 1024, shared_expert_intermediate_size=1024),
    ),
    # model card of meta-llama/Llama-4-Maverick-17B-128E-Instruct
    (
        "llama-4-maverick",
        400,
        shape("llama4_text", (48, 5120, 8192, 40, 8, 202048), intermediate_size_mlp=16384)
        | experts(128, 1, None, interleave_moe_layer_step=2),
    ),
    # model card of microsoft/phi-4 (14.7B)
    ("phi-4", 14.7, shape("phi3", (40, 5120, 17920, 40, 10, 100352), sliding_window=None)),
    # name of CohereLabs/c4ai-command-r-v01 (35B)
    ("command-r", 35, shape("cohere", (40, 8192, 22528, 64, 64, 256000))),
    # arXiv 2501.00656: OLMo-2 7B has 7.30B parameters
    ("olmo-2-7b", 7.3, shape("olmo2", (32, 4096, 11008, 32, 32, 100352))),
    # arXiv 2509.14233: 70B Apertus, 70.6B in the model card
    ("apertus-70b", 70.6, shape("apertus", (80, 8192, 43008, 64, 8, 131072))),
    # arXiv 2406.11704, table 1: 9.4B embedding and 331.6B other parameters
    ("nemotron-4-340b", 341.0, shape("nemotron", (96, 18432, 73728, 96, 8, 256000))),
    # model card of mistralai/Mistral-Small-24B-Instruct-2501, whose text model mistral3 wraps
    ("mistral-small-24b", 23.6, shape("mistral", (40, 5120, 32768, 32, 8, 131072), head_dim=128)),
    # model card of MiniMaxAI/MiniMax-M2.5
    (
        "minimax-m2.5",
        229,
        shape("minimax_m2", (62, 3072, 1536, 48, 8, 200064), head_dim=128) | experts(256, 8, None),
    ),
]


@pytest.mark.parametrize(("name", "billions", "config"), PUBLISHED, ids=[row[0] for row in PUBLISHED])
def test_published_configs_have_the_published_size(name, billions, config):
    assert model_from_config(name, config).parameters / 1e9 == pytest.approx(billions, rel=0.005)


def test_glm_4_5_has_the_published_size():
    """arXiv 2508.06471, table 1: 355B, with the MTP layer and without embeddings."""
    config = shape("glm4_moe", (92, 5120, 12288, 96, 8, 151552), head_dim=128, first_k_dense_replace=3)
    model = model_from_config("glm-4.5", config | experts(160, 8, 1536, n_shared_experts=1))
    one_layer = 5120 * 128 * 2 * (96 + 8) + 5120 * (3 * 161 * 1536 + 160)
    assert (model.decoder_parameters + one_layer) / 1e9 == pytest.approx(355, rel=0.005)


def test_kimi_k2_is_read_as_deepseek_v3():
    config = shape("kimi_k2", (61, 7168, 18432, 64, 64, 163840), first_k_dense_replace=1)
    model = model_from_config("k2", config | experts(384, 8, 2048, n_shared_experts=1) | mla(512, 1536, 128, 128))
    attention = 7168 * (1536 + 576) + 1536 * 64 * 192 + 512 * 64 * 256 + 64 * 128 * 7168
    layers = 61 * attention + 3 * 7168 * 18432 + 60 * 7168 * (3 * 385 * 2048 + 384)
    assert model.parameters == layers + 2 * 7168 * 163840
    assert model.active_parameters / 1e9 == pytest.approx(32.6, rel=0.01)  # arXiv 2507.20534, table 2


def test_sizes_of_active_parameters():
    """Active parameters of model cards: GLM-5 40B, Gemma 4 26B-A4B 3.8B."""
    layers = (["sliding_attention"] * 5 + ["full_attention"]) * 5
    config = {
        **shape("gemma4_text", (30, 2816, 2112, 16, 8, 262144), **GEMMA4),
        **{"num_global_key_value_heads": 2, "layer_types": layers, "enable_moe_block": True},
        **{"num_experts": 128, "top_k_experts": 8, "moe_intermediate_size": 704},
    }
    model = model_from_config("gemma-4-26b-a4b", config)
    assert model.parameters / 1e9 == pytest.approx(25.2, rel=0.005)
    assert model.active_parameters / 1e9 == pytest.approx(3.8, rel=0.01)


# -- Wrappers --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outer", "inner"),
    [("mistral3", "mistral"), ("qwen3_vl", "qwen3_vl_text"), ("kimi_k25", "kimi_k2"), ("llava", "llama")],
)
def test_wrapper_gives_its_text_model(outer, inner):
    alone = read(inner)
    stated = model_from_config("m", {"model_type": outer, "text_config": config_of(inner)})
    nested = {key: value for key, value in config_of(inner).items() if key != "model_type"}
    implied = model_from_config("m", {"model_type": outer, "text_config": nested})
    assert stated == implied
    assert (stated.parameters, stated.windows) == (alone.parameters, alone.windows)
    assert "only the text model" in stated.notes[0]


def test_wrapper_passes_tied_embeddings_on():
    outer = {"model_type": "qwen3_vl", "tie_word_embeddings": True, "text_config": config_of("qwen3_vl_text")}
    assert model_from_config("m", outer).tied_embeddings
    outer["text_config"]["tie_word_embeddings"] = False
    assert not model_from_config("m", outer).tied_embeddings


def test_wrapper_of_an_unknown_text_model_is_refused():
    with pytest.raises(InputError, match="model_type='minimax_m3_vl' is not modelled"):
        model_from_config("m", {"model_type": "minimax_m3_vl", "text_config": SHAPE})
    with pytest.raises(InputError, match="model_type='kimi_linear' is not modelled"):
        model_from_config("m", {"model_type": "kimi_k3", "text_config": {**SHAPE, "model_type": "kimi_linear"}})


def test_config_without_model_type_must_be_a_llama():
    assert model_from_config("m", SHAPE).num_layers == 6
    with pytest.raises(InputError, match="architectures='OPTForCausalLM' has no model_type"):
        model_from_config("m", {**SHAPE, "architectures": ["OPTForCausalLM"]})


# -- Options ---------------------------------------------------------------------------------------------------


def test_mlp_without_gate_has_two_matrices():
    gated, plain = read("llama"), read("apertus")
    assert gated.parameters - plain.parameters == 6 * 64 * 128


def test_mtp_layers_are_counted():
    assert read("llama").mtp_layers == 0
    assert read("mimo", num_nextn_predict_layers=1).mtp_layers == 1
    assert read("qwen3_5_text", mtp_num_hidden_layers=1).mtp_layers == 1


def test_context_follows_the_scaling_of_the_rotary_embedding():
    def longest(kind, given, **scaling):
        return read(kind, max_position_embeddings=given, rope_scaling=scaling or None).max_context

    assert longest("llama", 4096) == 4096
    assert longest("llama", 131072, rope_type="llama3", factor=8.0) == 131072
    assert longest("qwen3", 40960, rope_type="yarn", factor=4.0, original_max_position_embeddings=32768) == 131072
    assert longest("llama", 4096, type="linear", factor=4.0) == 16384
    assert longest("gemma3_text", 131072, rope_type="linear", factor=8.0) == 131072


@pytest.mark.parametrize(
    ("kind", "change", "line"),
    [
        ("qwen4", {}, "model_type='qwen4' is not modelled"),
        ("deepseek_v4", {}, "model_type='deepseek_v4' is not modelled"),
        ("llama", {"n_routed_experts": 4}, "n_routed_experts=4 is not modelled for model_type='llama'"),
        ("llama", {"index_topk": 64}, "index_topk=64 is not modelled for model_type='llama'"),
        ("qwen3", {"linear_attn_config": {"x": 1}}, "is not modelled for model_type='qwen3'"),
        ("gemma4_text", {"hidden_size_per_layer_input": 256}, "hidden_size_per_layer_input=256 is not modelled"),
        ("mixtral", {"num_experts_per_tok": "two"}, "num_experts_per_tok='two' must be a whole number"),
        ("mixtral", {"num_experts_per_tok": 9}, "experts_per_token=9 exceeds num_experts=8"),
        ("llama", {"vocab_size": None}, "vocab_size=None must be a whole number"),
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


def test_without_kv_heads_every_query_head_has_its_own():
    config = config_of("llama")
    del config["num_key_value_heads"]
    assert model_from_config("m", config).num_kv_heads == config["num_attention_heads"]
