"""Models from the keys of a Hugging Face ``config.json``: dense, mixtures of experts, sliding windows, MLA.

Only what `scylla_sim.ops.forward` counts is read; a family or an option that changes more is refused by name. Not
counted: biases, norms of queries and keys or after a block, logit soft-caps, attention sinks, vision towers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scylla_sim.checks import fail
from scylla_sim.specs.model import Experts, Latent, Model

DENSE_TYPES = ("llama", "qwen2", "qwen3", "mistral", "gemma", "gemma2", "gemma3", "gemma3_text")
EXPERT_TYPES = ("mixtral", "qwen3_moe", "gpt_oss", "deepseek_v2", "deepseek_v3")
LATENT_TYPES = ("deepseek_v2", "deepseek_v3")

_FIELDS = {
    "num_hidden_layers": "num_layers",
    "hidden_size": "hidden_size",
    "intermediate_size": "intermediate_size",
    "num_attention_heads": "num_heads",
    "vocab_size": "vocab_size",
}

_GEMMA = {"tie_word_embeddings": True, "head_dim": 256}
_GEMMA3 = {
    **_GEMMA,
    **{"vocab_size": 262208, "num_attention_heads": 8, "num_key_value_heads": 4},
    **{"sliding_window": 4096, "sliding_window_pattern": 6},
}
DEFAULTS: Mapping[str, Mapping[str, Any]] = {
    "gemma": _GEMMA,
    "gemma2": {**_GEMMA, "sliding_window": 4096},
    "gemma3": _GEMMA3,
    "gemma3_text": _GEMMA3,
}
"""What a family's config.json may leave out. Source: the configuration classes of Hugging Face transformers."""


def _number(config: Mapping[str, Any], key: str, name: str) -> int:
    value = config.get(key)
    if not isinstance(value, int) or isinstance(value, bool):
        raise fail(key, value, f"must be a whole number in the config of {name}")
    return value


def _slides(kind: str, config: Mapping[str, Any], layers: int, name: str) -> list[bool]:
    """Which layers attend a sliding window, by the config's list or by the family's rule."""
    types = config.get("layer_types")
    if types is not None:
        for entry in types:
            if entry not in ("full_attention", "sliding_attention"):
                raise fail("layer_types", entry, f"is not modelled ({name})", "full and sliding attention are")
        if len(types) != layers:
            raise fail("layer_types", len(types), f"must be one for each of num_hidden_layers={layers} ({name})")
        return [entry == "sliding_attention" for entry in types]
    if kind in ("gemma2", "gpt_oss"):  # local and global in turn, local first
        return [layer % 2 == 0 for layer in range(layers)]
    if kind in ("gemma3", "gemma3_text"):
        pattern = _number(config, "sliding_window_pattern", name)
        return [(layer + 1) % pattern != 0 for layer in range(layers)]
    if kind in ("mistral", "mixtral"):
        return [config.get("sliding_window") is not None] * layers
    if not config.get("use_sliding_window"):
        return [False] * layers
    if kind not in ("qwen2", "qwen3"):
        raise fail("use_sliding_window", True, f"is not modelled for model_type={kind!r} ({name})")
    full = _number(config, "max_window_layers", name)
    return [layer >= full for layer in range(layers)]


def _windows(kind: str, config: Mapping[str, Any], layers: int, name: str) -> tuple[int, ...]:
    slides = _slides(kind, config, layers, name)
    if not any(slides):
        return ()
    window = _number(config, "sliding_window", name)
    return tuple(window if sliding else 0 for sliding in slides)


def _dense_layers(kind: str, config: Mapping[str, Any], layers: int, name: str) -> int:
    """Layers of a mixture of experts that keep a dense MLP."""
    if kind in LATENT_TYPES:
        if config.get("moe_layer_freq", 1) != 1:
            raise fail("moe_layer_freq", config["moe_layer_freq"], f"is not modelled ({name})", "1 is")
        return int(config.get("first_k_dense_replace") or 0)
    step = config.get("decoder_sparse_step") or 1
    dense = set(config.get("mlp_only_layers") or ())
    return sum(layer in dense or (layer + 1) % step != 0 for layer in range(layers))


def _experts(kind: str, config: Mapping[str, Any], layers: int, name: str) -> Experts:
    count = {"qwen3_moe": "num_experts", "mixtral": "num_local_experts", "gpt_oss": "num_local_experts"}
    width = _number(
        config, "intermediate_size" if kind in ("mixtral", "gpt_oss") else "moe_intermediate_size", name
    )
    return Experts(
        num_experts=_number(config, count.get(kind, "n_routed_experts"), name),
        experts_per_token=_number(config, "num_experts_per_tok", name),
        intermediate_size=width,
        shared_intermediate_size=int(config.get("n_shared_experts") or 0) * width,
        dense_layers=_dense_layers(kind, config, layers, name),
    )


def _latent(config: Mapping[str, Any], name: str) -> Latent:
    return Latent(
        kv_rank=_number(config, "kv_lora_rank", name),
        rope_dim=_number(config, "qk_rope_head_dim", name),
        nope_dim=_number(config, "qk_nope_head_dim", name),
        value_dim=_number(config, "v_head_dim", name),
        query_rank=0 if config.get("q_lora_rank") is None else _number(config, "q_lora_rank", name),
    )


def _refuse_unknown(kind: str, config: Mapping[str, Any], name: str) -> None:
    if kind not in (*DENSE_TYPES, *EXPERT_TYPES):
        known = f"modelled: {', '.join(DENSE_TYPES)} (dense), {', '.join(EXPERT_TYPES)} (mixture of experts)"
        raise fail("model_type", kind, f"is not modelled ({name})", known)
    if kind in EXPERT_TYPES:
        return
    for key in ("num_local_experts", "num_experts", "n_routed_experts"):
        if config.get(key):
            raise fail("num_experts", config[key], f"is not modelled for model_type={kind!r} ({name})")


def model_from_config(name: str, config: Mapping[str, Any]) -> Model:
    """Model from the keys of a Hugging Face ``config.json``.

    Without ``model_type`` the config is read as a Llama. Of a multimodal Gemma 3 the text model is read.

    Raises
    ------
    InputError
        For an architecture or an option whose costs are not modelled, by name, and for a missing key.

    Examples
    --------
    >>> from scylla_sim.specs import catalog
    >>> mixtral = catalog.model("mixtral-8x7b")
    >>> [round(count / 1e9, 1) for count in (mixtral.parameters, mixtral.active_parameters)]
    [46.7, 12.9]
    """
    kind = str(config.get("model_type") or "llama")
    _refuse_unknown(kind, config, name)
    nested = config.get("text_config") if kind == "gemma3" else None
    given = {**DEFAULTS.get(kind, {}), **(nested if isinstance(nested, Mapping) else config)}
    values: dict[str, Any] = {field: _number(given, key, name) for key, field in _FIELDS.items()}
    layers, heads = values["num_layers"], values["num_heads"]
    latent = _latent(given, name) if kind in LATENT_TYPES else None
    head_dim = latent.value_dim if latent else given.get("head_dim") or values["hidden_size"] // max(heads, 1)
    return Model(
        name=name,
        **values,
        num_kv_heads=given.get("num_key_value_heads") or heads,
        head_dim=head_dim,
        tied_embeddings=bool(given.get("tie_word_embeddings", False)),
        max_context=int(given.get("max_position_embeddings") or 0),
        experts=_experts(kind, given, layers, name) if kind in EXPERT_TYPES else None,
        latent=latent,
        windows=_windows(kind, given, layers, name),
    )
