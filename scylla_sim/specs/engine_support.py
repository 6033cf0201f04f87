"""What an engine can run: drafts, trees, and a draft length that depends on the batch.

Notes
-----
Sources, by engine:

* vLLM. Tree attention, experimental in 2025, was removed (#42121). MLP speculators are disabled in
  model_executor/models/registry.py. The draft length by batch came with #32374, release 0.25.
* SGLang, sources of 2026: ``adaptive_unsupported_reason`` in python/sglang/srt/speculative/adaptive_spec_params.py.
* TensorRT-LLM 1.3: docs/source/features/speculative-decoding.md (methods; EAGLE-1 and EAGLE-2 checkpoints are
  incompatible; dynamic trees of EAGLE-3, not with MLA or sliding windows), and ``support_dynamic_draft_len`` in
  tensorrt_llm/_torch/speculative/interface.py (#10860).
"""

from __future__ import annotations

from scylla_sim.specs.draft import Draft
from scylla_sim.specs.engine import Engine
from scylla_sim.specs.model import Model

FRAMEWORKS = {"vllm": "vLLM", "sglang": "SGLang", "trtllm": "TensorRT-LLM"}
"""Framework of an engine preset -> its name in text."""

_UNKNOWN = "this package knows no setting of {framework} for {method}"

UNSUPPORTED = {
    "vllm": {
        "domino": _UNKNOWN.format(framework="vLLM", method="Domino"),
        "mlp_speculator": "vLLM disables MLP speculators (model_executor/models/registry.py)",
    },
    "sglang": {
        "medusa": "SGLang has no Medusa heads",
        "p-eagle": _UNKNOWN.format(framework="SGLang", method="P-EAGLE"),
        "mlp_speculator": _UNKNOWN.format(framework="SGLang", method="MLP speculators"),
    },
    "trtllm": {
        **dict.fromkeys(
            ("eagle", "eagle2", "scylla"), "TensorRT-LLM runs EAGLE-3 heads, not those of EAGLE-1 and EAGLE-2"
        ),
        "medusa": "TensorRT-LLM's PyTorch backend has no Medusa heads",
        "mlp_speculator": _UNKNOWN.format(framework="TensorRT-LLM", method="MLP speculators"),
        "domino": _UNKNOWN.format(framework="TensorRT-LLM", method="Domino"),
        "dspark": _UNKNOWN.format(framework="TensorRT-LLM", method="DSpark"),
        "p-eagle": _UNKNOWN.format(framework="TensorRT-LLM", method="P-EAGLE"),
    },
}
"""Methods that a framework cannot run: framework -> method -> reason."""

OLDER = {
    "vllm-2023": "vLLM 0.2",
    "vllm-2025": "vLLM up to 0.10",
    "sglang-2025": "SGLang 0.4",
}
"""Presets of versions without a draft length by batch -> the versions."""


FITTED = "-fitted"
"""End of the name of an engine that was fitted to the user's runs, behind the name of its preset."""


def older(engine: str) -> str:
    """Return the versions of an older preset, or of an engine fitted from one; empty for others.

    Examples
    --------
    >>> older("vllm-2025-fitted"), older("vllm-2026")
    ('vLLM up to 0.10', '')
    """
    return OLDER.get(engine.removesuffix(FITTED), "")


def unsupported(framework: str, draft: Draft) -> str:
    """Return why a framework cannot run a draft; empty if it can, or if this is not known.

    Examples
    --------
    >>> unsupported("sglang", Draft("medusa", "medusa", num_layers=5))
    'SGLang has no Medusa heads'
    """
    return UNSUPPORTED.get(framework, {}).get(draft.method_name, "")


def no_trees(engine: Engine, draft: Draft, target: Model | None = None) -> str:
    """Return why an engine cannot verify trees of a draft; empty if it can, or if this is not known.

    Parameters
    ----------
    engine
        Engine of the deployment.
    draft
        The draft.
    target
        Target model; ``None`` leaves its attention out of account.

    Examples
    --------
    >>> head = Draft("eagle3", "head", num_layers=1)
    >>> no_trees(Engine("vllm-2026", framework="vllm"), head)
    'vLLM drafts chains only, without tree attention (vLLM #42121)'
    >>> no_trees(Engine("sglang-2026", framework="sglang"), head)
    ''
    """
    if engine.framework == "vllm" and older(engine.name):
        return f"this package knows no setting for trees of {older(engine.name)}"
    if engine.framework == "vllm":
        return "vLLM drafts chains only, without tree attention (vLLM #42121)"
    if engine.framework != "trtllm":
        return ""
    if draft.method_name != "eagle3":
        return "TensorRT-LLM builds trees of EAGLE-3 heads only"
    if target is not None and (target.mla is not None or any(target.windows)):
        return "TensorRT-LLM has no trees for MLA and sliding windows"
    return ""


def support_notes(engine: Engine, draft: Draft, *, trees: bool) -> list[str]:
    """Return a note if an engine cannot run a draft, or its trees; else nothing.

    Parameters
    ----------
    engine
        Engine of the deployment.
    draft
        The draft.
    trees
        Whether a configuration has more than one candidate per depth.

    Examples
    --------
    >>> support_notes(Engine("vllm-2026", framework="vllm"), Draft("ngram", "ngram"), trees=False)
    []
    """
    tree = no_trees(engine, draft) if trees and not older(engine.name) else ""
    return [
        f"the prediction is hypothetical: {reason}"
        for reason in (unsupported(engine.framework, draft), tree)
        if reason
    ]
