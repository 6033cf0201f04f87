"""Model families of Hugging Face: names, defaults of their config.json, and options that are refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scylla_sim.checks import fail

Config = Mapping[str, Any]
"""Keys and values of a ``config.json``."""

DENSE_TYPES = (
    *("llama", "qwen2", "qwen3", "mistral", "ministral3", "gemma", "gemma2", "gemma3", "gemma3_text"),
    *("phi3", "cohere", "cohere2", "olmo2", "olmo3", "glm", "glm4", "glm4v_text", "mimo", "apertus", "nemotron"),
    *("granite", "smollm3", "seed_oss", "qwen2_vl", "qwen2_vl_text", "qwen2_5_vl", "qwen2_5_vl_text"),
    *("qwen3_vl_text", "qwen3_5_text", "exaone4", "exaone4_5_text", "hunyuan_v1_dense"),
)
"""Families without experts. ``gemma4_text`` and ``nemotron_h`` have members of both sorts."""

MLA_TYPES = ("deepseek_v2", "deepseek_v3", "kimi_k2", "glm4_moe_lite", "deepseek_v32", "glm_moe_dsa")
"""Families with multi-head latent attention."""
SPARSE_TYPES = ("deepseek_v32", "glm_moe_dsa")
"""Families of `MLA_TYPES` whose attention is sparse."""
HYBRID_TYPES = ("qwen3_next", "qwen3_5_text", "qwen3_5_moe_text")
"""Families with layers of Gated DeltaNet."""

LOCAL_EXPERTS = ("mixtral", "gpt_oss", "minimax_m2")
"""MoE families that call their experts local, and give their width as ``intermediate_size``."""
STEPPED_EXPERTS = ("qwen2_moe", "qwen3_moe", "qwen3_vl_moe_text", "qwen3_next", "qwen3_5_moe_text")
"""MoE families whose config says which layers are dense by a step and a list."""
ROUTED_EXPERTS = (*MLA_TYPES, "glm4_moe", "glm4v_moe_text", "mimo_v2_flash")
"""MoE families whose first layers are dense."""

MOE_TYPES = (*LOCAL_EXPERTS, *STEPPED_EXPERTS, *ROUTED_EXPERTS, "llama4_text")
MODEL_TYPES = (*DENSE_TYPES, *MOE_TYPES, "gemma4_text", "nemotron_h")
"""All families that are read, by the ``model_type`` of the text model."""

UNGATED_TYPES = ("apertus", "nemotron", "nemotron_h")
"""Families whose MLP has no gate projection."""

TEXT_TYPES = {
    "exaone4_5": "exaone4_5_text",
    "gemma3": "gemma3_text",
    "gemma4": "gemma4_text",
    "glm4v": "glm4v_text",
    "glm4v_moe": "glm4v_moe_text",
    "kimi_k25": "kimi_k2",
    "llama4": "llama4_text",
    "llava": "llama",
    "mistral3": "mistral",
    "qwen2_vl": "qwen2_vl_text",
    "qwen2_5_vl": "qwen2_5_vl_text",
    "qwen3_vl": "qwen3_vl_text",
    "qwen3_vl_moe": "qwen3_vl_moe_text",
    "qwen3_5": "qwen3_5_text",
    "qwen3_5_moe": "qwen3_5_moe_text",
}
"""Multimodal ``model_type`` -> that of its text model, where the config of the text model does not state it."""

_GEMMA = {"tie_word_embeddings": True, "head_dim": 256}
_GEMMA3 = {
    **_GEMMA,
    **{"vocab_size": 262208, "num_attention_heads": 8, "num_key_value_heads": 4},
    **{"sliding_window": 4096, "sliding_window_pattern": 6},
}
DEFAULTS: Mapping[str, Config] = {
    "gemma": _GEMMA,
    "gemma2": {**_GEMMA, "sliding_window": 4096},
    "gemma3": _GEMMA3,
    "gemma3_text": _GEMMA3,
    "gemma4_text": {"tie_word_embeddings": True},
    "cohere": {"tie_word_embeddings": True},
    "cohere2": {"tie_word_embeddings": True, "sliding_window": 4096, "sliding_window_pattern": 4},
    "olmo3": {"sliding_window": 4096, "sliding_window_pattern": 4},
    "glm": {"head_dim": 128},
    "glm4": {"head_dim": 128},
    "llama4_text": {"head_dim": 128, "attention_chunk_size": 8192},
    "ministral3": {"head_dim": 128},
    "qwen3": {"head_dim": 128},
    "smollm3": {"tie_word_embeddings": True},
    "exaone4": {"sliding_window": 4096},
    "exaone4_5_text": {"sliding_window": 4096},
}
"""Defaults of keys that the config.json of a family may leave out.

Source: the configuration classes of Hugging Face transformers.
"""

_WITH_EXPERTS = (*MOE_TYPES, "gemma4_text", "nemotron_h")
_LIMITED_OPTIONS: Mapping[str, tuple[str, ...]] = {
    "num_local_experts": _WITH_EXPERTS,
    "num_experts": _WITH_EXPERTS,
    "n_routed_experts": _WITH_EXPERTS,
    "index_topk": SPARSE_TYPES,
    "kv_lora_rank": MLA_TYPES,
    "moe_latent_size": ("nemotron_h",),
    "hybrid_override_pattern": ("nemotron_h",),
    "layers_block_type": ("nemotron_h",),
    "sparse_attention_config": (),
    "linear_attn_config": (),
    "compress_ratios": (),
    "block_configs": (),
    "hidden_size_per_layer_input": (),
    "num_kv_shared_layers": (),
    "use_double_wide_mlp": (),
    "cross_attention_layers": (),
    "is_encoder_decoder": (),
}
"""Options that change the costs -> families for which they are modelled."""


def number(config: Config, key: str, name: str) -> int:
    """Return a whole number of a config; ``name`` is the model's, for errors."""
    value = config.get(key)
    if not isinstance(value, int) or isinstance(value, bool):
        raise fail(key, value, f"must be a whole number in the config of {name}")
    return value


def mtp_layers(config: Config) -> int:
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


def refuse_unknown(kind: str, config: Config, name: str) -> None:
    """Raise for a family or an option whose costs are not modelled."""
    if kind not in MODEL_TYPES:
        raise fail("model_type", kind, f"is not modelled ({name})", f"modelled: {', '.join(MODEL_TYPES)}")
    for key, families in _LIMITED_OPTIONS.items():
        if config.get(key) and kind not in families:
            raise fail(key, config[key], f"is not modelled for model_type={kind!r} ({name})")


def text_config(config: Config, name: str) -> tuple[str, Config, tuple[str, ...]]:
    """Return the family, the config and the notes of the text model that a config describes.

    A config without ``model_type`` describes a Llama.

    Raises
    ------
    InputError
        The text model of a multimodal config cannot be told.
    """
    outer = config.get("model_type")
    nested = config.get("text_config")
    if not isinstance(nested, Mapping):
        if outer is None:
            _refuse_architecture(config, name)
        notes = (_text_only(outer),) if config.get("vision_config") else ()
        return str(outer or "llama"), config, notes
    kind = nested.get("model_type") or TEXT_TYPES.get(str(outer))
    if kind is None:
        raise fail("model_type", outer, f"is not modelled ({name})", "its text_config has no model_type")
    tied = {key: config[key] for key in ("tie_word_embeddings",) if key in config}
    return str(kind), {**tied, **nested}, (_text_only(outer),)


def _text_only(kind: object) -> str:
    return f"only the text model of model_type={kind!r} is estimated, without the memory of its vision tower"


def _refuse_architecture(config: Config, name: str) -> None:
    """Raise for a config without ``model_type`` whose architecture is no Llama."""
    for architecture in config.get("architectures") or ():
        if not str(architecture).startswith("LlamaForCausalLM"):
            raise fail("architectures", architecture, f"has no model_type ({name})", "add model_type to the file")
