"""Measurements of a killed run: wait for its processes, and keep the records that they finished.

Only Snakemake may have been killed, while a job still measures. Two measurements at once would disturb each other's
times. Snakemake also deletes the outputs of a job that it did not see end, even if the job wrote all of them.
"""

from __future__ import annotations

import shutil
import sys
from base64 import urlsafe_b64encode
from pathlib import Path

from gpu_validate.records import record_file
from gpu_validate.training import FINISHED
from scylla_sim.checks import InputError

TRAINED = (f"{record_file.TRAINING}.json", "weights")
"""Outputs of the rule that trains."""


def wait_for_measurements(folder: Path) -> None:
    """Wait until no process has a lock of `gpu_validate` in the folder of the measured records."""
    try:
        import fcntl
    except ImportError:  # a system without such locks
        return
    for lock in sorted(folder.glob(".*.lock")):
        with lock.open("a") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                use = lock.name.strip(".").removesuffix(".lock").replace("-", " ")
                print(f"{folder}: waiting for the {use} of a killed run to end", file=sys.stderr, flush=True)
                fcntl.flock(file, fcntl.LOCK_EX)
        lock.unlink(missing_ok=True)


def _marks(state: Path, output: Path) -> list[Path]:
    """Return what Snakemake keeps about an output: its mark as incomplete, and its metadata.

    Source: ``FilePersistence._record_path`` of Snakemake 9.
    """
    name = urlsafe_b64encode(output.as_posix().encode()).decode()
    return [state / "incomplete" / name, state / "metadata" / name]


def _whole(record: Path) -> bool:
    """Return whether a record is complete: it has its checksum, and its partial file is gone."""
    if record.with_name(f"{record.stem}{record_file.PARTIAL}").exists():
        return False
    try:
        record_file.read(record)
    except InputError:
        return False
    return True


def keep_finished(state: Path, folder: Path) -> list[Path]:
    """Return the outputs that a killed run finished, and let Snakemake take them as complete.

    Parameters
    ----------
    state
        Folder ``.snakemake``.
    folder
        Folder of the measured records, relative to the working directory.
    """
    training = [path for path in folder.glob("work/*") if path.suffix != FINISHED]
    kept = []
    for record in sorted(folder.glob("*.json")):
        outputs = [folder / name for name in TRAINED] if record.name == TRAINED[0] else [record]
        marks = [mark for output in outputs for mark in _marks(state, output)]
        marked = any(_marks(state, output)[0].exists() for output in outputs)
        if not marked or not all(map(Path.exists, outputs)) or not _whole(record):
            continue
        if len(outputs) > 1 and training:
            continue
        for mark in marks:
            mark.unlink(missing_ok=True)
        kept += outputs
        print(f"{record} was finished by a run that was killed; delete it to measure again", file=sys.stderr)
    for done in folder.glob(f"work/*{FINISHED}"):
        shutil.rmtree(done, ignore_errors=True)
    return kept
