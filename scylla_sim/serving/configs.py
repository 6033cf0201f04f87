"""Configurations of drafting under a load: by batch, and for each class of requests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from scylla_sim.acceptance.speculative_config import SpeculativeConfig
from scylla_sim.checks import fail
from scylla_sim.prediction import unused_options
from scylla_sim.prediction.scenario import Scenario
from scylla_sim.prediction.steps import Deployment
from scylla_sim.serving.batching import MIXED, PREFILL_FIRST
from scylla_sim.serving.load import Load
from scylla_sim.specs.scheduler import SchedulerDefaults, scheduler_defaults

Configs = Mapping[int, SpeculativeConfig]
"""First batch of a range of batches -> configuration."""


def configs_of(scenario: Scenario, schedule: Mapping[int, int] | None) -> tuple[Configs, list[str]]:
    """Return the configuration of each range of batches, and remarks.

    Raises
    ------
    InputError
        If the scenario has several configurations, or a draft length beside a schedule.
    """
    if schedule:
        if scenario.draft_len is not None:
            raise fail("draft_len", scenario.draft_len, "must not be given beside a schedule")
        if scenario.draft == "none":
            raise fail("schedule", dict(schedule), "needs a draft", "give draft")
        lengths = list(dict.fromkeys(schedule.values()))
        found, notes = replace(scenario, draft_len=lengths).speculative_configs()
        by_length = dict(zip(lengths, found))
        return {start: by_length[length] for start, length in schedule.items()}, notes
    found, notes = scenario.speculative_configs()
    if found[0].draft.kind == "none":
        notes = [*notes, *unused_options.notes_without_draft(vars(scenario))]
    if len(found) > 1:
        raise fail("draft_len", [one.draft_len for one in found], "must be one value", "compare runs of each")
    return {1: found[0]}, notes


def defaults_of(deployment: Deployment) -> SchedulerDefaults:
    """Return the limits of the scheduler of a deployment whose user sets none."""
    return scheduler_defaults(deployment.engine, deployment.calibration.hardware)


def policy_of(deployment: Deployment, policy: str | None = None) -> str:
    """Return how an engine schedules prompts: SGLang reads them first, other engines beside decodes."""
    if policy is not None:
        return policy
    return PREFILL_FIRST if defaults_of(deployment).prefill_first else MIXED


def class_configs(
    scenario: Scenario, load: Load, name: str, *, configs: Configs, schedule: Mapping[int, int] | None
) -> Configs:
    """Return the configurations with the acceptance of one class, at the draft lengths of the scenario."""
    own = load.acceptance.get(name, {})
    if not own:
        return configs
    if configs[1].draft.kind == "none":
        key, value = next(iter(own.items()))
        raise fail(key, value, f"of class {name!r} needs a draft")
    cleared = replace(scenario, **{"acceptance": None, "tokens_per_cycle": None, **own})
    if not schedule:
        cleared = replace(cleared, draft_len=configs[1].draft_len)
    return configs_of(cleared, schedule)[0]
