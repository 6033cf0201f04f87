"""Values of another type in a ``config.json`` are one line."""

import pytest

from scylla_sim.checks import InputError
from scylla_sim.specs.hf_config import model_from_config

LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
}
MOE = LLAMA | {
    "model_type": "qwen3_moe",
    "num_experts": 128,
    "num_experts_per_tok": 8,
    "moe_intermediate_size": 768,
}


@pytest.mark.parametrize("value", ["8", [1], 0, {}, True, 8.0, 10**300])
def test_heads_that_are_no_count_are_refused(value):
    with pytest.raises(InputError, match="num_key_value_heads=.* must be a whole number in"):
        model_from_config("m", LLAMA | {"num_key_value_heads": value})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("head_dim", [1]),
        ("max_position_embeddings", "x"),
        ("layer_types", 5),
        ("mlp_only_layers", 5),
        ("mlp_only_layers", [[1]]),
        ("mlp_only_layers", "abc"),
        ("decoder_sparse_step", "x"),
        ("decoder_sparse_step", -1),
        ("decoder_sparse_step", 1.5),
        ("first_k_dense_replace", [1]),
        ("n_shared_experts", "x"),
        ("num_experts", 10**9),
        ("num_hidden_layers", 1e30),
    ],
)
def test_other_keys_are_named(key, value):
    with pytest.raises(InputError, match=f"{key}="):
        model_from_config("m", MOE | {key: value})
    assert model_from_config("m", MOE | {"head_dim": None}).moe.num_experts == 128
