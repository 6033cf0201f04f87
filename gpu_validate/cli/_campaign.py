"""Run the stages of a campaign, most valuable first, and write one record for each suite.

Each stage has a share of the time. Cases that do not fit into their share run at the end. A campaign that is cut
off leaves partial files, which `gpu_validate.records.record_file.read` reads as records. A second run resumes it,
also on another GPU of the same name.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpu_validate.cli.progress import Progress
from gpu_validate.device.facts import Device, release_memory, warm_up
from gpu_validate.device.power import Monitor
from gpu_validate.suites import selfcheck
from gpu_validate.suites.campaign_stages import PLANS, Stage
from gpu_validate.suites.runner import BrokenDeviceError, Deadline, Job, SuiteRun, run_jobs
from scylla_sim.console import note
from scylla_sim.units import MINUTE

_FINISH_S = 5.0
"""Seconds reserved for writing the records."""


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
    *,
    monitor: Monitor,
    restart: Callable[[float], None],
    skip_failed: bool,
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
    skip_failed
        Whether to leave out the cases that failed earlier, as after a restart.

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
    runs = _suite_runs(device, folder, kept, checked, monitor=monitor, skip_failed=skip_failed)
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
    device: Device,
    folder: Path,
    stages: Sequence[Stage],
    checked: Mapping[str, Any],
    *,
    monitor: Monitor,
    skip_failed: bool,
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
            skip_failed=skip_failed,
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
