"""Full and read-only folders of results: named before a run, and at its end."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import pytest
from checkout import ROOT


@pytest.fixture(scope="module")
def disk() -> ModuleType:
    sys.path.insert(0, str(ROOT / "workflow"))
    import disk as module

    sys.path.pop(0)
    return module


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results/steps").mkdir(parents=True)
    return Path("results")


def test_folders_with_space_have_no_problem(disk: ModuleType, results: Path) -> None:
    assert disk.problem(disk.written(results), 1) == ""
    assert disk.problem([Path("missing/folder")], 1) == ""


def test_a_full_disk_is_named_before_a_run(
    disk: ModuleType, results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(disk, "NEEDED_BYTES", 1e18)
    with pytest.raises(SystemExit, match="2"):
        disk.check(results)
    said = capsys.readouterr().err
    assert said.startswith("disk: .snakemake has ") and said.endswith("; free space and run again\n")
    assert said.count("\n") == 1


def test_a_folder_that_filled_is_named_at_the_end(
    disk: ModuleType, results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = []
    monkeypatch.setattr(disk.atexit, "register", lambda *call: kept.append(call))
    monkeypatch.setattr(disk, "NEEDED_BYTES", 1)
    disk.check(results)
    ((explain, folder),) = kept
    explain(folder)
    assert capsys.readouterr().err == ""
    usage = disk.shutil.disk_usage
    monkeypatch.setattr(
        disk.shutil,
        "disk_usage",
        lambda path: usage(path)._replace(free=10 if Path(path).name == "steps" else 1e12),
    )
    explain(folder)
    said = "disk: results/steps has 0.0 MB of free disk space and needs 50 MB; free space and run again"
    assert capsys.readouterr().err == f"{said}; finished results are kept\n"


def test_a_read_only_folder_is_named(disk: ModuleType, results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk.os, "access", lambda path, mode: Path(path).name != "steps")
    said = "results/steps is not writable; make it or its disk writable and run again"
    assert disk.problem(disk.written(results), 1) == said
