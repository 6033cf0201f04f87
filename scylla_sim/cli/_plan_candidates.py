"""Candidates of ``scylla-sim plan``: drafts on every device, precision and number of TP ranks that can run them."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from scylla_sim.acceptance.measured import measured_acceptance
from scylla_sim.acceptance.speculative_config import SpeculativeConfig
from scylla_sim.checks import InputError, fail, in_range, one_of, whole
from scylla_sim.cli import _options
from scylla_sim.console import assignments, counts, name_list
from scylla_sim.ops import forward
from scylla_sim.planning.capacity import Candidates
from scylla_sim.prediction.model_notes import deployment_notes
from scylla_sim.prediction.scenario import Scenario
from scylla_sim.prediction.unused_options import notes_without_draft
from scylla_sim.records import read_text
from scylla_sim.specs import catalog
from scylla_sim.specs.dtypes import WEIGHT_PRECISIONS
from scylla_sim.specs.model import Model
from scylla_sim.specs.other_words import known_word
from scylla_sim.text.formats import parse_toml

CHAINS = tuple(range(1, 8))
"""Draft lengths to consider by default, as ``schedule`` does."""
MAX_NAMED = 4
"""Candidates that a line names."""


@dataclass(frozen=True)
class Gathered:
    """Candidates of a command line.

    Attributes
    ----------
    groups
        Configurations of one draft on one deployment each.
    skipped
        Reason -> number of deployments that cannot run the model for it.
    notes
        Assumptions.
    texts
        Name of a device or a draft -> its text on the command line.
    acceptance
        Draft on the command line -> the text of its acceptance.
    """

    groups: list[Candidates]
    skipped: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    texts: dict[str, str] = field(default_factory=dict)
    acceptance: dict[str, str | None] = field(default_factory=dict)

    def skipped_lines(self) -> list[str]:
        """Return one line for each reason, the most frequent first."""
        return [f"{count} skipped: {reason}" for reason, count in self.skipped.most_common()]


def named(names: Iterable[str], *, every: bool = False) -> str:
    """Return names in one line, each once and with its number; others are counted unless ``every`` is set.

    Examples
    --------
    >>> named(["1x l4 bf16", "1x l4 bf16", "2x l4 bf16"])
    '1x l4 bf16 (2), 2x l4 bf16'
    """
    counted = [name if count == 1 else f"{name} ({count})" for name, count in Counter(names).items()]
    shown = counted if every else counted[:MAX_NAMED]
    more = len(counted) - len(shown)
    return ", ".join(shown) + (f" and {more} others (--all)" if more else "")


def prices_of(text: str | None, hardware: list[str]) -> dict[str, float]:
    """Return the price per GPU-hour by hardware name, from ``NAME=P,NAME=P`` or a TOML file of such lines.

    A file may name hardware that is no candidate.
    """
    if text is not None and Path(text).is_file():
        return _prices_of_file(Path(text), hardware)
    if text and "=" not in text:
        raise fail(
            "price", text, "must be NAME=PRICE", f"for example {hardware[0]}=2.5, or a TOML file of such lines"
        )
    given = assignments("price", text or "")
    return {
        one_of("price", catalog.canonical_name("hardware", name), hardware): _price(f"{name}={value}", value)
        for name, value in given.items()
    }


def _prices_of_file(path: Path, hardware: list[str]) -> dict[str, float]:
    table = parse_toml(
        read_text(path, option="price"), str(path), option="price", hint="write lines such as h100-sxm = 2.5"
    )
    found = {
        catalog.canonical_name("hardware", name): _price(f"{name}={value}", value) for name, value in table.items()
    }
    if not set(found) & set(hardware):
        raise fail("price", str(path), f"must name one of {', '.join(hardware)}")
    return {name: price for name, price in found.items() if name in hardware}


def _price(text: str, value: object) -> float:
    try:
        price = float(str(value))
    except ValueError:
        raise fail("price", text, "must be NAME=NUMBER") from None
    return float(in_range("price", price, 0, 1e9, above=True))


def hardware_names(args: argparse.Namespace) -> tuple[list[str], list[str]]:
    """Return the hardware to consider, by the names of the catalog, and notes on other names."""
    names = name_list(args.hardware)
    if not names:
        raise fail("hardware", args.hardware, "must name at least one device")
    notes = [text for name in names for text in Scenario(args.model, hardware=name).name_notes()]
    known, twice = _options.once("hardware", [catalog.canonical_name("hardware", name) for name in names])
    return known, notes + twice


def _scenario(args: argparse.Namespace, draft: str, acceptance: str | None, **replaced: object) -> Scenario:
    return Scenario(**_options.scenario_options(args, draft=draft, acceptance=acceptance, **replaced))


def lengths_of(scenario: Scenario) -> Any:
    """Return the draft lengths to consider: those given, else 1 to 7, as far as draft and measurement go.

    A tree, and tokens per cycle that hold at one length, keep their default.
    """
    draft = scenario.draft_model()
    if scenario.draft_len is not None or scenario.tokens_per_cycle is not None or draft.kind == "none":
        return scenario.draft_len
    if scenario.draft_shapes()[0].top_k > 1:
        return None
    known = measured_acceptance(
        scenario.acceptance,
        scenario.acceptance_kind,
        tokens_per_cycle=None,
        measured_draft_len=scenario.measured_draft_len,
    ).draft_len
    most = min(length for length in (known, draft.max_len, CHAINS[-1]) if length)
    longest = [draft.max_len] if draft.single_pass and not known and draft.max_len > most else []
    return [length for length in CHAINS if length <= most] + longest


def gather(args: argparse.Namespace, model: Model, names: list[str]) -> Gathered:
    """Return the candidates of a command line.

    Raises
    ------
    InputError
        For an option that no candidate can have; and if no deployment can run the model, for the first reason.
    """
    drafts = list(dict.fromkeys(name_list(args.draft))) or ["none"]
    acceptance = _options.acceptance_of(args.acceptance, drafts)
    precisions = [None] if args.precision is None else name_list(args.precision)
    for precision in precisions:
        if precision is not None:
            known_word("precision", precision, WEIGHT_PRECISIONS)
    ranks, twice = _options.once("tp", whole("tp", counts("tp", args.tp), 1).tolist())
    configs: dict[str, list[SpeculativeConfig]] = {}
    found = Gathered([], notes=twice, acceptance=acceptance)
    for draft in drafts:
        first = _scenario(args, draft, acceptance[draft], hardware=names[0], tp=1, precision=precisions[0])
        configs[draft], remarks = replace(first, draft_len=lengths_of(first)).speculative_configs()
        found.notes.extend(remarks)
        found.texts[configs[draft][0].draft.name] = draft
    if drafts == ["none"]:
        found.notes.extend(notes_without_draft(vars(args)))
    for name in names:
        for precision in precisions:
            for tp in ranks:
                try:
                    found.groups.extend(
                        _on_device(
                            model,
                            configs,
                            {
                                draft: _scenario(
                                    args, draft, acceptance[draft], hardware=name, tp=tp, precision=precision
                                )
                                for draft in configs
                            },
                            found.notes,
                        )
                    )
                except InputError as error:
                    found.skipped[f"{name}, {error}"] += len(configs)
        found.texts.update({each.deployment.calibration.hardware.name: name for each in found.groups[-1:]})
    if not found.groups:
        raise InputError(next(iter(found.skipped)).partition(", ")[2])
    found.notes.extend(
        text
        for each in found.groups
        for text in deployment_notes(model, each.configs, each.deployment, each.draft_deployment)
    )
    return found


def _on_device(
    model: Model, configs: dict[str, list[SpeculativeConfig]], scenarios: dict[str, Scenario], notes: list[str]
) -> list[Candidates]:
    """Return every draft on one device with one number of TP ranks."""
    found = []
    for draft, scenario in scenarios.items():
        target, where = scenario.deployments()
        hardware = target.calibration.hardware
        forward.check_tensor_parallel(model, target.tp)
        if target.tp > 1 and hardware.link_bytes_per_s <= 0:
            raise fail("tp", target.tp, f"needs a link between GPUs, and {hardware.name} has none")
        notes += scenario.precision_notes()
        found.append(Candidates(configs[draft], target, where))
    return found
