"""The verb ``train``: train a target and drafts, and measure the tokens that the target accepts of each draft."""

from __future__ import annotations

import argparse
import shutil
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from gpu_validate.cli import progress
from gpu_validate.device.facts import KINDS, Device, available_cores, detect_device
from gpu_validate.records import record_file
from gpu_validate.training import AXES, FINISHED, SCALES
from scylla_sim.checks import InputError, fail, positive, whole
from scylla_sim.console import FORMATS, emit, note
from scylla_sim.units import MEGA

if TYPE_CHECKING:
    from gpu_validate.training.plans import Plan
    from gpu_validate.training.work import Work

EPILOG = """examples:
  gpu-validate train --axis all --scale ci --out results/smallscale
  gpu-validate train --axis rates --scale small --out rates
  gpu-validate train --scale gpu --prepare-text text.pt
  gpu-validate train --scale gpu --text text.pt --minutes 9 --out gpu
"""

SUITE = record_file.TRAINING
WEIGHTS = "weights"
"""Folder of the trained models, for ``measure --suite trained``."""
_LOG_EVERY_S = 15.0
_RECORD_S = 10.0
"""Seconds of --minutes that are reserved for writing the record and the weights."""


class _Progress:
    """Progress: one renewed line on a terminal, a line from time to time in a log."""

    def __init__(self) -> None:
        self.logged_s = -_LOG_EVERY_S

    def __call__(self, text: str) -> None:
        shown = progress.line(f"{SUITE} {text}")
        if not shown and time.monotonic() - self.logged_s >= _LOG_EVERY_S:
            note(f"{SUITE}: {text}")
            self.logged_s = time.monotonic()

    def end(self) -> None:
        """Clear the line."""
        progress.line("")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the verb to its parser."""
    parser.add_argument(
        "--axis",
        choices=AXES,
        default="all",
        help="drafts to train: for the law of tokens or layers, or all; joint: ten times the tokens; "
        "rates: sweep learning rates; default: all",
    )
    parser.add_argument(
        "--scale",
        choices=SCALES,
        default="ci",
        help="ci: under two minutes; gpu: nine minutes of an H100; default: ci",
    )
    parser.add_argument("--device", choices=KINDS, default="auto", help="default: auto, a GPU if torch has one")
    parser.add_argument(
        "--jobs", type=int, default=0, metavar="N", help="processes; default: one per core, 1 on a GPU"
    )
    parser.add_argument("--seed", type=int, help="train with this seed only; default: the seeds of the plan")
    parser.add_argument(
        "--minutes", type=float, metavar="M", help="leave out what cannot be measured within M minutes"
    )
    parser.add_argument(
        "--prepare-text", metavar="FILE", help="write the text of the scale for another machine, and exit"
    )
    parser.add_argument("--text", metavar="FILE", help="train on text of --prepare-text")
    parser.add_argument("--out", metavar="DIR", help=f"write DIR/{SUITE}.json; an interrupted run resumes from DIR")
    parser.add_argument("--dry-run", action="store_true", help="list the models and the estimated time")
    parser.add_argument("--format", choices=FORMATS, default="table", help="format of --dry-run; default: table")


def _dry_run(args: argparse.Namespace, plan: Plan) -> None:
    """Print targets and drafts with their size and training."""
    rows: list[dict[str, Any]] = []
    for target in plan.targets:
        row = {"task": "target", "model": target.spec.name, "seed": target.seed, "layers": target.spec.num_layers}
        rows.append({**row, "tokens": target.training.tokens, "points": 1, "learning_rate": target.training.lr})
    for task in plan.tasks:
        for arm in task.arms:
            row = {"task": arm.name, "model": arm.draft.spec.name, "seed": task.seed, "layers": arm.layers}
            rows.append({**row, "tokens": task.grid[-1], "points": len(task.grid), "learning_rate": arm.draft.lr})
    size = sum(row["tokens"] * row["layers"] for row in rows)
    footer = f"{len(plan.targets)} targets, {len(rows) - len(plan.targets)} drafts, {size:.3g} tokens times layers"
    emit(argparse.Namespace(format=args.format, out=None), "train-plan", rows, footer=footer)


def _checked(args: argparse.Namespace) -> None:
    """Check the options.

    Raises
    ------
    InputError
        If an option is out of range or excludes another one.
    """
    if args.jobs < 0:
        raise fail("jobs", args.jobs, "must be at least 1")
    if args.minutes is not None:
        positive("minutes", args.minutes)
    if args.prepare_text and (args.text or args.out):
        given = "text" if args.text else "out"
        raise fail(given, getattr(args, given), "does not go with --prepare-text", "it trains nothing")
    if not args.out and not args.prepare_text:
        raise InputError("out is required, the folder of the record; --out DIR")


def _prepare(plan: Plan, path: Path) -> None:
    """Prepare the text of a plan for another machine."""
    from gpu_validate.training.corpus import prepare
    from gpu_validate.training.files import write_portable

    corpus = prepare(plan.sources)
    size = write_portable(path, corpus, plan.sources)
    note(f"wrote {path}: {size / MEGA:.1f} MB of text for scale {plan.scale}, sha256 {corpus.sha256}")


def _print_estimate(plan: Plan, kind: str, jobs: int, minutes: float | None) -> None:
    """Print the estimated time of each stage, and the stages that exceed the time limit."""
    from gpu_validate.training.estimate import describe, stages

    note(f"{SUITE}: estimate for {jobs} process{'es' if jobs > 1 else ''} on {kind}, seconds from the start")
    for line in describe(stages(plan, kind, jobs), _training_s(minutes)):
        note(f"  {line}")


def _training_s(minutes: float | None) -> float | None:
    """Return the seconds in which everything must be measured, without the time reserved for the record."""
    return None if minutes is None else max(minutes * 60.0 - _RECORD_S, 0.0)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Treat a request to terminate as an interrupt, so that the measured drafts are recorded."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _write(args: argparse.Namespace, work: Work, device: Device, begin_s: float, jobs: int) -> list[str]:
    """Write the record of the measured drafts, and return the points that are left out."""
    from gpu_validate.training import outcomes, report
    from gpu_validate.training.work import corpus_of

    found = list(outcomes.snapshots(work))
    if not found:
        raise InputError("nothing is measured yet: no draft reached its first point; allow more time")
    corpus = corpus_of(work)
    domains = {split: corpus.windows(split)[1] for split in ("tune", "test")}
    results = report.results(found, domains, every_point=args.axis == "joint")
    cpu_s, missing = outcomes.cpu_seconds(work), outcomes.left_out(work)
    record = record_file.build(
        SUITE,
        results,
        device,
        evidence="small-scale",
        scale=args.scale,
        axis=args.axis,
        corpus={**corpus.facts, "sha256": corpus.sha256},
        targets=outcomes.target_facts(work),
        cpu_s=cpu_s,
        jobs=jobs,
        wall_s=time.monotonic() - begin_s,
        left_out=missing,
    )
    path = Path(args.out) / f"{SUITE}.json"
    record_file.write(path, record)
    spent = f"{time.monotonic() - begin_s:.0f} s, {sum(cpu_s.values()):.0f} s of CPU time"
    note(f"{SUITE}: {len(results)} rows in {spent}")
    if missing:
        many = "1 point is" if len(missing) == 1 else f"{len(missing)} points are"
        note(f"{SUITE}: {many} left out; the same command resumes from here")
    return missing


def execute(args: argparse.Namespace) -> None:
    """Run the verb."""
    begin_s = time.monotonic()
    _checked(args)
    from gpu_validate.suites.runner import locked_folder
    from gpu_validate.training import outcomes, run
    from gpu_validate.training.deadline import Deadline
    from gpu_validate.training.plans import plan_of
    from gpu_validate.training.work import Work

    plan = plan_of(args.scale, args.axis)
    if args.seed is not None:
        plan = plan.with_seed(int(whole("seed", args.seed, 0)))
    if args.prepare_text and not args.dry_run:
        _prepare(plan, Path(args.prepare_text))
        return
    device = detect_device(args.device, threads=1)
    # the estimate of scale gpu needs no GPU
    planned = args.scale == "gpu" and args.device == "auto" and args.dry_run
    kind = "cuda" if planned else device.kind
    jobs = args.jobs or (1 if kind == "cuda" else available_cores())
    if args.dry_run or args.minutes is not None or args.scale == "gpu":
        _print_estimate(plan, kind, jobs, args.minutes)
    if args.dry_run:
        _dry_run(args, plan)
        return
    folder = Path(args.out)
    work = Work.of(folder, plan, device.kind, Path(args.text) if args.text else None)
    limit_s = _training_s(args.minutes)
    show = _Progress()
    with _interruptible(), locked_folder(folder, "training"):
        try:
            run.run_plan(work, jobs, show, Deadline(None if limit_s is None else begin_s + limit_s))
        except BaseException:
            show.end()
            with suppress(InputError):  # nothing is measured yet; the first error is the one to report
                _write(args, work, device, begin_s, jobs)
            raise
        show.end()
        missing = _write(args, work, device, begin_s, jobs)
        if args.axis != "rates":
            outcomes.keep_weights(work, folder / WEIGHTS)
        if not missing:
            _remove(work.folder)


def _remove(folder: Path) -> None:
    """Remove the intermediate files of a finished plan; under the new name, no run takes them as unfinished."""
    done = folder.with_suffix(FINISHED)
    shutil.rmtree(done, ignore_errors=True)
    folder.rename(done)
    shutil.rmtree(done, ignore_errors=True)
    if not any(folder.parent.iterdir()):  # a remaining file belongs to another, unfinished plan
        folder.parent.rmdir()
