"""The verb ``campaign``: run all suites within some minutes, the most valuable cases first.

The most valuable stages run first, and each stage has a share of the time. Cases that do not fit into their share
run at the end. A campaign that is cut off leaves partial files, which `gpu_validate.records.record_file.read` reads
as records. The same command resumes it, also on another GPU of the same name.
"""

from __future__ import annotations

import argparse
import functools
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpu_validate.cli.progress import Progress
from gpu_validate.device.facts import Device, catalog_device, detect_device, release_memory, warm_up
from gpu_validate.device.power import Monitor, open_monitor
from gpu_validate.records import rows
from gpu_validate.suites import campaign_stages, selfcheck
from gpu_validate.suites.campaign_stages import PLANS, Stage
from gpu_validate.suites.runner import BrokenDeviceError, Deadline, Job, SuiteRun, locked_folder, run_jobs
from gpu_validate.suites.sampling_plans import expected_seconds
from scylla_sim.checks import fail, in_range, whole
from scylla_sim.console import FORMATS, emit, note
from scylla_sim.records import format_csv, write_text
from scylla_sim.units import MINUTE

EPILOG = """examples:
  gpu-validate campaign --minutes 9 --out mine
  gpu-validate campaign --dry-run --hardware h100-sxm
  gpu-validate campaign --dry-run --hardware h100-sxm --shapes shapes
"""

_RESTARTS = "GPU_VALIDATE_CAMPAIGN_RESTARTS"
"""Environment variable that counts the restarts of a campaign."""
_MAX_RESTARTS = 2
"""Largest number of restarts after a device error."""
_FINISH_S = 5.0
"""Seconds reserved for writing the records."""
_MIN_MINUTES = 0.2
"""Shortest campaign."""


class StopSignalError(BaseException):
    """A signal asked the campaign to end; a BaseException, so failed cases do not catch it."""


@dataclass(frozen=True)
class Timetable:
    """Stages and the time at which each must end, in seconds from the start."""

    stages: Sequence[Stage]
    ends: Sequence[float]

    @staticmethod
    def of(stages: Sequence[Stage], seconds: float) -> Timetable:
        """Divide ``seconds`` in proportion to the seconds that the stages request."""
        asked = sum(stage.seconds for stage in stages)
        ends, total = [], 0.0
        for stage in stages:
            total += stage.seconds
            ends.append(total * seconds / asked)
        return Timetable(stages, ends)


def suites(stages: Sequence[Stage]) -> dict[str, list[Job]]:
    """Return each job once, by suite, in the order of the stages."""
    found: dict[str, dict[str, Job]] = {}
    for stage in stages:
        for job in stage.jobs:
            found.setdefault(job.suite, {}).setdefault(job.name, job)
    return {suite: list(jobs.values()) for suite, jobs in found.items()}


def execute_stages(table: Timetable, runs: Mapping[str, SuiteRun], seconds: float) -> None:
    """Run the stages and then the remaining jobs, until ``seconds`` have passed."""
    said, begin = Progress(), time.monotonic()
    total = sum(len(run.names) for run in runs.values())
    last = Deadline.after(seconds)
    note(f"campaign: {total} cases, at most {seconds:.0f} s")
    rest = Stage("rest", 0.0, [job for stage in table.stages for job in stage.jobs])
    for stage, end in [*zip(table.stages, table.ends), (rest, seconds)]:
        deadline = Deadline(min(begin + end, last.at_s))
        before = sum(len(run.done) for run in runs.values())
        for job in run_jobs(stage.jobs, runs, deadline):
            spent = time.monotonic() - begin
            done = sum(len(run.done) for run in runs.values())
            said.say(f"{spent:4.0f} s  {stage.name}: {done}/{total}, {seconds - spent:.0f} s left  {job.name}")
        after = sum(len(run.done) for run in runs.values())
        note(f"{time.monotonic() - begin:4.0f} s  stage {stage.name} ended: {after - before} cases")
    said.say("")


@contextmanager
def _stoppable() -> Iterator[None]:
    """Turn SIGTERM into an exception, so that a stopped campaign writes its records."""

    def stop(number: int, frame: object) -> None:
        raise StopSignalError(signal.Signals(number).name)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def run(
    device: Device,
    folder: Path,
    minutes: float,
    stages: Sequence[Stage],
    monitor: Monitor,
    restart: Callable[[float], None],
) -> int:
    """Measure and write one record for each suite.

    Parameters
    ----------
    device
        Device under test.
    folder
        Folder of the records.
    minutes
        Total time.
    stages
        Stages of the campaign.
    monitor
        Reader of power and clocks.
    restart
        Function that is called with the remaining minutes when the device no longer answers.

    Returns
    -------
    int
        Exit code: 1 where a case failed or nothing was measured, 130 after a signal.
    """
    begin = time.monotonic()
    seconds = MINUTE * minutes - _FINISH_S
    self_check = selfcheck.SelfCheckProcess(device)
    warm_up(device)
    _prepare(device, stages)
    checked = self_check.result()
    wrong = _misnamed_kernels(checked)
    note(f"campaign: prepared in {time.monotonic() - begin:.0f} s")
    kept = [stage.without_kernels(wrong) for stage in stages]
    runs = _suite_runs(device, folder, kept, checked, monitor)
    too_large: dict[str, list[str]] = {}
    for stage in kept:
        for job in stage.too_large:
            too_large.setdefault(job.suite, []).append(job.name)
    table = Timetable.of(kept, seconds)
    code = 1 if wrong else 0
    broken: BrokenDeviceError | None = None
    try:
        with _stoppable():
            execute_stages(table, runs, seconds - (time.monotonic() - begin))
    except BrokenDeviceError as error:
        broken, code = error, 1
        note(f"campaign: ERROR: the device no longer answers: {error}")
    except (KeyboardInterrupt, StopSignalError) as stop:
        code = 130
        note(f"campaign: stopped by {str(stop) or 'SIGINT'}; run the same command again to continue")
    codes = [_finish(measured, too_large.get(measured.suite, [])) for measured in runs.values()]
    code = code or max(codes, default=1)
    monitor.close()
    if broken is not None:
        restart(minutes - (time.monotonic() - begin) / MINUTE)
    return code


def _misnamed_kernels(checked: Mapping[str, Any]) -> set[str]:
    """Print the result of the self-check and return the kernels that failed it."""
    if "error" in checked:
        note(f"self-check: warning: {checked['error']}")
    wrong = {name: found["names"] for name, found in checked.get("kernels", {}).items() if not found["as_named"]}
    for name, names in wrong.items():
        note(f"self-check: ERROR: {name} ran other kernels: {', '.join(names)[:200]}")
    return set(wrong)


def _suite_runs(
    device: Device, folder: Path, stages: Sequence[Stage], checked: Mapping[str, Any], monitor: Monitor
) -> dict[str, SuiteRun]:
    """Return one run for each suite, resuming earlier results."""
    runs = {}
    for suite, jobs in suites(stages).items():
        names = [job.name for job in sorted(jobs, key=lambda job: job.pass_number)]
        passes = max(job.pass_number for job in jobs)
        facts = {"scale": "campaign", "models": [], "specs": [], "selfcheck": checked, "passes": passes}
        runs[suite] = SuiteRun(
            suite,
            device,
            folder,
            PLANS[device.kind][suite],
            names,
            facts,
            monitor=monitor,
            resume_complete=True,
            skip_failed=_restarts() > 0,
        )
    return runs


def _prepare(device: Device, stages: Sequence[Stage]) -> None:
    """Run the cases of the first stages once at their smallest batch, so that libraries load and kernels compile.

    A case that fails here fails again when it is measured, and is recorded then.
    """
    import torch

    jobs = [job for stage in stages[:2] for job in stage.jobs]
    if device.kind != "cuda" or not jobs:
        return
    least = min(int(job.case.shape["batch"]) for job in jobs)
    for job in jobs:
        if job.case.shape["batch"] != least:
            continue
        try:
            with torch.inference_mode():
                for call in job.case.build():
                    call()
        except Exception as error:
            note(f"{job.name}: failed in the warm-up: {error}")
        finally:
            job.case.release()
    release_memory(device)


def _finish(measured: SuiteRun, too_large: Sequence[str]) -> int:
    """Write the record of a suite, print a summary, and return the exit code."""
    try:
        record = measured.finish(too_large)
    except RuntimeError as error:  # a broken device has no state to read, but its partial file stays
        note(f"{measured.suite}: no record, the partial file stays: {error}")
        return 1
    if record is None:
        note(f"{measured.suite}: nothing was measured")
        return 1
    about = record["provenance"]
    note(
        f"{measured.suite}: {len(record['values'])} cases measured, {len(about['failed'])} failed, "
        f"{len(about['left_out'])} without enough memory, {len(about['missing'])} not reached"
    )
    return 1 if about["failed"] else 0


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
            return run(device, Path(args.out), minutes, stages, monitor, functools.partial(_restart, args))
    finally:
        release_memory(device)
