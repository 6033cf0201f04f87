"""Checks of a context against a model, and the assumptions behind costs of models, drafts and attention."""

from __future__ import annotations

from collections.abc import Sequence

from scylla_sim.acceptance.speculative_config import SpeculativeConfig
from scylla_sim.checks import fail, whole
from scylla_sim.prediction import weight_only
from scylla_sim.prediction.steps import Deployment
from scylla_sim.prediction.throughput import Prediction, predict_each
from scylla_sim.specs.attention_backend import AttentionBackend
from scylla_sim.specs.draft import Draft
from scylla_sim.specs.engine_support import support_notes
from scylla_sim.specs.model import Model


def _longest(context: int | Sequence[int]) -> int:
    return max(whole("context", context, 1).ravel().tolist(), default=0)


def check_context(model: Model, context: int | Sequence[int]) -> None:
    """Raise for a context that exceeds the positions of a model."""
    longest = _longest(context)
    if model.max_context and longest > model.max_context:
        rule = f"exceeds the {model.max_context} positions of {model.name}"
        raise fail("context", longest, rule, "allow it with --allow-long-context")


def model_notes(model: Model, context: int | Sequence[int]) -> list[str]:
    """Return the assumptions behind a model's costs, and a note on contexts beyond its positions."""
    longest = _longest(context)
    if model.max_context and longest > model.max_context:
        return [*model.notes, f"context {longest} is beyond the {model.max_context} positions of {model.name}"]
    return list(model.notes)


def draft_notes(draft: Draft, target: Model, context: int | Sequence[int]) -> list[str]:
    """Return notes on how a draft was read, and on what is assumed about it."""
    notes = list(draft.notes)
    words = draft.model.vocab_size if draft.model is not None else target.vocab_size
    if words != target.vocab_size:
        notes.append(
            f"draft {draft.name} has a vocabulary of {words} and {target.name} one of {target.vocab_size}; "
            "check that they belong together"
        )
    longest, limit = _longest(context), draft.model.max_context if draft.model is not None else 0
    if limit and longest > limit:
        notes.append(
            f"context {longest} is beyond the {limit} positions of draft {draft.name}; its acceptance may be lower"
        )
    if draft.kind == "block":
        notes.append(
            "the host work of block drafters is derived from one published source per engine, so its interval is "
            "wide"
        )
    if draft.is_hypothetical_mtp(target):
        notes.append(
            f"the config of {target.name} has no MTP layers; the prediction is for a hypothetical MTP head of its "
            "shape, and engines cannot run it"
        )
    return notes


def backend_notes(predictions: Sequence[Prediction]) -> list[str]:
    """Return the remarks on the kernels that verify and that no published or measured row describes, each once."""
    backends = [prediction.verify.attention_backend for prediction in predictions]
    deployment = predictions[0].deployment
    if weight_only.applies(deployment.dtype, deployment.engine.framework):
        return [*_remarks(backends), weight_only.NOTE]
    return _remarks(backends)


def _remarks(backends: Sequence[AttentionBackend | None]) -> list[str]:
    return list(dict.fromkeys(f"{one.kernels}: {one.note}" for one in backends if one is not None and one.note))


def engine_notes(predictions: Sequence[Prediction]) -> list[str]:
    """Return a note if the engine cannot run the draft of the predictions, or a tree among them."""
    configs = [prediction.config for prediction in predictions]
    return support_notes(predictions[0].engine, configs[0].draft, trees=any(item.top_k > 1 for item in configs))


def deployment_notes(
    model: Model, configs: Sequence[SpeculativeConfig], target: Deployment, draft: Deployment | None = None
) -> list[str]:
    """Return the notes of a search over configurations: kernels without a published row, and unsupported drafts.

    Parameters
    ----------
    model, configs
        Target model, and the configurations, which share one draft.
    target, draft
        Deployment of the target, and that of the draft if it differs.
    """
    one = list(predict_each(model, configs[-1:], target, batch=1, context=1, draft_deployment=draft))
    trees = any(config.top_k > 1 for config in configs)
    return backend_notes(one) + support_notes(target.engine, configs[-1].draft, trees=trees)
