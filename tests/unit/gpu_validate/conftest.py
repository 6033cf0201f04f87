"""Records of a GPU that does not exist, with their blind predictions and rows."""

from __future__ import annotations

from pathlib import Path

import pytest
from gpu_records import CASES, GPU, write_records

from gpu_validate import cli


@pytest.fixture(scope="session")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Blind predictions and records as they are committed; tests only read them."""
    folder = tmp_path_factory.mktemp("recorded")
    write_records(folder)
    return folder


@pytest.fixture(scope="session")
def exported(recorded: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows of every suite with their repeats."""
    folder = tmp_path_factory.mktemp("rows")
    for suite in CASES:
        record, out = recorded / GPU / f"{suite}.json", folder / f"{suite}.csv"
        options = ["--record", str(record), "--repeat", str(folder / f"{suite}-again.csv"), "--out", str(out)]
        assert cli.main(["rows", *options]) == 0
    return folder
