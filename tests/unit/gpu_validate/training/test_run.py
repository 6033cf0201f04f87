"""Training of a plan: interrupted tasks resume, diverged drafts are refused."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from tiny_training import GRID, arm, plan

from gpu_validate.training import run as runner
from gpu_validate.training.outcomes import snapshots
from gpu_validate.training.run import run_target, run_task
from gpu_validate.training.trainer import DraftRun
from gpu_validate.training.work import Work, corpus_of
from scylla_sim.checks import InputError


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def test_interrupted_task_resumes_between_two_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second point fails once; the run after it trains from the first and ends as if nothing had been."""
    work = Work.of(tmp_path / "a", plan(), "cpu")
    clean = Work.of(tmp_path / "b", plan(), "cpu")
    for each in (work, clean):
        corpus_of(each)
        run_target(each, 0, 0)
    honest, calls = runner._measured, []

    def failing(run: DraftRun, anchors: object) -> object:
        calls.append(run.tokens)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return honest(run, anchors)  # type: ignore[arg-type]

    monkeypatch.setattr(runner, "_measured", failing)
    with pytest.raises(KeyboardInterrupt):
        run_task(work, 0, 0)
    for each in (work, clean):
        for index in range(len(plan().tasks)):
            run_task(each, index, 0)
    assert calls[:4] == [GRID[0], GRID[1], GRID[1], GRID[0]]
    for ours, theirs in zip(snapshots(work), snapshots(clean)):
        assert all((a == b).all() for a, b in zip(ours.outcome.ranks, theirs.outcome.ranks))
        assert (ours.outcome.passed == theirs.outcome.passed).all()


def test_anchors_that_one_task_needs_are_not_written(tmp_path: Path) -> None:
    """They are hundreds of MB for a large vocabulary; those of several tasks are written once."""
    shared = plan()
    alone = replace(shared, tasks=shared.tasks[:1])
    for name, made in (("shared", shared), ("alone", alone)):
        work = Work.of(tmp_path / name, made, "cpu")
        corpus_of(work)
        run_target(work, 0, 0)
        run_task(work, 0, 0)
        assert work.path("anchors-main-test.pt").exists() == (name == "shared")


def test_diverged_draft_is_refused(tmp_path: Path) -> None:
    """No logit is above one that is not a number: every rank would be the best."""
    made = plan()
    task = replace(made.tasks[0], arms=(replace(arm(1), draft=replace(arm(1).draft, lr=float("inf"))),))
    work = Work.of(tmp_path, replace(made, tasks=(task,)), "cpu")
    corpus_of(work)
    run_target(work, 0, 0)
    with pytest.raises(InputError, match="draft='d1' has diverged; use a lower learning rate"):
        run_task(work, 0, 0)
