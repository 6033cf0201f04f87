"""Nemotron-H in a Hugging Face ``config.json``: each layer is a Mamba-2, an attention, an MLP or experts."""

from __future__ import annotations

from scylla_sim.checks import fail
from scylla_sim.specs.hf_attention import LINEAR_NOTE, state_bytes
from scylla_sim.specs.hf_families import Config, mtp_layers, number
from scylla_sim.specs.layers import AttentionLayers, LinearAttention, MoE
from scylla_sim.specs.model import Model

_LETTERS = {"M": "mamba", "*": "attention", "-": "mlp", "E": "moe"}
"""Letters of ``hybrid_override_pattern`` -> entries of ``layers_block_type``."""


def _blocks(config: Config, name: str) -> list[str]:
    """Return the kind of each layer."""
    pattern = config.get("hybrid_override_pattern")
    given = [_LETTERS.get(letter, letter) for letter in pattern] if pattern else config.get("layers_block_type")
    for entry in given or ():
        if entry not in _LETTERS.values():
            raise fail("layers_block_type", entry, f"is not modelled ({name})", ", ".join(_LETTERS.values()))
    if not given:
        raise fail("hybrid_override_pattern", None, f"is missing from the config of {name}")
    layers = config.get("num_hidden_layers", len(given))
    if layers != len(given):
        raise fail("hybrid_override_pattern", len(given), f"must have num_hidden_layers={layers} entries ({name})")
    return list(given)


def _experts(config: Config, dense_layers: int, name: str) -> MoE:
    shared = number(config, "moe_shared_expert_intermediate_size", name) * int(config.get("n_shared_experts") or 0)
    return MoE(
        num_experts=number(config, "n_routed_experts", name),
        experts_per_token=number(config, "num_experts_per_tok", name),
        intermediate_size=number(config, "moe_intermediate_size", name),
        shared_intermediate_size=shared,
        dense_layers=dense_layers,
        latent_size=int(config.get("moe_latent_size") or 0),
    )


def nemotron_h(config: Config, name: str) -> Model:
    """Return a Nemotron-H model.

    Parameters
    ----------
    name
        Name of the model, for `Model.name` and errors.

    Raises
    ------
    InputError
        For an option that is not modelled, and for a missing key.

    Notes
    -----
    Source: ``vllm/model_executor/models/nemotron_h.py`` of vLLM.
    """
    if config.get("mlp_hidden_act", "relu2") != "relu2":
        raise fail("mlp_hidden_act", config["mlp_hidden_act"], f"is not modelled ({name})", "relu2 is")
    blocks = _blocks(config, name)
    hidden, heads = number(config, "hidden_size", name), number(config, "num_attention_heads", name)
    kv_heads = number(config, "num_key_value_heads", name)
    head_dim = int(config.get("head_dim") or config.get("attention_head_dim") or hidden // heads)
    dense, sparse = blocks.count("mlp"), blocks.count("moe")
    element_bytes, notes = state_bytes(config)
    return Model(
        name=name,
        num_layers=len(blocks),
        hidden_size=hidden,
        intermediate_size=number(config, "intermediate_size", name),
        num_heads=heads,
        num_kv_heads=kv_heads,
        head_dim=head_dim,
        vocab_size=number(config, "vocab_size", name),
        tied_embeddings=bool(config.get("tie_word_embeddings", False)),
        max_context=int(config.get("max_position_embeddings") or 0),
        moe=_experts(config, dense, name) if sparse else None,
        attention=(AttentionLayers(blocks.count("attention"), heads, kv_heads, head_dim, head_dim),),
        linear=LinearAttention(
            kind="mamba2",
            layers=blocks.count("mamba"),
            key_heads=number(config, "n_groups", name),
            value_heads=number(config, "mamba_num_heads", name),
            key_dim=number(config, "ssm_state_size", name),
            value_dim=number(config, "mamba_head_dim", name),
            conv_kernel=number(config, "conv_kernel", name),
            state_bytes=element_bytes,
        ),
        gated_mlp=False,
        mlp_layers=dense + sparse,
        mtp_layers=mtp_layers(config),
        notes=(LINEAR_NOTE, *notes),
    )
