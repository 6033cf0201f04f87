"""Drafts from their ``config.json``: EAGLE heads, MTP modules, block drafters, Medusa and MLP speculators.

`draft_from_config` reads the formats of EAGLE, SpecForge, speculators, vLLM and SGLang. It refuses an architecture
that it does not know.

Notes
-----
Sources of the fields: sgl-project/SpecForge, commit a6b6b023, specforge/modeling/draft; vllm-project/vllm,
model_executor/models/medusa.py and mlp_speculator.py; vllm-project/speculators, commit c05b95b3,
src/speculators/models.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from scylla_sim.checks import fail
from scylla_sim.specs.draft import Block, Draft, TokenHead
from scylla_sim.specs.draft_method import Config, declared_method
from scylla_sim.specs.hf_config import model_from_config
from scylla_sim.specs.hf_types import check_types
from scylla_sim.specs.model import Model

_LAYER_DEFAULTS: Mapping[str, Config] = {
    "llama": {
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_attention_heads": 32,
        "vocab_size": 32000,
    },
    "qwen3": {
        "hidden_size": 4096,
        "intermediate_size": 22016,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "head_dim": 128,
        "vocab_size": 151936,
    },
}
"""Values that the speculators format leaves out of ``transformer_layer_config``.

The format stores differences from the defaults of the configuration classes of Hugging Face transformers.
"""

_LAYER_KEYS = (
    *("hidden_size", "intermediate_size", "num_attention_heads", "num_key_value_heads", "head_dim", "vocab_size"),
    *("num_hidden_layers", "max_position_embeddings", "tie_word_embeddings"),
)
_WINDOW_KEYS = ("layer_types", "sliding_window", "use_sliding_window", "max_window_layers")


def _is_one_llama_layer(config: Config) -> bool:
    """Return whether a config declares a language model of one decoder layer, as the files of EAGLE-1 heads do.

    Those files name their ``architectures``. Shapes that ``gpu-validate curves`` writes name none and are models.
    """
    one = config.get("num_hidden_layers") == 1 and bool(config.get("architectures"))
    return one and config.get("model_type") in ("llama", "qwen2", "mistral", None)


def _size(config: Config, key: str, name: str) -> int:
    """Return a positive whole number of a config."""
    value = config.get(key)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise fail(key, value, f"must be a whole number of at least 1 in the config of draft {name}")
    return value


def _layers(config: Config, name: str, *, windows: bool = False) -> Model:
    """Return the dense decoder layers of a draft.

    The classes of the drafts fix the form of the layers. Keys for experts and other forms do not apply to them.
    """
    nested = config.get("transformer_layer_config") or config.get("model")
    given = dict(nested) if isinstance(nested, Mapping) else dict(config)
    kind = "qwen3" if windows else "llama"
    if "transformer_layer_config" in config:
        stored = str(given.get("model_type", "qwen3"))
        if stored not in _LAYER_DEFAULTS:
            raise fail("transformer_layer_config model_type", stored, f"is not modelled (draft {name})")
        given = {**_LAYER_DEFAULTS[stored], **given}
    keys = (*_LAYER_KEYS, *_WINDOW_KEYS) if windows else _LAYER_KEYS
    return model_from_config(name, {"model_type": kind, **{key: given[key] for key in keys if key in given}})


def _own_shape(config: Config, layers: Model) -> dict[str, Any]:
    """Return the fields of a draft that its decoder layers and its target's width determine."""
    target = int(config.get("target_hidden_size") or layers.hidden_size)
    return {"num_layers": layers.num_layers, "model": layers, "target_hidden_size": target}


def _reduced_vocabulary(config: Config, layers: Model) -> int:
    """Return the size of the draft's vocabulary; 0 for the vocabulary of the target."""
    size = int(config.get("draft_vocab_size") or config.get("truncated_vocab_size") or 0)
    return 0 if size == layers.vocab_size else size


def _feature_layers(config: Config, keys: tuple[str, ...], parts: tuple[str, ...]) -> list[int] | None:
    """Return the target's layers whose hidden states a draft reads, from the config or a nested part of it."""
    for given in (config, *(config.get(part) or {} for part in parts)):
        for key in keys:
            if given.get(key):
                return list(given[key])
    return None


def _eagle1(name: str, config: Config) -> Draft:
    layers = _layers(config, name)
    note = f"draft {name} is read as an EAGLE-1 head: {layers.num_layers} decoder layer on the target's features"
    return Draft(
        name,
        "head",
        method="eagle",
        vocab_size=_reduced_vocabulary(config, layers),
        notes=(note,),
        **_own_shape(config, layers),
    )


def _eagle3_fields(name: str, config: Config) -> dict[str, Any]:
    """Return the fields that EAGLE-3 and P-EAGLE share."""
    layers = _layers(config, name)
    if (config.get("eagle_config") or {}).get("use_aux_hidden_state") is False:
        raise fail("use_aux_hidden_state", False, f"is not modelled (draft {name})", "EAGLE-3 joins hidden states")
    read = _feature_layers(config, ("eagle_aux_hidden_state_layer_ids",), ("eagle_config",))
    shape = _own_shape(config, layers)
    return {
        **shape,
        "fused_features": 3 if read is None else len(read),
        "vocab_size": _reduced_vocabulary(config, layers),
        "reads_target_head": False,
        "own_embedding": shape["target_hidden_size"] != layers.hidden_size,
    }


def _eagle3(name: str, config: Config) -> Draft:
    fields = _eagle3_fields(name, config)
    words = fields["vocab_size"] or fields["model"].vocab_size
    note = (
        f"draft {name} is read as an EAGLE-3 head: {fields['fused_features']} features of the target, "
        f"a vocabulary of {words}"
    )
    return Draft(name, "head", method="eagle3", notes=(note,), **fields)


def _peagle(name: str, config: Config) -> Draft:
    fields = {**_eagle3_fields(name, config), "own_embedding": True}
    note = (
        f"draft {name} is read as P-EAGLE: {fields['num_layers']} decoder layers, one pass for all drafted tokens"
    )
    block = Block(0, projects_context=False)
    return Draft(name, "block", method="p-eagle", block=block, notes=(note,), **fields)


def _block(name: str, config: Config, method: str) -> Draft:
    """Return a DFlash, DSpark or Domino draft."""
    layers = _layers(config, name, windows=True)
    part = config.get("dflash_config") or {}
    read = _feature_layers(config, ("target_layer_ids", "aux_hidden_state_layer_ids"), ("dflash_config",))
    size = _size({**part, **config}, "block_size", name)
    if method == "dspark":
        block = Block(size, bool(config.get("sample_from_anchor", True)), token_head=_markov({**part, **config}))
    elif method == "domino":
        state = _size({**config, **part}, "gru_hidden_dim", name)
        block = Block(size, token_head=TokenHead("gru", _size({**config, **part}, "emb_dim", name), state))
    else:
        block = Block(size, bool(config.get("sample_from_anchor", False)))
    vocabulary = _reduced_vocabulary(config, layers)
    note = (
        f"draft {name} is read as {method}: {layers.num_layers} decoder layers, one pass for a block of at most "
        f"{block.max_len} drafted tokens"
    )
    return Draft(
        name,
        "block",
        method=method,
        fused_features=layers.num_layers if read is None else len(read),
        vocab_size=vocabulary,
        reads_target_head=not vocabulary,
        block=block,
        notes=(note,),
        **_own_shape(config, layers),
    )


def _dflash(name: str, config: Config) -> Draft:
    return _block(name, config, "dflash")


def _dspark(name: str, config: Config) -> Draft:
    return _block(name, config, "dspark")


def _domino(name: str, config: Config) -> Draft:
    return _block(name, config, "domino")


def _markov(config: Config) -> TokenHead | None:
    """Return the Markov head of DSpark; ``None`` for rank 0."""
    rank = int(config.get("markov_rank") or 0)
    kinds = {"vanilla": "markov", "gated": "gated", "rnn": "rnn"}
    kind = str(config.get("markov_head_type", "vanilla"))
    if kind not in kinds:
        raise fail("markov_head_type", kind, "is not modelled", f"modelled: {', '.join(kinds)}")
    return TokenHead(kinds[kind], rank) if rank else None


def _mtp(name: str, config: Config) -> Draft:
    nested = config.get("transformer_layer_config") or config
    note = f"draft {name} is read as an MTP module: one decoder layer of the target's shape"
    hidden = int(nested.get("hidden_size") or 0)
    return Draft(name, "head", 1, keeps_experts=True, method="mtp", target_hidden_size=hidden, notes=(note,))


def _medusa(name: str, config: Config) -> Draft:
    key = "num_heads" if "num_heads" in config else "medusa_num_heads"
    heads = _size(config, key, name)
    blocks = int(config.get("num_hidden_layers") or config.get("medusa_num_layers") or 1)
    full, kept = int(config.get("vocab_size") or 0), int(config.get("truncated_vocab_size") or 0)
    note = f"draft {name} is read as Medusa: {heads} heads with {blocks} residual block(s) each"
    return Draft(
        name,
        "medusa",
        heads,
        vocab_size=0 if kept == full else kept,
        reads_target_head=bool(config.get("original_lm_head", False)),
        method="medusa",
        target_hidden_size=int(config.get("hidden_size") or 0),
        blocks_per_head=blocks,
        notes=(note,),
    )


def _mlp(name: str, config: Config) -> Draft:
    width = _size(config, "emb_dim" if "emb_dim" in config else "hidden_size", name)
    stages = _size(config, "n_predict", name)
    note = f"draft {name} is read as an MLP speculator of {stages} stages"
    return Draft(
        name,
        "mlp",
        stages,
        reads_target_head=False,
        method="mlp_speculator",
        target_hidden_size=width,
        inner_size=int(config.get("inner_dim") or width),
        tied_stages=bool(config.get("tie_weights", False)),
        notes=(note,),
    )


READERS: Mapping[str, Callable[[str, Config], Draft]] = {
    "eagle": _eagle1,
    "eagle3": _eagle3,
    "p-eagle": _peagle,
    "dflash": _dflash,
    "dspark": _dspark,
    "domino": _domino,
    "mtp": _mtp,
    "medusa": _medusa,
    "mlp_speculator": _mlp,
}
"""Method -> reader of its config."""


def draft_from_config(name: str, config: Config) -> Draft:
    """Return the draft that a ``config.json`` describes.

    Parameters
    ----------
    name
        Name of the draft, for `Draft.name` and messages.
    config
        Keys and values of the ``config.json``. A language model's config gives an independent model.

    Raises
    ------
    InputError
        For an architecture or an option that is not modelled, and for a missing key.

    Notes
    -----
    A Llama of one decoder layer is read as an EAGLE-1 head if the config names its ``architectures``, because the
    files of these heads declare a Llama.
    DSpark's confidence head is left out. It has ``hidden_size + markov_rank`` weights.

    Examples
    --------
    >>> sizes = {"hidden_size": 4096, "intermediate_size": 14336, "num_attention_heads": 32, "vocab_size": 128256}
    >>> head = {"architectures": ["LlamaForCausalLMEagle3"], "num_hidden_layers": 1, "draft_vocab_size": 32000}
    >>> draft = draft_from_config("head", {**sizes, **head, "num_key_value_heads": 8})
    >>> draft.kind, draft.method, draft.fused_features, draft.vocab_size
    ('head', 'eagle3', 3, 32000)
    """
    method = declared_method(config, name)
    if method is None and _is_one_llama_layer(config):
        method = "eagle"
    if method is None:
        model = model_from_config(name, config)
        return Draft(name, "model", method="draft_model", model=model, reads_target_head=False)
    check_types(config, name)
    return READERS[method](name, config)
