"""Run pytest in a fork of an interpreter that has already imported the libraries, but no code of this project."""

from __future__ import annotations

import importlib
import os
import re
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

LIBRARIES = (
    "numpy",
    "scipy.optimize",
    "scipy.stats",
    "pytest",
    "hypothesis.extra.numpy",
    "hypothesis.strategies",
    "xdist",
    "torch",
    "pandas",
    "pyarrow",
    "tabulate",
    "jsonschema",
    "yaml",
    "matplotlib.figure",
)
"""Modules that tests need and that no mutation changes."""

OPTIONS = ("-q", "-n", "0", "-p", "no:cacheprovider", "--tb=line", "-rfE")

PASSED, FAILED, TIMED_OUT, BROKEN = "passed", "failed", "timed out", "broken"


@dataclass(frozen=True)
class Run:
    """End of one run of pytest: what happened, the failed tests, and seconds."""

    outcome: str
    failed: tuple[str, ...]
    seconds: float


def warm_up() -> None:
    """Import the libraries of `LIBRARIES` that are installed, once for all forks."""
    os.environ.update({"OMP_NUM_THREADS": "1", "CI": "1", "MPLBACKEND": "agg"})
    for name in LIBRARIES:
        try:
            importlib.import_module(name)
        except ImportError:
            print(f"{name} is not installed; its tests fail or are skipped", file=sys.stderr)


def _child(root: Path, options: Sequence[str], log: IO[str], *, write_bytecode: bool) -> None:
    """Run pytest and leave the process with its exit code."""
    code = 3
    try:
        os.setsid()
        parent = str(Path.cwd())
        os.chdir(root)
        os.environ["PYTHONPATH"] = str(root)
        sys.path[:] = [str(root), *(entry for entry in sys.path if entry not in ("", parent))]
        sys.dont_write_bytecode = not write_bytecode
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
        sys.stdout, sys.stderr = (os.fdopen(number, "w") for number in (1, 2))
        import pytest

        code = int(pytest.main(list(options)))
    finally:
        sys.stdout.flush()
        os._exit(code)


def run_tests(
    root: Path,
    tests: Sequence[str],
    *,
    timeout_s: float,
    stop_at_first: bool = True,
    write_bytecode: bool = False,
) -> Run:
    """Run tests of the checkout ``root`` in a fork; a run past the time limit is ended with all its processes."""
    begin = time.monotonic()
    with tempfile.TemporaryFile("w+") as log:
        options = [*OPTIONS, *(["-x"] if stop_at_first else []), *tests]
        sys.stdout.flush()
        child = os.fork()
        if child == 0:
            _child(root, options, log, write_bytecode=write_bytecode)
        while (state := os.waitpid(child, os.WNOHANG))[0] == 0:
            if time.monotonic() - begin > timeout_s:
                os.killpg(child, signal.SIGKILL)
                os.waitpid(child, 0)
                return Run(TIMED_OUT, (), time.monotonic() - begin)
            time.sleep(0.02)
        log.seek(0)
        text = log.read()
    code = os.waitstatus_to_exitcode(state[1])
    failed = tuple(line.split(" - ")[0] for line in re.findall(r"^(?:FAILED|ERROR) (.*)$", text, re.MULTILINE))
    outcome = {0: PASSED, 1: FAILED}.get(code, FAILED if code == 2 and failed else BROKEN)
    if outcome == BROKEN:
        failed = (text[-400:],)
    return Run(outcome, failed, time.monotonic() - begin)
