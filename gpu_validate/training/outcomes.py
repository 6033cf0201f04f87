"""Results of a plan so far: measured drafts, missing points, facts about targets, and weights."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from gpu_validate.training.acceptance import PROFILE_WIDTH, Outcome, rank_profile
from gpu_validate.training.files import load, save
from gpu_validate.training.plans import MAIN, Task
from gpu_validate.training.work import Work, corpus_of


@dataclass(frozen=True)
class Snapshot:
    """One draft at one training point.

    Attributes
    ----------
    task
        Task that trained the draft.
    arm
        Index of the draft in ``task.arms``.
    tokens
        Training tokens so far.
    parameters
        Trained weights of the draft.
    outcome
        Measured acceptance.
    """

    task: Task
    arm: int
    tokens: int
    parameters: int
    outcome: Outcome


def _done(work: Work, task: Task) -> dict[str, Any]:
    """Return the saved state of a task."""
    path = work.task_path(task)
    return load(path) if path.exists() else {"outcomes": {}}


def snapshots(work: Work) -> Iterator[Snapshot]:
    """Yield all measured drafts of a plan, task by task."""
    for task in work.plan.tasks:
        done = _done(work, task)
        for tokens in _measured_points(task, done):
            sizes = [flat["weights"].numel() for flat in done["run"]["flats"]]
            for arm, parts in enumerate(done["outcomes"][str(tokens)]):
                ranks = (parts["greedy"].numpy(), parts["sampled"].numpy())
                yield Snapshot(task, arm, tokens, sizes[arm], Outcome(ranks, parts["passed"].numpy()))


def _measured_points(task: Task, done: dict[str, Any]) -> list[int]:
    return [tokens for tokens in task.grid if str(tokens) in done["outcomes"]]


def left_out(work: Work) -> list[str]:
    """Return the names of the points that are not measured yet."""
    return [
        task.point(tokens)
        for task in work.plan.tasks
        for tokens in sorted({*task.grid} - {*_measured_points(task, _done(work, task))})
    ]


def cpu_seconds(work: Work) -> dict[str, float]:
    """Return the CPU seconds of every target and task that saved a file."""
    paths = [work.target_path(target.name) for target in work.plan.targets]
    paths += [work.task_path(task) for task in work.plan.tasks]
    return {path.stem: float(load(path)["cpu_s"]) for path in paths if path.exists()}


def target_facts(work: Work) -> list[dict[str, Any]]:
    """Return model, training and held-out loss of every trained target."""
    facts = []
    for target in work.plan.targets:
        path = work.target_path(target.name)
        if not path.exists():
            continue
        found = {"name": target.name, "model": asdict(target.spec), "training": asdict(target.training)}
        facts.append({**found, "nats_per_token": load(path)["nats_per_token"]})
    return facts


def keep_weights(work: Work, folder: Path) -> None:
    """Write the main target and its drafts, for ``measure --suite trained``.

    The drafts are those of the first seed at its last measured point, with averaged weights.
    """
    target = next(target for target in work.plan.targets if target.name == MAIN)
    weights = load(work.target_path(target.name))["weights"]
    prompts = _mixed(*corpus_of(work).windows("tune"))
    save(folder / "target.pt", {"spec": asdict(target.spec), "weights": weights, "prompts": prompts})
    seeds = [task.seed for task in work.plan.tasks]
    for task in work.plan.tasks:
        done = _done(work, task)
        measured = _measured_points(task, done)
        if not measured:
            continue
        last = done["outcomes"][str(measured[-1])]
        for arm, flat, outcome in zip(task.arms, done["run"]["flats"], last):
            if arm.name == MAIN and task.seed == min(seeds):
                content = {"spec": asdict(arm.draft.spec), "fed": arm.draft.fed, "weights": flat["average"]}
                ranks = torch.from_numpy(rank_profile(outcome["greedy"].numpy(), PROFILE_WIDTH))
                save(folder / f"draft-{arm.layers}l.pt", {**content, "ranks": ranks})


def _mixed(windows: NDArray[np.int64], domains: NDArray[np.int64]) -> torch.Tensor:
    """Return the windows in an order that alternates between domains."""
    place = np.concatenate([np.arange((domains == domain).sum()) for domain in np.unique(domains)])
    return torch.from_numpy(windows[np.lexsort((domains, place))])
