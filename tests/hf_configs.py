"""Small config.json files, one for each modelled family."""

from scylla_sim.specs.hf_config import model_from_config
from scylla_sim.specs.hf_families import HYBRID_TYPES, MLA_TYPES, MOE_TYPES, SPARSE_TYPES

SHAPE = {
    "num_hidden_layers": 6,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 1000,
}
EXPERTS = {"num_experts_per_tok": 2, "moe_intermediate_size": 32}
ROUTED = {**SHAPE, **EXPERTS, "n_routed_experts": 8, "n_shared_experts": 2, "first_k_dense_replace": 1}
MLA = {"kv_lora_rank": 16, "q_lora_rank": 24, "qk_rope_head_dim": 4, "qk_nope_head_dim": 8, "v_head_dim": 8}
INDEXER = {"index_n_heads": 2, "index_head_dim": 16, "index_topk": 64}
LINEAR = {
    **{"linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8},
    **{"linear_value_head_dim": 8, "linear_conv_kernel_dim": 4, "full_attention_interval": 3},
}
MIMO = {
    **{"hybrid_layer_pattern": [0, 1, 1, 1, 1, 0], "head_dim": 24, "v_head_dim": 16, "sliding_window": 128},
    **{"swa_num_attention_heads": 4, "swa_num_key_value_heads": 4, "swa_head_dim": 24, "swa_v_head_dim": 16},
}


def config_of(kind, **changes):
    """Return a small config of a family."""
    found = {**SHAPE, "model_type": kind, "sliding_window": 128}
    if kind in MOE_TYPES:
        found |= {**EXPERTS, "num_local_experts": 8, "num_experts": 8, "interleave_moe_layer_step": 2}
    if kind in (*MLA_TYPES, "glm4_moe", "glm4v_moe_text", "mimo_v2_flash"):
        found |= ROUTED
    if kind in MLA_TYPES:
        found |= MLA
    if kind in SPARSE_TYPES:
        found |= INDEXER
    if kind in HYBRID_TYPES:
        found |= LINEAR
    if kind == "mimo_v2_flash":
        found |= MIMO
    return {**found, **changes}


def read(kind, **changes):
    """Return the model of a small config of a family."""
    return model_from_config("m", config_of(kind, **changes))


NEMOTRON = {
    **{"model_type": "nemotron_h", "hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4},
    **{"num_key_value_heads": 2, "head_dim": 16, "vocab_size": 1000, "hybrid_override_pattern": "ME*-"},
    **{"mamba_num_heads": 8, "mamba_head_dim": 16, "n_groups": 2, "ssm_state_size": 32, "conv_kernel": 4},
    **{"n_routed_experts": 8, "num_experts_per_tok": 2, "moe_intermediate_size": 48, "n_shared_experts": 1},
    **{"moe_shared_expert_intermediate_size": 80, "mamba_ssm_cache_dtype": "float32"},
}
