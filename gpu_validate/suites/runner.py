"""Running of cases one by one: every result is kept at once, failures do not stop the run, and deadlines hold.

A case that fails becomes an entry with its error. Cases that are not reached before the deadline are listed as
missing. While a suite runs, its results go into a partial file, which `gpu_validate.records.record_file.read` can
read too.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from gpu_validate.device.facts import Device, device_state, release_memory, synchronize
from gpu_validate.device.power import Monitor, NullMonitor
from gpu_validate.device.timer import Plan
from gpu_validate.records import record_file
from gpu_validate.suites.case import Case
from gpu_validate.suites.measurement import run_case
from gpu_validate.suites.sampling_plans import expected_seconds, settling_plan
from scylla_sim.checks import InputError, fail, unwritable
from scylla_sim.console import note

_ERROR_CHARACTERS = 300
"""Largest length of a recorded error."""


class BrokenDeviceError(RuntimeError):
    """The device no longer answers, as after an illegal memory access. Only a new process can continue."""


@contextmanager
def locked_folder(folder: Path, use: str = "campaign") -> Iterator[None]:
    """Create a folder and lock it against another process with the same use, where the system supports locks.

    Parameters
    ----------
    folder
        Folder of the records.
    use
        What the process does there; it names the lock file ``.USE.lock``.

    Raises
    ------
    InputError
        When another process has the lock, or the folder cannot be written.
    """
    lock = folder / f".{use.replace(' ', '-')}.lock"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = lock.open("w")
    except OSError as error:
        raise unwritable(folder, error) from None
    with file:
        try:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except ImportError:  # a system without such locks
            pass
        except BlockingIOError:
            raise fail("out", str(folder), f"is in use by another {use}", "name another folder") from None
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)


@dataclass(frozen=True)
class Deadline:
    """Time of the monotonic clock in seconds; infinite by default."""

    at_s: float = float("inf")

    @staticmethod
    def after(seconds: float | None) -> Deadline:
        """Return the deadline ``seconds`` from now."""
        return Deadline() if seconds is None else Deadline(time.monotonic() + seconds)

    def allows(self, seconds: float) -> bool:
        """Return whether ``seconds`` are left."""
        return time.monotonic() + seconds <= self.at_s


def pass_name(case: Case, pass_number: int) -> str:
    """Return the name of a case in a pass over its grid: ``id`` in the first, ``id@2`` in the second."""
    return case.id if pass_number == 1 else f"{case.id}@{pass_number}"


@dataclass
class SuiteRun:
    """State of one suite during its measurement.

    Attributes
    ----------
    suite
        Name of the suite.
    device
        Device under test.
    folder
        Folder of the record.
    plan
        How long each case is sampled.
    names
        All cases of the record in order; those of the second pass end with ``@2``.
    facts
        Facts for the provenance of the record.
    cache
        State of the cache.
    monitor
        Reader of power and clocks.
    resume_complete
        Whether to add to a complete record instead of measuring the suite anew.
    skip_failed
        Whether to skip cases that failed before, because they may break the device again.
    partial
        Partial file.
    done, failed
        Results and errors by name, including those of an interrupted run.
    out_of_memory
        Cases that ran out of memory.
    resumed
        Number of results from an interrupted run.
    before
        State of the device at the start.
    """

    suite: str
    device: Device
    folder: Path
    plan: Plan
    names: Sequence[str]
    facts: Mapping[str, Any]
    cache: str = "rotating"
    monitor: Monitor = field(default_factory=NullMonitor)
    resume_complete: bool = False
    skip_failed: bool = False
    partial: record_file.Partial = field(init=False)
    done: dict[str, record_file.Result] = field(init=False)
    failed: dict[str, str] = field(init=False)
    out_of_memory: list[str] = field(init=False, default_factory=list)
    resumed: int = field(init=False)
    before: dict[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        """Read the results of an interrupted run and start the partial file."""
        conditions = {key: self.facts[key] for key in ("scale", "models") if key in self.facts}
        how = {**conditions, "cache": self.cache, **asdict(self.plan)}
        self.partial = record_file.Partial.of(self.folder, self.suite, self.device, how)
        if self.resume_complete:
            record_file.check_conditions(self.record_path, self.partial.key)
        known = {
            **record_file.earlier(self.record_path, self.partial.key, complete=self.resume_complete),
            **self.partial.load(),
        }
        # a resumed campaign may list fewer cases, but earlier results stay in the record
        self.names = [*self.names, *(name for name in known if name not in set(self.names))]
        self.done = dict(known)
        self.failed = {}
        if self.skip_failed:
            self.failed = {**record_file.failed_cases(self.record_path), **self.partial.failures()}
        self.resumed = len(self.done)
        if self.resumed:
            note(f"{self.suite}: {self.resumed} of {len(self.names)} cases taken from an interrupted run")
            others = {str(row.get("gpu", "")) for row, _ in self.done.values()} - {self.device.uuid, ""}
            if others:
                note(
                    f"{self.suite}: warning: some of them were measured on another GPU: {', '.join(sorted(others))}"
                )
        self.before = device_state(self.device)
        self.partial.begin(self.suite, self.device, self.provenance())

    @property
    def record_path(self) -> Path:
        """Path of the record."""
        return self.folder / f"{self.suite}.json"

    def provenance(self) -> dict[str, Any]:
        """Return facts about the run, complete or not."""
        return {
            **self.facts,
            "cache": self.cache,
            "plan": asdict(self.plan),
            "key": self.partial.key,
            "resumed": self.resumed,
            "states": [self.before],
        }

    def is_settled(self, name: str) -> bool:
        """Return whether nothing is left to do for a case."""
        return name in self.done or name in self.failed or name.partition("@")[0] in self.out_of_memory

    def measure(self, case: Case, pass_number: int) -> bool:
        """Measure a case, keep its result or its error, and return whether it was measured.

        Raises
        ------
        BrokenDeviceError
            When the device no longer answers.
        """
        name = pass_name(case, pass_number)
        try:
            plan = settling_plan(self.device, case, self.plan)
            row, summary = run_case(self.device, case, plan, cache=self.cache, monitor=self.monitor)
        except (KeyboardInterrupt, InputError):
            raise
        except MemoryError:
            self.out_of_memory.append(case.id)
        except Exception as error:
            if "out of memory" in str(error):  # also a capture that failed for lack of memory
                self.out_of_memory.append(case.id)
            else:
                self.add_failure(name, error)
        else:
            self.add_result(name, pass_number, row, summary.row())
            return True
        release_memory(self.device)
        return False

    def add_result(self, name: str, pass_number: int, row: Mapping[str, Any], summary: Mapping[str, Any]) -> None:
        """Add a result, first to the file and then in memory."""
        marked = {**row, "case": name, "pass": pass_number}
        if self.device.uuid:
            marked["gpu"] = self.device.uuid
        self.partial.append(marked, summary)
        self.done[name] = (marked, dict(summary))

    def add_failure(self, name: str, error: BaseException) -> None:
        """Add the error of a case.

        Raises
        ------
        BrokenDeviceError
            When the device no longer answers.
        """
        text = f"{type(error).__name__}: {str(error).strip()}"[:_ERROR_CHARACTERS]
        self.failed[name] = " ".join(text.split())
        self.partial.append_failure(name, self.failed[name])
        note(f"{self.suite}: {name} FAILED: {self.failed[name]}")
        try:
            synchronize(self.device)
        except Exception as broken:
            raise BrokenDeviceError(str(broken)) from None

    def missing(self) -> list[str]:
        """Return the cases that were neither measured nor failed."""
        return [name for name in self.names if not self.is_settled(name)]

    def finish(self, left_out: Sequence[str] = ()) -> dict[str, Any] | None:
        """Write the record of all results, complete or not, and return it; ``None`` without any result."""
        if not self.done:
            return None
        added = len(self.done) > self.resumed or self.failed or self.out_of_memory
        if self.resume_complete and not added and self.record_path.is_file():
            self.partial.remove()  # nothing was added, so the record stays as written
            return record_file.read(self.record_path)
        facts = self.provenance()
        facts["states"] = [self.before, device_state(self.device)]
        missing = self.missing()
        record = record_file.build(
            self.suite,
            [self.done[name] for name in self.names if name in self.done],
            self.device,
            **facts,
            left_out=[*left_out, *self.out_of_memory],
            failed=[{"case": name, "error": error} for name, error in self.failed.items()],
            missing=missing,
            complete=not missing and not self.failed,
            monitor=self.monitor.summary(),
            gpus=sorted({str(row["gpu"]) for row, _ in self.done.values() if "gpu" in row}),
        )
        record_file.write(self.record_path, record)
        self.partial.remove()
        return record


@dataclass(frozen=True)
class Job:
    """One case of a suite in one pass over its grid."""

    suite: str
    case: Case
    pass_number: int = 1

    @property
    def name(self) -> str:
        """Name of the case in its pass."""
        return pass_name(self.case, self.pass_number)


def run_jobs(jobs: Iterable[Job], runs: Mapping[str, SuiteRun], deadline: Deadline) -> Iterable[Job]:
    """Measure jobs in order and yield those that were tried.

    A job runs only if it can end before the deadline. A shorter job after it may still run.
    """
    for job in jobs:
        suite = runs[job.suite]
        if suite.is_settled(job.name) or not deadline.allows(expected_seconds(suite.device, job.case, suite.plan)):
            continue
        suite.measure(job.case, job.pass_number)
        yield job
