"""Models from Hugging Face ``config.json`` files: dense, MoE, sliding windows and MLA.

The reader uses the keys that `scylla_sim.ops.forward` needs. It rejects a family or an option that changes the
costs in another way. The costs leave out biases, norms of queries and keys, norms after a block, logit soft-caps,
attention sinks and vision towers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scylla_sim.checks import fail
from scylla_sim.specs.model import MLA, Model, MoE

DENSE_TYPES = ("llama", "qwen2", "qwen3", "mistral", "gemma", "gemma2", "gemma3", "gemma3_text")
MOE_TYPES = ("mixtral", "qwen3_moe", "gpt_oss", "deepseek_v2", "deepseek_v3")
MLA_TYPES = ("deepseek_v2", "deepseek_v3")

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
"""Defaults of keys that the config.json of a family may leave out.

Source: the configuration classes of Hugging Face transformers.
"""


def _number(config: Mapping[str, Any], key: str, name: str) -> int:
    value = config.get(key)
    if not isinstance(value, int) or isinstance(value, bool):
        raise fail(key, value, f"must be a whole number in the config of {name}")
    return value


def _slides(kind: str, config: Mapping[str, Any], layers: int, name: str) -> list[bool]:
    """Return, for each layer, whether its attention has a sliding window."""
    types = config.get("layer_types")
    if types is not None:
        for entry in types:
            if entry not in ("full_attention", "sliding_attention"):
                raise fail("layer_types", entry, f"is not modelled ({name})", "full and sliding attention are")
        if len(types) != layers:
            raise fail("layer_types", len(types), f"must have num_hidden_layers={layers} entries ({name})")
        return [entry == "sliding_attention" for entry in types]
    if kind in ("gemma2", "gpt_oss"):  # local and global layers alternate; the first is local
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
    """Return the number of layers of an MoE model that keep a dense MLP."""
    if kind in MLA_TYPES:
        if config.get("moe_layer_freq", 1) != 1:
            raise fail("moe_layer_freq", config["moe_layer_freq"], f"is not modelled ({name})", "only 1 is")
        return int(config.get("first_k_dense_replace") or 0)
    step = config.get("decoder_sparse_step") or 1
    dense = set(config.get("mlp_only_layers") or ())
    return sum(layer in dense or (layer + 1) % step != 0 for layer in range(layers))


def _moe(kind: str, config: Mapping[str, Any], layers: int, name: str) -> MoE:
    count = {"qwen3_moe": "num_experts", "mixtral": "num_local_experts", "gpt_oss": "num_local_experts"}
    width = _number(
        config, "intermediate_size" if kind in ("mixtral", "gpt_oss") else "moe_intermediate_size", name
    )
    return MoE(
        num_experts=_number(config, count.get(kind, "n_routed_experts"), name),
        experts_per_token=_number(config, "num_experts_per_tok", name),
        intermediate_size=width,
        shared_intermediate_size=int(config.get("n_shared_experts") or 0) * width,
        dense_layers=_dense_layers(kind, config, layers, name),
    )


def _mla(config: Mapping[str, Any], name: str) -> MLA:
    return MLA(
        kv_rank=_number(config, "kv_lora_rank", name),
        rope_dim=_number(config, "qk_rope_head_dim", name),
        nope_dim=_number(config, "qk_nope_head_dim", name),
        value_dim=_number(config, "v_head_dim", name),
        query_rank=0 if config.get("q_lora_rank") is None else _number(config, "q_lora_rank", name),
    )


def mtp_layers(config: Mapping[str, Any]) -> int:
    """Return the number of multi-token prediction layers that a config declares; 0 without such a key.

    Notes
    -----
    Sources of the keys: DeepSeek, GLM and MiMo (``num_nextn_predict_layers``), Qwen3.5 (``mtp_num_hidden_layers``);
    vllm-project/vllm, config/speculative.py. The key ``num_mtp_modules`` counts for MiniMax M3 only, because vLLM
    loads no such modules for earlier models.
    """
    keys = ["num_nextn_predict_layers", "mtp_num_hidden_layers"]
    if str(config.get("model_type", "")).startswith("minimax_m3"):
        keys.append("num_mtp_modules")
    return max(int(config.get(key) or 0) for key in keys)


def _refuse_unknown(kind: str, config: Mapping[str, Any], name: str) -> None:
    if kind not in (*DENSE_TYPES, *MOE_TYPES):
        known = f"modelled: {', '.join(DENSE_TYPES)} (dense), {', '.join(MOE_TYPES)} (MoE)"
        raise fail("model_type", kind, f"is not modelled ({name})", known)
    if kind in MOE_TYPES:
        return
    for key in ("num_local_experts", "num_experts", "n_routed_experts"):
        if config.get(key):
            raise fail("num_experts", config[key], f"is not modelled for model_type={kind!r} ({name})")


def model_from_config(name: str, config: Mapping[str, Any]) -> Model:
    """Return the model that a Hugging Face ``config.json`` describes.

    A config without ``model_type`` describes a Llama. For a multimodal Gemma 3 the function returns the text model.

    Parameters
    ----------
    name
        Name of the model, for `Model.name` and error messages.
    config
        Keys and values of the ``config.json``.

    Raises
    ------
    InputError
        For an architecture or an option whose costs are not modelled, and for a missing key.

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
    mla = _mla(given, name) if kind in MLA_TYPES else None
    head_dim = mla.value_dim if mla else given.get("head_dim") or values["hidden_size"] // max(heads, 1)
    return Model(
        name=name,
        **values,
        num_kv_heads=given.get("num_key_value_heads") or heads,
        head_dim=head_dim,
        tied_embeddings=bool(given.get("tie_word_embeddings", False)),
        max_context=int(given.get("max_position_embeddings") or 0),
        moe=_moe(kind, given, layers, name) if kind in MOE_TYPES else None,
        mla=mla,
        windows=_windows(kind, given, layers, name),
        mtp_layers=mtp_layers(given),
    )
