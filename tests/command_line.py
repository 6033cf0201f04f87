"""Run ``scylla-sim`` inside a test and read its output."""

from __future__ import annotations

import json
from typing import Any

import pytest

from scylla_sim import cli

Capture = pytest.CaptureFixture[str]

PREDICT = ["predict", "--hardware", "h100-sxm", "--model", "llama-3.1-8b"]
EAGLE3 = [*PREDICT, "--draft", "eagle3", "--acceptance", "0.76,0.74,0.77"]


def run(capsys: Capture, *arguments: Any) -> tuple[int, str, str]:
    """Return exit code, stdout and stderr."""
    code = cli.main([str(argument) for argument in arguments])
    out, err = capsys.readouterr()
    return code, out, err


def rows(capsys: Capture, *arguments: Any) -> list[dict[str, Any]]:
    """Return the rows of the JSON output of a successful run."""
    code, out, _ = run(capsys, *arguments, "--format", "json")
    assert code == 0
    value = json.loads(out)
    assert value["schema"].startswith("scylla-sim/")
    assert value["provenance"]["version"]
    found: list[dict[str, Any]] = value["rows"]
    return found


def refused(capsys: Capture, *arguments: Any) -> str:
    """Return the one line on stderr of a run that exits with 2 and prints nothing on stdout."""
    code, out, err = run(capsys, *arguments)
    assert code == 2
    assert out == ""
    assert err.count("\n") == 1
    return err
