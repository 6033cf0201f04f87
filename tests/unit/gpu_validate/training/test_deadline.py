"""Training that ends in time: what comes too late is given up early, what is measured is kept."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tiny_training import GRID, plan

from gpu_validate.training import deadline as module
from gpu_validate.training import outcomes, report, run
from gpu_validate.training.deadline import Deadline
from gpu_validate.training.work import Work, corpus_of


class _Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> _Clock:
    made = _Clock()
    monkeypatch.setattr(module, "clock", made)
    return made


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def asked(pace: module.Pace, clock: _Clock, *, steps: int, step_s: float) -> int | None:
    """The step before which a stretch of steps of one token is given up."""
    for step in range(steps):
        if pace.late(step):
            return step
        clock.now_s += step_s
    return None


def test_segment_that_ends_in_time_is_never_late(clock: _Clock) -> None:
    assert asked(Deadline(clock.now_s + 101.0).pace(100), clock, steps=100, step_s=1.0) is None


def test_segment_that_is_too_slow_ends_after_seconds_instead_of_at_the_deadline(clock: _Clock) -> None:
    given_up = asked(Deadline(clock.now_s + 90.0).pace(100), clock, steps=100, step_s=1.0)
    assert given_up is not None and 5 < given_up < 30


def test_slow_first_steps_do_not_count_towards_the_speed(clock: _Clock) -> None:
    pace = Deadline(clock.now_s + 300.0).pace(1000)
    assert asked(pace, clock, steps=5, step_s=20.0) is None
    pace = Deadline(clock.now_s + 300.0).pace(1000)
    for step in range(1000):
        assert not pace.late(step)
        clock.now_s += 5.0 if step < 10 else 0.2


def test_time_for_measuring_is_kept(clock: _Clock) -> None:
    late = Deadline(clock.now_s + 101.0).pace(100, after_s=20.0)
    assert asked(late, clock, steps=100, step_s=1.0) is not None


def test_without_a_deadline_nothing_is_late(clock: _Clock) -> None:
    assert asked(Deadline().pace(100), clock, steps=100, step_s=1e6) is None


def test_points_after_the_deadline_are_left_out_and_made_up_for_later(
    tmp_path: Path, clock: _Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first point is measured, and the deadline has passed; the run after it trains the rest."""
    work, clean = (Work.of(tmp_path / name, plan(), "cpu") for name in "ab")
    honest = run._measured

    def slow(*args: object) -> object:
        clock.now_s += 1000.0
        return honest(*args)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(run, "_measured", slow)
        corpus_of(work)
        run.run_here(work, lambda text: None, Deadline(clock.now_s + 500.0))
    (main, broken) = work.plan.tasks
    assert outcomes.left_out(work) == [main.point(GRID[1]), broken.point(GRID[0]), broken.point(GRID[1])]
    found = list(outcomes.snapshots(work))
    assert {(snapshot.task.name, snapshot.tokens) for snapshot in found} == {(main.name, GRID[0])}
    rows = report.results(found, {"test": corpus_of(work).windows("test")[1]})
    assert {"rank", "acceptance"} == {row["op"] for row, _ in rows}, "profiles are those of the last measured point"
    for each in (work, clean):
        corpus_of(each)
        run.run_here(each, lambda text: None)
    assert outcomes.left_out(work) == []
    for ours, theirs in zip(outcomes.snapshots(work), outcomes.snapshots(clean)):
        assert (ours.outcome.passed == theirs.outcome.passed).all()
