"""Space and permissions of the folders that a run writes to, checked before a run and explained after it.

A job on a full disk cannot even write its log, and Snakemake ends with a traceback. The run therefore says at its
end which folder was full or read-only.
"""

from __future__ import annotations

import atexit
import os
import shutil
import sys
from pathlib import Path

from scylla_sim.units import MEGA

NEEDED_BYTES = 300 * MEGA
"""Free bytes that a run asks for. A complete run wrote 178 MB of results on 27 November 2026."""
FULL_BYTES = 50 * MEGA
"""Free bytes below which a run that ended is said to have filled the disk. Outputs of failed jobs are deleted."""


def problem(folders: list[Path], needed_bytes: float) -> str:
    """Return one line on the first folder that cannot be written or has too little space; empty if all can.

    A folder that does not exist yet counts as the one in which it will be made.
    """
    for folder in folders:
        there = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
        if not os.access(there, os.W_OK | os.X_OK):
            return f"{folder} is not writable; make it or its disk writable and run again"
        free = shutil.disk_usage(there).free
        if free < needed_bytes:
            wanted = f"needs {needed_bytes / MEGA:.0f} MB"
            return f"{folder} has {free / MEGA:.1f} MB of free disk space and {wanted}; free space and run again"
    return ""


def written(results: Path) -> list[Path]:
    """Return the folders that a run writes to: those below ``results``, and Snakemake's own."""
    return [Path(".snakemake"), results, *sorted(path for path in results.rglob("*/") if path.is_dir())]


def _explain(results: Path) -> None:
    """Print one line if a folder is full or read-only."""
    found = problem(written(results), FULL_BYTES)
    if found:
        print(f"disk: {found}; finished results are kept", file=sys.stderr)


def check(results: Path) -> None:
    """End the program with exit code 2 and one line if the disk is full or read-only, or say so at its end."""
    found = problem(written(results), NEEDED_BYTES)
    if found:
        print(f"disk: {found}", file=sys.stderr)
        raise SystemExit(2)
    atexit.register(_explain, results)
