"""Checks of a context against a model, and the assumptions behind the model's costs."""

from __future__ import annotations

from collections.abc import Sequence

from scylla_sim.checks import fail, whole
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
