"""The verb ``campaign``: run all suites within some minutes, the most valuable cases first.

The options and the dry run. The stages run in `gpu_validate.cli._campaign`, which needs torch and is imported only
when they run, so that ``--help`` needs numpy alone.
"""

from __future__ import annotations

import argparse
import functools
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from gpu_validate.device.facts import Device, catalog_device, detect_device, release_memory
from gpu_validate.device.power import open_monitor
from gpu_validate.records import rows
from gpu_validate.suites.runner import locked_folder
from gpu_validate.suites.sampling_plans import expected_seconds
from scylla_sim.checks import fail, in_range, whole
from scylla_sim.console import FORMATS, emit, note
from scylla_sim.records import format_csv, write_text

if TYPE_CHECKING:
    from gpu_validate.suites.campaign_stages import Stage

EPILOG = """examples:
  gpu-validate campaign --minutes 9 --out mine
  gpu-validate campaign --dry-run --hardware h100-sxm
  gpu-validate campaign --dry-run --hardware h100-sxm --shapes shapes
"""

_RESTARTS = "GPU_VALIDATE_CAMPAIGN_RESTARTS"
"""Environment variable that counts the restarts of a campaign."""
_MAX_RESTARTS = 2
"""Largest number of restarts after a device error."""
_MIN_MINUTES = 0.2
"""Shortest campaign."""


def _restarts() -> int:
    """Return how often this campaign was restarted."""
    return int(os.environ.get(_RESTARTS, "0"))


def _restart(args: argparse.Namespace, minutes: float) -> None:
    """Continue in a new process while enough time is left. A new process can use the device again."""
    if _restarts() >= _MAX_RESTARTS or minutes < 0.5:
        return
    note(f"campaign: continuing in a new process, {minutes:.1f} minutes left")
    os.environ[_RESTARTS] = str(_restarts() + 1)
    call = [sys.executable, "-m", "gpu_validate", "campaign", "--minutes", f"{minutes:.2f}"]
    call += ["--out", str(args.out), "--device", args.device, "--every", str(args.every)]
    sys.stderr.flush()
    os.execv(sys.executable, call)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of the verb."""
    parser.add_argument("--minutes", type=float, default=9.0, metavar="M", help="total time, default 9")
    parser.add_argument("--out", metavar="DIR", help="records DIR/SUITE.json; an interrupted campaign resumes")
    parser.add_argument("--device", choices=("auto", "cuda", "cpu"), default="auto", help="default: auto")
    parser.add_argument(
        "--every", type=int, default=1, metavar="N", help="run only every Nth case of each stage, as a trial"
    )
    parser.add_argument("--dry-run", action="store_true", help="list the cases with their seconds and bytes")
    parser.add_argument(
        "--hardware", metavar="NAME", help="with --dry-run: a GPU of the catalog instead of this machine's"
    )
    parser.add_argument(
        "--shapes", metavar="DIR", help="with --dry-run: write the shapes as CSV, for blind predictions"
    )
    parser.add_argument("--format", choices=FORMATS, default="table", help="format of the dry run; default: table")


def _dry_run(args: argparse.Namespace, device: Device, stages: Sequence[Stage]) -> None:
    """Print the cases and their estimated seconds, and write the shapes."""
    from gpu_validate.cli._campaign import suites
    from gpu_validate.suites.campaign_stages import PLANS

    listed, total = [], 0.0
    for stage in stages:
        plans = PLANS[device.kind]
        seconds = [expected_seconds(device, job.case, plans[job.suite]) for job in stage.jobs]
        total += sum(seconds)
        said = f"{len(stage.jobs)} cases, about {sum(seconds):.0f} s of {stage.seconds:.0f} s, {total:.0f} s so far"
        left_out = f"; {len(stage.too_large)} need more memory" if stage.too_large else ""
        note(f"{stage.name}: {said}{left_out}")
        for job, expected in zip(stage.jobs, seconds):
            row = {"stage": stage.name, "suite": job.suite, "case": job.name, "seconds": round(expected, 2)}
            listed.append(
                {**row, "gbytes": job.case.memory_bytes / 1e9, "flop_per_byte": job.case.flop / job.case.bytes}
            )
    if args.shapes:
        for suite, jobs in suites(stages).items():
            path = Path(args.shapes) / f"{suite}.csv"
            cases = [
                {"case": job.name, **job.case.shape, "bytes": job.case.bytes}
                for job in jobs
                if job.pass_number == 1
            ]
            shapes = rows.shapes(suite, cases)
            write_text(path, format_csv(shapes))
            note(f"wrote {len(shapes)} shapes to {path}")
    footer = f"{len(listed)} cases on {device.name}, about {total:.0f} s"
    emit(argparse.Namespace(format=args.format, out=None), "campaign-plan", listed, footer=footer)


def execute(args: argparse.Namespace) -> int:
    """Check the options, then run the campaign or the dry run."""
    minutes = float(in_range("minutes", args.minutes, _MIN_MINUTES))
    every = int(whole("every", args.every, 1))
    if args.hardware is not None and not args.dry_run:
        raise fail("hardware", args.hardware, "needs --dry-run", "only the GPU of this machine can be measured")
    if args.hardware is not None and args.device != "auto":
        raise fail("device", args.device, "cannot be combined with --hardware")
    if args.shapes is not None and not args.dry_run:
        raise fail("shapes", args.shapes, "needs --dry-run")
    if args.format != "table" and not args.dry_run:
        raise fail("format", args.format, "needs --dry-run", "records are JSON")
    for name, value in (("out", args.out), ("shapes", args.shapes)):
        if value == "":
            raise fail(name, value, "must name a folder")
    from gpu_validate.cli import _campaign
    from gpu_validate.suites import campaign_stages

    device = catalog_device(args.hardware) if args.hardware is not None else detect_device(args.device)
    stages = [stage.thinned(every) for stage in campaign_stages.stages(device)]
    if args.dry_run:
        _dry_run(args, device, stages)
        return 0
    if args.out is None:
        raise fail("out", None, "is required: the folder of the records")
    note(f"{device.name}: {device.kind}, {device.dtype}, hardware {device.hardware}, {device.uuid or 'no UUID'}")
    monitor, unread = open_monitor(device.kind, device.uuid)
    if unread:
        note(f"warning: {unread}")
    try:
        with locked_folder(Path(args.out)):
            return _campaign.run(
                device,
                Path(args.out),
                minutes,
                stages,
                monitor=monitor,
                restart=functools.partial(_restart, args),
                skip_failed=_restarts() > 0,
            )
    finally:
        release_memory(device)
