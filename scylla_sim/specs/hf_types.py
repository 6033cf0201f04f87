"""Types and ranges of the keys of a Hugging Face ``config.json``.

The readers of families take numbers and lists from a config by name. `check_types` refuses other values first, so
that a text, a list or a number without bounds is one line and no failure of arithmetic.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scylla_sim.checks import fail

MAX_SIZE = 2**31
"""Largest size of a config."""

MAX_LAYERS = 10_000
"""Largest number of layers, experts or heads."""

FEW = (
    *("num_hidden_layers", "num_attention_heads", "num_experts", "num_local_experts", "n_routed_experts"),
    *("num_experts_per_tok", "num_experts_per_token", "top_k_experts", "n_shared_experts", "first_k_dense_replace"),
    *("num_global_key_value_heads", "medusa_num_layers", "num_nextn_predict_layers", "mtp_num_hidden_layers"),
    *("num_mtp_modules", "interleave_moe_layer_step", "num_lookahead_tokens"),
)
"""Keys of counts, at least 0."""

FROM_ONE = ("num_key_value_heads", "head_dim", "decoder_sparse_step", "global_head_dim", "attention_head_dim")
"""Keys of counts for which 0 has no meaning."""

SIZES = (
    *("hidden_size", "intermediate_size", "vocab_size", "max_position_embeddings", "moe_intermediate_size"),
    *("shared_intermediate_size", "shared_expert_intermediate_size", "moe_latent_size", "draft_vocab_size"),
    *("truncated_vocab_size", "target_hidden_size", "markov_rank", "inner_dim", "q_lora_rank", "kv_lora_rank"),
    *("moe_shared_expert_intermediate_size", "intermediate_size_mlp", "sliding_window"),
)
"""Keys of sizes, at least 0."""

WORDS = ("layer_types", "mlp_layer_types", "layers_block_type", "indexer_types", "architectures")
"""Keys of lists of words."""

NUMBERS = ("mlp_only_layers", "moe_layers", "no_rope_layers", "attn_type_list", "hybrid_layer_pattern")
"""Keys of lists of whole numbers."""


def check_types(config: Mapping[str, Any], name: str) -> None:
    """Check the keys of a config whose values are numbers or lists; ``null`` and other keys pass.

    Raises
    ------
    InputError
        For a value of another type, or out of range.

    Examples
    --------
    >>> check_types({"num_key_value_heads": "8"}, "m")
    Traceback (most recent call last):
        ...
    scylla_sim.checks.InputError: num_key_value_heads='8' must be a whole number in [1, 10000] in the config of m
    """
    bounds = [(FEW, 0, MAX_LAYERS), (FROM_ONE, 1, MAX_LAYERS), (SIZES, 0, MAX_SIZE)]
    for keys, low, high in bounds:
        for key in keys:
            value = config.get(key)
            good = isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
            if value is not None and not good:
                raise fail(key, value, f"must be a whole number in [{low}, {high}] in the config of {name}")
    for keys, kind, what in ((WORDS, str, "names"), (NUMBERS, int, "whole numbers")):
        for key in keys:
            value = config.get(key)
            good = isinstance(value, list) and all(isinstance(item, kind) for item in value)
            if value is not None and not good:
                raise fail(key, value, f"must be a list of {what} in the config of {name}")
