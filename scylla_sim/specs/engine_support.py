"""Drafts that an engine cannot run.

Notes
-----
vLLM: tree attention was removed (#42121), and MLP speculators are disabled in model_executor/models/registry.py.
"""

from __future__ import annotations

from scylla_sim.specs.draft import Draft
from scylla_sim.specs.engine import Engine

UNSUPPORTED = {
    "vllm": {
        "domino": "this package knows no setting of vLLM for Domino",
        "mlp_speculator": "vLLM disables MLP speculators (model_executor/models/registry.py)",
    },
    "sglang": {
        "medusa": "SGLang has no Medusa heads",
        "p-eagle": "this package knows no setting of SGLang for P-EAGLE",
        "mlp_speculator": "this package knows no setting of SGLang for MLP speculators",
    },
}
"""Methods that an engine cannot run: framework -> method -> reason."""

NO_TREES = {"vllm-2026": "vLLM drafts chains only, without tree attention (vLLM #42121)"}
"""Presets that cannot verify trees, with the reason."""


def unsupported(framework: str, draft: Draft) -> str:
    """Return why a framework cannot run a draft; empty if it can, or if this is not known.

    Examples
    --------
    >>> unsupported("sglang", Draft("medusa", "medusa", num_layers=5))
    'SGLang has no Medusa heads'
    """
    return UNSUPPORTED.get(framework, {}).get(draft.method_name, "")


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
    tree = NO_TREES.get(engine.name, "") if trees else ""
    return [
        f"the prediction is hypothetical: {reason}"
        for reason in (unsupported(engine.framework, draft), tree)
        if reason
    ]
