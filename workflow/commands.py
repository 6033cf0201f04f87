"""Run several commands of this project in one process: ``python workflow/commands.py COMMAND ...``.

Each COMMAND is one word of the command line, such as ``"gpu_validate rows --record FILE"``. Most commands of the
workflow compute for less time than Python needs to start and to import pandas. Every command has its own
provenance, as if ``python -m`` had started it.
"""

from __future__ import annotations

import runpy
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path


def run(command: str) -> int:
    """Run a command, ``PACKAGE VERB [options]``, as ``python -m`` does, and return its exit code."""
    package, *arguments = shlex.split(command)
    sys.argv = [package, *arguments]  # runpy replaces the first word by the path of the module
    try:
        runpy.run_module(package, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def main(commands: Sequence[str]) -> int:
    """Run the commands in order, each after a line with its text, and return the first exit code that is not 0."""
    for command in commands:
        print(f"$ python -m {command}", file=sys.stderr, flush=True)
        if code := run(command):
            return code
    return 0


if __name__ == "__main__":
    sys.path[0] = str(Path.cwd())  # the packages of this checkout, as with python -m
    raise SystemExit(main(sys.argv[1:]))
