"""Mixture of experts in a Hugging Face ``config.json``."""

from __future__ import annotations

from scylla_sim.checks import fail
from scylla_sim.specs.hf_families import LOCAL_EXPERTS, ROUTED_EXPERTS, STEPPED_EXPERTS, Config, number
from scylla_sim.specs.layers import MoE


def read_experts(kind: str, config: Config, layers: int, name: str) -> MoE | None:
    """Return the experts of a model; ``None`` for a dense model.

    Parameters
    ----------
    kind
        ``model_type`` of the text model.
    layers
        Number of decoder layers.
    name
        Name of the model, for errors.
    """
    if kind in LOCAL_EXPERTS:
        width = number(config, "intermediate_size", name)
        shared = int(config.get("shared_intermediate_size") or 0)
        return _experts(config, "num_local_experts", width, shared, 0, name)
    if kind in STEPPED_EXPERTS:
        width = number(config, "moe_intermediate_size", name)
        shared = int(config.get("shared_expert_intermediate_size") or 0)
        return _experts(config, "num_experts", width, shared, _stepped_dense_layers(config, layers), name)
    if kind in ROUTED_EXPERTS:
        width = number(config, "moe_intermediate_size", name)
        shared = int(config.get("n_shared_experts") or 0) * width
        return _experts(config, "n_routed_experts", width, shared, _first_dense_layers(config, layers, name), name)
    if kind == "llama4_text":
        width = number(config, "intermediate_size", name)
        return _experts(config, "num_local_experts", width, width, _llama4_dense_layers(config, layers, name), name)
    if kind == "gemma4_text" and config.get("enable_moe_block"):
        # Each layer adds the output of a dense MLP to that of its experts, as a shared expert does.
        width, shared = number(config, "moe_intermediate_size", name), number(config, "intermediate_size", name)
        return _experts(
            {**config, "num_experts_per_tok": config.get("top_k_experts")}, "num_experts", width, shared, 0, name
        )
    return None


def _experts(config: Config, count: str, width: int, shared: int, dense: int, name: str) -> MoE:
    return MoE(
        num_experts=number(config, count, name),
        experts_per_token=number(config, "num_experts_per_tok", name),
        intermediate_size=width,
        shared_intermediate_size=shared,
        dense_layers=dense,
    )


def _stepped_dense_layers(config: Config, layers: int) -> int:
    step = config.get("decoder_sparse_step") or 1
    dense = set(config.get("mlp_only_layers") or ())
    return sum(layer in dense or (layer + 1) % step != 0 for layer in range(layers))


def _first_dense_layers(config: Config, layers: int, name: str) -> int:
    """Return the number of dense layers, which the config lists or which come first."""
    kinds, frequency = config.get("mlp_layer_types"), config.get("moe_layer_freq", 1)
    for key, listed in (("mlp_layer_types", kinds), ("moe_layer_freq", frequency)):
        if isinstance(listed, list):
            if len(listed) != layers:
                raise fail(key, len(listed), f"must have num_hidden_layers={layers} entries ({name})")
            return sum(entry in ("dense", 0) for entry in listed)
    if frequency != 1:
        raise fail("moe_layer_freq", frequency, f"is not modelled ({name})", "1 and a list are")
    return int(config.get("first_k_dense_replace") or 0)


def _llama4_dense_layers(config: Config, layers: int, name: str) -> int:
    listed = config.get("moe_layers")
    if listed:
        return layers - len(set(listed))
    return layers - layers // number(config, "interleave_moe_layer_step", name)
