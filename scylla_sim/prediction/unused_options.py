"""Options of drafting that a prediction does not use, in words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from scylla_sim.acceptance.draft_shape import DraftShape, chain_shape
from scylla_sim.acceptance.measured import MeasuredAcceptance
from scylla_sim.checks import fail

DRAFTING_OPTIONS = (
    *("draft_len", "top_k", "verify_tokens", "acceptance", "acceptance_kind", "tokens_per_cycle"),
    *("measured_draft_len", "position_exponent", "reference_tokens_per_cycle", "draft_layers"),
    *("draft_train_tokens", "task"),
)
"""Fields of a scenario that a `SpeculativeConfig` replaces."""

DRAFT_OPTIONS = (*DRAFTING_OPTIONS, "draft_precision", "draft_tp", "expert_overlap")
"""Fields of a scenario without effect if there is no draft."""

DEFAULTS = {"acceptance_kind": "conditional"}
"""Defaults of these fields that are not ``None``."""


def given(options: Mapping[str, object], names: Sequence[str] = DRAFTING_OPTIONS) -> list[str]:
    """Return the names of the options that differ from their defaults.

    Examples
    --------
    >>> given({"top_k": 4, "task": None, "acceptance_kind": "conditional", "batch": 8})
    ['top_k']
    """
    return [name for name in names if options.get(name) != DEFAULTS.get(name)]


def refuse_beside_config(options: Mapping[str, object]) -> None:
    """Raise for a drafting option that a complete `SpeculativeConfig` would override."""
    for name in given(options):
        rule = "must not be given beside a SpeculativeConfig"
        raise fail(name, options[name], rule, "change the configuration")


def notes_without_draft(options: Mapping[str, object]) -> list[str]:
    """Return a note on each option that needs a draft."""
    return [f"{name} is not used without a draft" for name in given(options, DRAFT_OPTIONS)]


def exponent_notes(measured: MeasuredAcceptance, shapes: Sequence[DraftShape]) -> list[str]:
    """Return a note if an exponent of the user has no effect, because no tau is transferred.

    Examples
    --------
    >>> exponent_notes(MeasuredAcceptance(2.4, 3), [chain_shape(3), chain_shape(5)])
    []
    >>> exponent_notes(MeasuredAcceptance(2.4), [chain_shape(3)])
    ['position_exponent is not used: without measured_draft_len, tokens_per_cycle holds at the predicted shape']
    """
    if measured.tokens_per_cycle is not None:
        length, reason = measured.tau_draft_len, ""
        if length is None:
            reason = "without measured_draft_len, tokens_per_cycle holds at the predicted shape"
        elif all(shape == chain_shape(length) for shape in shapes):
            reason = "tokens_per_cycle was measured at this shape"
    else:
        rates = 0 if measured.rates is None else measured.rates.size
        reason = "acceptance is given for every position"
        reason = reason if rates >= max(shape.draft_len for shape in shapes) > 0 else ""
    return [f"position_exponent is not used: {reason}"] if reason else []
