"""Print a page with the ``--help`` of every verb. `make docs` writes it to ``docs/command-line.md``."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

PROGRAMS = {
    "scylla-sim": "scylla_sim",
    "gpu-validate": "gpu_validate",
    "python -m paper": "paper",
}


def help_of(module: str, *verb: str) -> str:
    """Return the help text of a program, or of one of its verbs."""
    command = (sys.executable, "-m", module, *verb, "--help")
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def verbs_of(module: str) -> list[str]:
    """Return the verbs of a program, in the order of its help."""
    return list(import_module(f"{module}.cli").VERBS)


def main() -> None:
    """Print the page."""
    print("# Command line\n\nThis page holds the `--help` of every verb.")
    for program, module in PROGRAMS.items():
        print(f"\n## {program}\n\n```text\n{help_of(module).strip()}\n```")
        for verb in verbs_of(module):
            print(f"\n### {program} {verb}\n\n```text\n{help_of(module, verb).strip()}\n```")


if __name__ == "__main__":
    main()
