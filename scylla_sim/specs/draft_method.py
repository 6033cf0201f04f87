"""The method of a draft, from the architecture that its ``config.json`` declares.

Notes
-----
Sources: sgl-project/SpecForge, commit a6b6b023, specforge/modeling/draft; vllm-project/vllm,
model_executor/models/registry.py (``_SPECULATIVE_DECODING_MODELS``); vllm-project/speculators, commit c05b95b3,
src/speculators/models.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scylla_sim.checks import InputError, fail

Config = Mapping[str, Any]
"""Content of a ``config.json``."""

ARCHITECTURES = {
    "EagleLlamaForCausalLM": "eagle",
    "LlamaForCausalLMEagle": "eagle",
    "EAGLEModel": "eagle",
    "Eagle3LlamaForCausalLM": "eagle3",
    "LlamaForCausalLMEagle3": "eagle3",
    "Eagle3Qwen2_5vlForCausalLM": "eagle3",
    "Eagle3Qwen3vlForCausalLM": "eagle3",
    "Eagle3MiniMaxM2ForCausalLM": "eagle3",
    "Eagle3Speculator": "eagle3",
    "PEagleDraftModel": "p-eagle",
    "PeagleLlamaForCausalLM": "p-eagle",
    "PEagleSpeculator": "p-eagle",
    "DFlashDraftModel": "dflash",
    "DFlashSpeculator": "dflash",
    "DSparkDraftModel": "dspark",
    "Qwen3DSparkModel": "dspark",
    "DSparkSpeculator": "dspark",
    "DominoDraftModel": "domino",
    "DeepseekV3ForCausalLMNextN": "mtp",
    "DeepSeekMTPModel": "mtp",
    "Glm4MoeForCausalLMNextN": "mtp",
    "Glm4MoeMTPModel": "mtp",
    "MiMoMTP": "mtp",
    "MiMoMTPModel": "mtp",
    "Qwen3NextMTP": "mtp",
    "Qwen3NextForCausalLMMTP": "mtp",
    "Qwen3_5MTP": "mtp",
    "Qwen3_5MoeMTP": "mtp",
    "MTPDraftModel": "mtp",
    "Lfm2DSparkDraftModel": "dspark",
    "MedusaModel": "medusa",
    "MLPSpeculatorPreTrainedModel": "mlp_speculator",
}
"""Architecture of a draft -> its method."""

SPECULATORS = {"eagle3": "eagle3", "peagle": "p-eagle", "dflash": "dflash", "dspark": "dspark", "mtp": "mtp"}
"""``speculators_model_type`` of the speculators format -> method."""

_MARKS = ("eagle", "mtp", "nextn", "medusa", "speculator", "draft", "dflash", "dspark", "domino", "hydra", "hass")
"""Parts of the names of architectures that are drafts."""

_DRAFT_KEYS = ("draft_vocab_size", "eagle_config", "dflash_config", "medusa_num_heads", "speculators_config")
"""Keys that only the configs of drafts have."""


def declared_method(config: Config, name: str) -> str | None:
    """Return the method that a config declares; ``None`` if nothing says that it is a draft's.

    Raises
    ------
    InputError
        For a draft whose architecture is not known.

    Examples
    --------
    >>> declared_method({"architectures": ["LlamaForCausalLMEagle3"]}, "head")
    'eagle3'
    """
    kind = config.get("speculators_model_type")
    if kind is not None:
        if kind not in SPECULATORS:
            raise _unknown("speculators_model_type", kind, name)
        return SPECULATORS[kind]
    named = config.get("architectures")
    architecture = str(named[0]) if isinstance(named, list) and named else ""
    if architecture in ARCHITECTURES:
        return ARCHITECTURES[architecture]
    if config.get("model_type") in ("medusa", "mlp_speculator"):
        return str(config["model_type"])
    if "medusa_num_heads" in config:
        return "medusa"
    if any(mark in architecture.lower() for mark in _MARKS):
        raise _unknown("architecture", architecture, name)
    if config.get("draft_vocab_size") and config.get("num_hidden_layers") == 1:
        return "eagle3"
    for key in _DRAFT_KEYS:
        if config.get(key):
            raise _unknown("architecture", architecture, name)
    return "eagle" if config.get("model_type") == "eagle" else None


def _unknown(key: str, value: str, name: str) -> InputError:
    known = ", ".join(sorted(set(ARCHITECTURES.values())))
    return fail(f"draft {key}", value, f"is not modelled ({name})", f"modelled: {known}")
