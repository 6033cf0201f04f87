"""config.json of Nemotron-H: layers by kind, latent experts, and published sizes."""

import pytest
from hf_configs import NEMOTRON

from scylla_sim.checks import InputError
from scylla_sim.specs.hf_config import model_from_config

NANO = {
    **NEMOTRON,
    **{"hybrid_override_pattern": "MEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEM*EMEMEMEM*EMEMEMEME", "vocab_size": 131072},
    **{"hidden_size": 2688, "num_attention_heads": 32, "head_dim": 128, "n_groups": 8, "ssm_state_size": 128},
    **{"mamba_num_heads": 64, "mamba_head_dim": 64, "n_routed_experts": 128, "num_experts_per_tok": 6},
    **{"moe_intermediate_size": 1856, "moe_shared_expert_intermediate_size": 3712},
}
SUPER = {
    **NANO,
    "hybrid_override_pattern": "MEMEMEM*" + "EMEMEMEM*" * 2 + "EMEMEMEMEM*" * 4 + "EMEMEMEM*EMEMEMEME",
    **{"hidden_size": 4096, "mamba_num_heads": 128, "n_routed_experts": 512, "num_experts_per_tok": 22},
    **{"moe_intermediate_size": 2688, "moe_latent_size": 1024, "moe_shared_expert_intermediate_size": 5376},
}


def read(**changes):
    return model_from_config("n", {**NEMOTRON, **changes})


def test_layers_are_counted_by_kind():
    model = read()
    assert (model.num_layers, model.linear_layers, model.attention_layers) == (4, 1, 1)
    assert (model.moe_layers, model.dense_layers, model.sublayers) == (1, 1, 4)
    listed = read(hybrid_override_pattern=None, layers_block_type=["mamba", "moe", "attention", "mlp"])
    assert listed == model


def test_parameters_of_each_kind_of_layer():
    inner, channels = 8 * 16, 8 * 16 + 2 * 2 * 32
    mamba = 64 * (inner + channels + 8) + inner * 64 + 4 * channels
    attention, mlp = 64 * 16 * 2 * (4 + 2), 2 * 64 * 96
    moe = 64 * 8 + 2 * 64 * (8 * 48 + 80)
    assert read().decoder_parameters == mamba + attention + mlp + moe


def test_latent_experts_are_narrower():
    change = read(moe_latent_size=16).decoder_parameters - read().decoder_parameters
    assert change == 2 * 8 * 48 * (16 - 64) + 2 * 64 * 16


@pytest.mark.parametrize(
    ("config", "billions", "tolerance"),
    [(NANO, 31.6, 0.002), (SUPER, 120, 0.006)],  # arXiv 2512.20848 and 2604.12374; the second is rounded to 10^9
)
def test_published_sizes(config, billions, tolerance):
    assert model_from_config("nemotron", config).parameters / 1e9 == pytest.approx(billions, rel=tolerance)


def test_published_active_size():
    """arXiv 2512.20848: 3.6B active parameters with embeddings."""
    assert model_from_config("nano", NANO).active_parameters / 1e9 == pytest.approx(3.6, rel=0.01)


def test_state_of_a_sequence():
    linear = read().linear
    assert linear.state_elements == 8 * 16 * 32
    assert linear.sequence_bytes == 4.0 * 8 * 16 * 32 + 2.0 * 3 * (8 * 16 + 2 * 2 * 32)


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"mlp_hidden_act": "silu"}, "mlp_hidden_act='silu' is not modelled"),
        ({"hybrid_override_pattern": "MX"}, "layers_block_type='X' is not modelled"),
        ({"hybrid_override_pattern": None}, "hybrid_override_pattern=None is missing"),
        ({"num_hidden_layers": 9}, "hybrid_override_pattern=4 must have num_hidden_layers=9 entries"),
        ({"n_routed_experts": None}, "n_routed_experts=None must be a whole number"),
    ],
)
def test_unmodelled_options_are_refused_by_name(change, line):
    with pytest.raises(InputError, match=line):
        read(**change)
