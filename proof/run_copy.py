"""Copies of the checkout in which part of the workflow runs, and their result files."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from proof.slurm import ROOT

LEFT_OUT = (
    *(".git", ".venv", ".snakemake", "results", "build", "dist", "site"),
    *("*cache*", "__pycache__", "*.egg-info"),
)
LIMIT_S = 1800.0


@dataclass
class Run:
    """A copy of the checkout, with its runs.

    Attributes
    ----------
    folder
        The copy, with its settings in ``overlay.yaml``.
    targets
        Files to make.
    said
        Output of the last run.
    jobs
        Rules that ran.
    """

    folder: Path
    targets: tuple[str, ...]
    said: str = ""
    jobs: set[str] = field(default_factory=set)

    def start(self, more: Sequence[str] = ()) -> subprocess.Popen[str]:
        """Start Snakemake in a process group of its own; ``more`` are further targets."""
        words = [sys.executable, "-m", "snakemake", "--configfile", "overlay.yaml", "--cores", "2"]
        environment = {**os.environ, "PYTHONPATH": str(self.folder), "OMP_NUM_THREADS": "1"}
        log = (self.folder / "said.txt").open("w+")
        return subprocess.Popen(
            [*words, "--", *self.targets, *more],
            cwd=self.folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def end(self, process: subprocess.Popen[str]) -> int:
        """Wait for a run and return its exit code."""
        code = process.wait(timeout=LIMIT_S)
        self.said = (self.folder / "said.txt").read_text(errors="replace")
        self.jobs |= {
            line.split()[1].rstrip(":")
            for line in self.said.splitlines()
            if line.startswith(("rule ", "localrule "))
        }
        return code

    def run(self, more: Sequence[str] = ()) -> int:
        """Run to the end and return the exit code."""
        return self.end(self.start(more))

    def files(self) -> dict[str, bytes]:
        """Return the result files by path, without the logs, which hold times."""
        results = self.folder / "results"
        paths = (
            path for path in results.rglob("*") if path.is_file() and "logs" not in path.relative_to(results).parts
        )
        return {path.relative_to(results).as_posix(): path.read_bytes() for path in paths}


def copied(folder: Path, targets: Sequence[str] = (), overlay: str = "") -> Run:
    """Return a copy of the checkout with few devices, without results; ``overlay`` has its settings."""
    shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(*LEFT_OUT))
    shutil.rmtree(folder / "gpu_validate/recorded/h100-sxm")
    scenarios = folder / "workflow/config/scenarios.yaml"
    scenarios.write_text(scenarios.read_text().replace("h200-sxm", "h100-sxm"))
    (folder / "overlay.yaml").write_text(overlay)
    return Run(folder, tuple(targets))


def different(run: Run, wanted: dict[str, bytes]) -> list[str]:
    """Return the paths in which a run differs from the undisturbed one, and temporary files that it left."""
    found = run.files()
    return sorted(path for path in found.keys() | wanted.keys() if found.get(path) != wanted.get(path))


def wait_for_group(process: subprocess.Popen[str]) -> None:
    """Wait until every process of a group has ended."""
    while True:
        try:
            os.killpg(process.pid, 0)
        except (ProcessLookupError, PermissionError):
            return
        time.sleep(0.1)
