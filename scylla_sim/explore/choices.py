"""What a visitor of the page can choose, and why some of it is not offered."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from scylla_sim.checks import InputError
from scylla_sim.ops.forward import check_tensor_parallel
from scylla_sim.prediction.scenario import Scenario
from scylla_sim.specs import catalog
from scylla_sim.specs.dtypes import WEIGHT_PRECISIONS
from scylla_sim.specs.engine_support import no_trees, unsupported
from scylla_sim.specs.model import Model

TREES = ("eagle2", "scylla")
"""Draft methods that are trees."""
RANKS = (1, 2, 4, 8)
"""TP ranks on offer."""
MAX_DRAFT_SHARE = 0.3
"""Largest share of the target's weights that a draft model on offer has."""

Choices = dict[str, list[tuple[str, str]]]
"""Name of a choice -> pairs of a value and the reason why it is not offered; empty if it is."""


def _reason(scenario: Scenario) -> str:
    """Return why a scenario cannot run; empty if it can."""
    try:
        target = scenario.deployments()[0]
        check_tensor_parallel(scenario.target_model(), target.tp)
        if target.tp > 1 and target.calibration.hardware.link_bytes_per_s <= 0:
            return "no link between GPUs"
    except InputError as error:
        return str(error)
    return ""


def _draft_models(target: Model) -> Iterable[str]:
    """Yield the catalog models that can draft for a target: smaller, with its vocabulary."""
    for name in catalog.names("models"):
        draft = catalog.model(name)
        if draft.vocab_size == target.vocab_size and draft.parameters < MAX_DRAFT_SHARE * target.parameters:
            yield name


def _drafts(scenario: Scenario) -> list[tuple[str, str]]:
    """Return the draft methods and models, each with the reason why it cannot run."""
    target, engine = scenario.target_model(), scenario.deployments()[0].engine
    found = []
    for name in catalog.names("drafts"):
        if name == "none":
            continue
        draft = catalog.draft(name)
        reason = "the model has no MTP layers" if draft.is_hypothetical_mtp(target) else ""
        if name in TREES:
            reason = no_trees(engine, draft, target)
        found.append((name, reason or unsupported(engine.framework, draft)))
    return found + [(name, unsupported(engine.framework, catalog.draft(name))) for name in _draft_models(target)]


def choices_of(scenario: Scenario) -> Choices:
    """Return the choices of the page around a scenario."""
    alone = replace(scenario, draft="none")
    precisions = [(name, _reason(replace(alone, precision=name))) for name in WEIGHT_PRECISIONS]
    return {
        "model": [(name, "") for name in catalog.names("models")],
        "hardware": [(name, "") for name in catalog.names("hardware") if name != "local"],
        "tp": [(str(tp), _reason(replace(alone, tp=tp))) for tp in RANKS],
        "precision": precisions,
        "draft": _drafts(scenario),
        "engine": [(name, "") for name in catalog.names("engines")],
    }
