"""Several commands in one process: provenance, order, and what follows a failure."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from checkout import ROOT, run_in


def run(*commands: str) -> tuple[int, str]:
    """Return exit code and stderr."""
    done = run_in(ROOT, sys.executable, "workflow/commands.py", *commands)
    return done.returncode, done.stderr


def test_each_command_has_its_own_provenance(tmp_path: Path) -> None:
    names = ("vllm-2025", "sglang-2026")
    code, said = run(
        *(f"scylla_sim catalog engines {name} --format json --out {tmp_path}/{name}.json" for name in names)
    )
    assert code == 0, said
    for name in names:
        argv = json.loads((tmp_path / f"{name}.json").read_text())["provenance"]["argv"]
        assert argv == ["__main__.py", "catalog", "engines", name, "--format", "json", "--out", f"{name}.json"]


def test_a_failure_ends_the_job_with_the_command_and_its_error(tmp_path: Path) -> None:
    code, said = run(
        f"scylla_sim catalog engines 'no such engine' --out {tmp_path}/a.csv",
        f"scylla_sim catalog engines --out {tmp_path}/b.csv",
    )
    assert code == 2
    command, error = said.splitlines()
    assert command.startswith("$ python -m scylla_sim catalog engines 'no such engine'")
    assert error.startswith("scylla-sim: error: engines='no such engine'")
    assert list(tmp_path.iterdir()) == []
