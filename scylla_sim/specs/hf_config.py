"""Models from Hugging Face ``config.json`` files.

The reader uses the keys that `scylla_sim.ops.forward` needs. It rejects a family or an option that changes the
costs in another way. The costs leave out biases, norms of queries and keys, norms after a block, logit soft-caps,
attention sinks, gates of shared experts, vision towers and MTP layers.

The families are in `scylla_sim.specs.hf_families`. Attention is read in `scylla_sim.specs.hf_attention`, experts in
`scylla_sim.specs.hf_experts`.
"""

from __future__ import annotations

from typing import Any

from scylla_sim.specs.hf_attention import (
    LINEAR_NOTE,
    SPARSE_NOTE,
    chunk_note,
    read_attention,
    read_gated_delta_net,
    read_mla,
    read_windows,
    state_bytes,
)
from scylla_sim.specs.hf_experts import read_experts
from scylla_sim.specs.hf_families import (
    DEFAULTS,
    HYBRID_TYPES,
    MLA_TYPES,
    UNGATED_TYPES,
    Config,
    mtp_layers,
    number,
    refuse_unknown,
    text_config,
)
from scylla_sim.specs.hf_nemotron import nemotron_h
from scylla_sim.specs.hf_types import check_types
from scylla_sim.specs.layers import MoE
from scylla_sim.specs.model import Model


def _max_context(kind: str, config: Config) -> int:
    """Return the longest context in tokens, with the scaling of the rotary embedding; 0 if unknown.

    Source: ``_get_and_verify_max_len`` of vLLM.
    """
    given = int(config.get("max_position_embeddings") or 0)
    scaling = config.get("rope_scaling") or {}
    scaled = scaling.get("rope_type") or scaling.get("type")
    if scaled not in ("yarn", "linear", "dynamic") or kind.startswith("gemma3"):
        return given
    base = scaling.get("original_max_position_embeddings") if scaled == "yarn" else given
    return max(given, int((base or given) * float(scaling.get("factor") or 1.0)))


def _dense_width(config: Config, moe: MoE | None, name: str) -> int:
    """Return the width of a dense MLP.

    An MoE model without dense layers may leave it out. The MLP of a draft head then has the width of the experts
    that process one token.
    """
    if config.get("intermediate_size_mlp"):  # Llama 4
        return number(config, "intermediate_size_mlp", name)
    if moe is not None and moe.dense_layers == 0 and config.get("intermediate_size") is None:
        return moe.experts_per_token * moe.intermediate_size
    return number(config, "intermediate_size", name)


def model_from_config(name: str, config: Config) -> Model:
    """Return the model that a Hugging Face ``config.json`` describes.

    A config without ``model_type`` describes a Llama. For a multimodal model the function returns the text model.

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
    kind, text, notes = text_config(config, name)
    refuse_unknown(kind, text, name)
    check_types(text, name)
    given: dict[str, Any] = {**DEFAULTS.get(kind, {}), **text}
    if kind == "nemotron_h":
        return nemotron_h(given, name)
    layers, heads = number(given, "num_hidden_layers", name), number(given, "num_attention_heads", name)
    hidden = number(given, "hidden_size", name)
    moe = read_experts(kind, given, layers, name)
    mla = read_mla(kind, given, layers, name) if kind in MLA_TYPES else None
    linear = read_gated_delta_net(kind, given, layers, name)
    attention = read_attention(kind, given, layers, name)
    windows = () if attention or linear else read_windows(kind, given, layers, name)
    if kind == "llama4_text" and any(windows):
        notes = (*notes, chunk_note(windows))
    if linear is not None:
        notes = (*notes, LINEAR_NOTE, *state_bytes(given)[1])
    if mla is not None and mla.indexer is not None:
        notes = (*notes, SPARSE_NOTE)
    return Model(
        name=name,
        num_layers=layers,
        hidden_size=hidden,
        intermediate_size=_dense_width(given, moe, name),
        num_heads=heads,
        num_kv_heads=given.get("num_key_value_heads") or heads,
        head_dim=mla.value_dim if mla else given.get("head_dim") or hidden // max(heads, 1),
        vocab_size=number(given, "vocab_size", name),
        tied_embeddings=bool(given.get("tie_word_embeddings", False)),
        max_context=_max_context(kind, given),
        moe=moe,
        mla=mla,
        windows=windows,
        attention=attention,
        linear=linear,
        output_gate=kind in HYBRID_TYPES and bool(given.get("attn_output_gate", True)),
        gated_mlp=kind not in UNGATED_TYPES,
        mtp_layers=mtp_layers(given),
        notes=notes,
    )
