"""The verb ``train``: a target, drafts on it, and the tokens that it accepts of each; one record, resumable."""

from __future__ import annotations

import argparse
import shutil
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpu_validate import progress, records
from gpu_validate.cases import SCALES
from gpu_validate.device import KINDS, cores, look
from gpu_validate.smallscale import AXES
from scylla_sim.checks import fail, whole
from scylla_sim.console import FORMATS, emit, note

if TYPE_CHECKING:
    from gpu_validate.smallscale.plans import Plan

EPILOG = """examples:
  gpu-validate train --axis all --scale ci --out results/smallscale
  gpu-validate train --axis rates --scale small --out rates
"""

SUITE = records.TRAINING
WEIGHTS = "weights"
"""Folder of the trained models that ``measure --suite trained`` runs."""
_LOG_EVERY_S = 15.0


class _Progress:
    """Progress as a line that replaces itself on a terminal, as a line now and then in a log."""

    def __init__(self) -> None:
        self.said_s = -_LOG_EVERY_S

    def __call__(self, text: str) -> None:
        shown = progress.line(f"{SUITE} {text}")
        if not shown and time.monotonic() - self.said_s >= _LOG_EVERY_S:
            note(f"{SUITE}: {text}")
            self.said_s = time.monotonic()

    def end(self) -> None:
        """Leave the line."""
        progress.line("")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--axis",
        choices=AXES,
        default="all",
        help="law to train for; rates: sweep learning rates on tuning windows; default: all",
    )
    parser.add_argument("--scale", choices=SCALES, default="ci", help="ci: under two minutes; default")
    parser.add_argument("--device", choices=KINDS, default="auto", help="default: auto, a GPU where torch sees one")
    parser.add_argument(
        "--jobs", type=int, default=0, metavar="N", help="processes; default: the cores, 1 on a GPU"
    )
    parser.add_argument("--seed", type=int, help="train with this seed only, instead of the plan's")
    parser.add_argument(
        "--out", metavar="DIR", required=True, help=f"records DIR/{SUITE}.json; an interrupted run resumes"
    )
    parser.add_argument("--dry-run", action="store_true", help="list what would be trained")
    parser.add_argument("--format", choices=FORMATS, default="table", help="of the dry run; default: table")


def _dry_run(args: argparse.Namespace, plan: Plan) -> None:
    """List targets and drafts with their size and training."""
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


def execute(args: argparse.Namespace) -> None:
    from gpu_validate.smallscale import report, run
    from gpu_validate.smallscale.plans import plan_of

    if args.jobs < 0:
        raise fail("jobs", args.jobs, "must be at least 1")
    device = look(args.device, threads=1)
    plan = plan_of(args.scale, args.axis, device.kind)
    if args.seed is not None:
        plan = plan.with_seed(int(whole("seed", args.seed, 0)))
    if args.dry_run:
        _dry_run(args, plan)
        return
    jobs = args.jobs or (1 if device.kind == "cuda" else cores())
    folder = Path(args.out)
    work = run.Work.of(folder, plan, device.kind)
    begin = time.monotonic()
    say = _Progress()
    run.run_plan(work, jobs, say)
    say.end()
    corpus = run.corpus_of(work)
    domains = {split: corpus.windows(split)[1] for split in ("tune", "test")}
    results = report.results(list(run.snapshots(work)), domains)
    cpu_s = run.cpu_seconds(work)
    record = records.build(
        SUITE,
        results,
        device,
        evidence="small-scale",
        scale=args.scale,
        axis=args.axis,
        corpus={**corpus.facts, "sha256": corpus.sha256},
        targets=run.target_facts(work),
        cpu_s=cpu_s,
        jobs=jobs,
        wall_s=time.monotonic() - begin,
    )
    records.write(folder / f"{SUITE}.json", record)
    if args.axis != "rates":
        run.keep_weights(work, folder / WEIGHTS)
    shutil.rmtree(work.folder, ignore_errors=True)
    if not any(work.folder.parent.iterdir()):  # else another plan is half done there
        work.folder.parent.rmdir()
    note(
        f"{SUITE}: {len(results)} rows in {time.monotonic() - begin:.0f} s, {sum(cpu_s.values()):.0f} s of CPU time"
    )
