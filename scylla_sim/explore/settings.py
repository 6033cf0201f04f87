"""Engine settings of the page: one text for each draft shape, and a template for a draft length by batch."""

from __future__ import annotations

import json
from typing import Any

from scylla_sim.acceptance.speculative_config import SpeculativeConfig
from scylla_sim.engines.flags import SERVERS, flags
from scylla_sim.engines.setting import BY_BATCH, FIXED, Flags, idle_note
from scylla_sim.explore.grid import configs_of, why_no_trees
from scylla_sim.planning.crossover import Span
from scylla_sim.planning.schedule import Schedule
from scylla_sim.prediction.scenario import Scenario

RANGES, LONGEST = "@RANGES@", "@LONGEST@"
"""Places of the template that the page fills: ranges [first batch, last batch, K] as JSON, and the largest K."""
_NOTES = 3
"""Most notes of a setting on the page."""


def _schedule(spans: list[Span]) -> Schedule:
    """Return a schedule with these spans, as `flags` reads it."""
    config = spans[0].config
    return Schedule([], [], config, 2.0, config, 2.0, spans, spans)


def _settings(scenario: Scenario, spans: list[Span]) -> list[Flags]:
    engine = scenario.deployments()[0].engine
    return flags(
        engine.framework or engine.name,
        scenario.draft_model(),
        found=_schedule(spans),
        target=scenario.target_model(),
        preset=engine.name,
    )


def _text(item: Flags) -> str:
    """Return the command and the file of a setting."""
    file = f"\n{item.file_name}:\n{item.file}" if item.file else ""
    server = f"{item.environment} {SERVERS[item.engine]}".lstrip()
    return f"{server} ... {item.options}{file}" if item.options else ""


def _template(scenario: Scenario, chains: list[SpeculativeConfig]) -> tuple[str, tuple[str, ...]]:
    """Return the template for a draft length by batch, and its notes; empty for an engine without one in JSON."""
    if len(chains) < 2:
        return "", ()
    spans = [Span(1, 7, chains[1]), Span(8, 9, chains[0])]
    found = [item for item in _settings(scenario, spans) if item.scope == BY_BATCH and item.options]
    ranges = json.dumps([[span.first, span.last, span.config.draft_len] for span in spans])
    if not found or ranges not in found[0].options:
        return "", ()
    longest = f'"num_speculative_tokens": {chains[1].draft_len},'
    text = _text(found[0]).replace(ranges, RANGES).replace(longest, longest.replace("2,", f"{LONGEST},"))
    return text, tuple(note for note in found[0].notes if note != idle_note(_schedule(spans)))


def settings_of(scenario: Scenario) -> dict[str, Any]:
    """Return the settings of the page.

    Returns
    -------
    dict
        ``fixed``, one text for each draft shape of the grid but the first; ``by_batch``, a template with `RANGES`
        and `LONGEST`, empty where the page cannot fill one; ``reason`` where the engine cannot run the draft;
        ``notes``; ``left_out``, what is not offered and why.
    """
    configs = [config for config in configs_of(scenario) if config.draft_len]
    if not configs:
        return {"fixed": [], "by_batch": "", "reason": "no draft is chosen", "notes": [], "left_out": ""}
    trees = why_no_trees(scenario)
    left_out = {"left_out": f"trees: {trees}" if trees else ""}
    items = [_settings(scenario, [Span(1, 1, config)]) for config in configs]
    fixed = [next((_text(item) for item in found if item.scope == FIXED), "") for found in items]
    notes = items[0][0].notes
    if not any(fixed):
        reason = notes[0] if notes else "no setting is known"
        return {"fixed": [], "by_batch": "", "reason": reason, "notes": [], **left_out}
    by_batch, more = _template(scenario, [config for config in configs if config.top_k == 1])
    return {"fixed": fixed, "by_batch": by_batch, "reason": "", "notes": [*notes, *more][:_NOTES], **left_out}
