"""Attention in a Hugging Face ``config.json``: sliding windows, layers of several shapes, MLA, linear attention."""

from __future__ import annotations

from collections.abc import Sequence

from scylla_sim.checks import fail
from scylla_sim.specs.hf_families import HYBRID_TYPES, MLA_TYPES, SPARSE_TYPES, Config, number
from scylla_sim.specs.layers import MLA, AttentionLayers, LinearAttention, SparseIndexer

FULL, SLIDING, CHUNKED, LINEAR = "full_attention", "sliding_attention", "chunked_attention", "linear_attention"
SPARSE = "deepseek_sparse_attention"
"""Entries of ``layer_types``."""


def _listed(config: Config, layers: int, name: str, known: Sequence[str]) -> list[str] | None:
    """Return ``layer_types``, checked; ``None`` where the config has none."""
    types = config.get("layer_types")
    if types is None:
        return None
    for entry in types:
        if entry not in known:
            raise fail("layer_types", entry, f"is not modelled ({name})", f"modelled: {', '.join(known)}")
    if len(types) != layers:
        raise fail("layer_types", len(types), f"must have num_hidden_layers={layers} entries ({name})")
    return [str(entry) for entry in types]


def _slides(kind: str, config: Config, layers: int, name: str) -> list[bool]:
    """Return, for each layer, whether its attention has a sliding window."""
    types = _listed(config, layers, name, (FULL, SLIDING))
    if types is not None:
        return [entry == SLIDING for entry in types]
    if kind in ("gemma2", "gpt_oss"):  # local and global layers alternate; the first is local
        return [layer % 2 == 0 for layer in range(layers)]
    if kind in ("gemma3", "gemma3_text", "cohere2", "olmo3"):
        pattern = number(config, "sliding_window_pattern", name)
        return [(layer + 1) % pattern != 0 for layer in range(layers)]
    if kind in ("exaone4", "exaone4_5_text"):
        return _lettered(config.get("sliding_window_pattern"), layers, name)
    if kind in ("mistral", "ministral3", "mixtral", "phi3"):
        return [config.get("sliding_window") is not None] * layers
    if not config.get("use_sliding_window"):
        return [False] * layers
    if kind not in ("qwen2", "qwen3", "mimo"):
        raise fail("use_sliding_window", True, f"is not modelled for model_type={kind!r} ({name})")
    full = number(config, "max_window_layers", name)
    return [layer >= full for layer in range(layers)]


def _lettered(pattern: object, layers: int, name: str) -> list[bool]:
    """Return which layers slide by a pattern such as ``LLLG``, local and global; none without a pattern."""
    if pattern is None:
        return [False] * layers
    if not isinstance(pattern, str) or not pattern or set(pattern) - {"L", "G"}:
        raise fail("sliding_window_pattern", pattern, f"must consist of L and G ({name})")
    return [pattern[layer % len(pattern)] == "L" for layer in range(layers)]


def read_windows(kind: str, config: Config, layers: int, name: str) -> tuple[int, ...]:
    """Return the sliding window of each layer; empty if no layer has one.

    Parameters
    ----------
    kind
        ``model_type`` of the text model.
    layers
        Number of decoder layers.
    name
        Name of the model, for errors.
    """
    if kind == "llama4_text":
        return _chunks(config, layers, name)
    if kind in MLA_TYPES:
        _listed(config, layers, name, (FULL, SPARSE) if kind in SPARSE_TYPES else (FULL,))
        return ()
    listed = config.get("attn_type_list")
    if listed and set(listed) != {1}:
        raise fail("attn_type_list", listed, f"is not modelled ({name})", "only softmax attention, 1, is")
    slides = _slides(kind, config, layers, name)
    if not any(slides):
        return ()
    window = number(config, "sliding_window", name)
    return tuple(window if sliding else 0 for sliding in slides)


def _chunks(config: Config, layers: int, name: str) -> tuple[int, ...]:
    """Return the chunk of each layer of Llama 4; every fourth layer attends everything."""
    types = _listed(config, layers, name, (FULL, CHUNKED))
    chunked = [(layer + 1) % 4 != 0 for layer in range(layers)]
    if types is not None:
        chunked = [entry == CHUNKED for entry in types]
    elif config.get("no_rope_layers"):
        chunked = [bool(entry) for entry in config["no_rope_layers"]]
    size = number(config, "attention_chunk_size", name)
    return tuple(size if one else 0 for one in chunked)


LINEAR_NOTE = "linear attention was not measured; it is estimated as a copy of its states"
"""Note on the evidence for linear attention."""
SPARSE_NOTE = "sparse attention and its indexer were not measured; they are estimated from dense attention kernels"
"""Note on the evidence for sparse attention."""


def chunk_note(windows: Sequence[int]) -> str:
    """Return the note on the approximation of chunked attention."""
    return (
        f"attention in chunks of {max(windows)} tokens is estimated as a sliding window of that size, "
        "the most that a token attends"
    )


# -- Layers of several shapes ----------------------------------------------------------------------------------


def read_attention(kind: str, config: Config, layers: int, name: str) -> tuple[AttentionLayers, ...]:
    """Return the layers by shape, for a family whose windowed layers have another shape; empty otherwise."""
    if kind == "gemma4_text":
        return _gemma4_attention(config, layers, name)
    if kind == "mimo_v2_flash":
        return _mimo_v2_attention(config, layers, name)
    return ()


def _gemma4_attention(config: Config, layers: int, name: str) -> tuple[AttentionLayers, ...]:
    """Return local and global layers; global ones have wider and fewer heads, and may reuse keys as values."""
    types = _listed(config, layers, name, (FULL, SLIDING))
    if types is None:
        raise fail("layer_types", None, f"is missing from the config of {name}")
    heads, kv_heads = number(config, "num_attention_heads", name), number(config, "num_key_value_heads", name)
    local, size = types.count(SLIDING), number(config, "head_dim", name)
    shared = bool(config.get("attention_k_eq_v"))
    wide = int(config.get("global_head_dim") or size)
    few = int(config.get("num_global_key_value_heads") or kv_heads) if shared else kv_heads
    window = number(config, "sliding_window", name)
    found = []
    if local:
        found.append(AttentionLayers(local, heads, kv_heads, size, size, window))
    if local < layers:
        found.append(AttentionLayers(layers - local, heads, few, wide, wide, values_from_keys=shared))
    return tuple(found)


def _mimo_v2_attention(config: Config, layers: int, name: str) -> tuple[AttentionLayers, ...]:
    """Return local and global layers, whose values are narrower than their keys."""
    pattern = config.get("hybrid_layer_pattern")
    if not isinstance(pattern, list) or len(pattern) != layers:
        raise fail("hybrid_layer_pattern", pattern, f"must have num_hidden_layers={layers} entries ({name})")
    local = sum(pattern)
    window = number(config, "sliding_window", name)
    parts = (("swa_", local, window), ("", layers - local, 0))
    return tuple(
        AttentionLayers(
            layers=count,
            num_heads=number(config, f"{prefix}num_attention_heads", name),
            num_kv_heads=number(config, f"{prefix}num_key_value_heads", name),
            head_dim=number(config, f"{prefix}head_dim", name),
            value_dim=number(config, f"{prefix}v_head_dim", name),
            window=window,
        )
        for prefix, count, window in parts
        if count
    )


# -- MLA -------------------------------------------------------------------------------------------------------


def read_mla(kind: str, config: Config, layers: int, name: str) -> MLA:
    """Return multi-head latent attention, with the indexer of a family with sparse attention."""
    return MLA(
        kv_rank=number(config, "kv_lora_rank", name),
        rope_dim=number(config, "qk_rope_head_dim", name),
        nope_dim=number(config, "qk_nope_head_dim", name),
        value_dim=number(config, "v_head_dim", name),
        query_rank=0 if config.get("q_lora_rank") is None else number(config, "q_lora_rank", name),
        indexer=_indexer(config, layers, name) if kind in SPARSE_TYPES else None,
    )


def _indexer(config: Config, layers: int, name: str) -> SparseIndexer:
    types = config.get("indexer_types")
    if types is not None and len(types) != layers:
        raise fail("indexer_types", len(types), f"must have num_hidden_layers={layers} entries ({name})")
    return SparseIndexer(
        layers=layers if types is None else list(types).count("full"),
        num_heads=number(config, "index_n_heads", name),
        head_dim=number(config, "index_head_dim", name),
        top_k=number(config, "index_topk", name),
    )


# -- Linear attention ------------------------------------------------------------------------------------------


def state_bytes(config: Config) -> tuple[float, tuple[str, ...]]:
    """Return the bytes of one element of the state of linear attention, and a note where they are assumed."""
    given = config.get("mamba_ssm_dtype") or config.get("mamba_ssm_cache_dtype")
    if given is None:
        return 4.0, ("config.json states no data type for the states of linear attention; float32 is assumed",)
    known = {"float32": 4.0, "bfloat16": 2.0, "float16": 2.0}
    if given not in known:
        raise fail("mamba_ssm_dtype", given, "is not modelled", f"modelled: {', '.join(known)}")
    return known[given], ()


def read_gated_delta_net(kind: str, config: Config, layers: int, name: str) -> LinearAttention | None:
    """Return the layers of Gated DeltaNet of a hybrid family; ``None`` for other families."""
    if kind not in HYBRID_TYPES:
        return None
    types = _listed(config, layers, name, (FULL, LINEAR))
    if types is None:
        interval = number(config, "full_attention_interval", name)
        types = [FULL if (layer + 1) % interval == 0 else LINEAR for layer in range(layers)]
    if LINEAR not in types:
        return None
    return LinearAttention(
        kind="gated_delta_net",
        layers=types.count(LINEAR),
        key_heads=number(config, "linear_num_key_heads", name),
        value_heads=number(config, "linear_num_value_heads", name),
        key_dim=number(config, "linear_key_head_dim", name),
        value_dim=number(config, "linear_value_head_dim", name),
        conv_kernel=number(config, "linear_conv_kernel_dim", name),
        state_bytes=state_bytes(config)[0],
    )
