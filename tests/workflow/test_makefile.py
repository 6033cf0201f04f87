"""`make reproduce` starts Snakemake only if a file changed since the last complete run."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from checkout import ROOT

FAKE = """#!/usr/bin/env bash
echo "$*" >> calls
if [ "$2" = snakemake ]; then mkdir -p results/paper; touch results/a.json; fi
if [ "$3" = --report ]; then touch results/paper/report.html; fi
"""
"""Python that notes its arguments and writes results as Snakemake would."""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a checkout with the real Makefile, empty packages and a Python that only notes its calls."""
    for name in ("profiles", "workflow", "scylla_sim", "gpu_validate", "paper", ".venv/bin"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("requirements.txt", "pyproject.toml", "Snakefile", "scylla_sim/a.py"):
        (tmp_path / name).touch()
    shutil.copy(ROOT / "Makefile", tmp_path)
    python = tmp_path / ".venv/bin/python"
    python.write_text(FAKE)
    python.chmod(0o755)
    (tmp_path / ".venv/installed").touch()
    age(tmp_path)
    return tmp_path


def age(folder: Path) -> None:
    """Make every file an hour older, so that a change is newer on any file system."""
    then = time.time() - 3600
    for path in (folder, *folder.rglob("*")):
        os.utime(path, (then, then))


def reproduce(folder: Path, *options: str) -> list[str]:
    """Run `make reproduce` and return the programs that it started."""
    (folder / "calls").write_text("")
    done = subprocess.run(
        ["make", "--no-print-directory", "reproduce", *options],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    calls = [line.split() for line in (folder / "calls").read_text().splitlines()]
    said = [words[1] for words in calls if words[0] == "-m"]
    assert ("Nothing has changed" in done.stdout) == ("snakemake" not in said)
    return said


def test_a_second_run_prints_the_summary_only(folder: Path) -> None:
    assert reproduce(folder) == ["snakemake", "snakemake", "paper"]
    assert reproduce(folder) == ["paper"]


@pytest.mark.parametrize("changed", ["scylla_sim/a.py", "scylla_sim/new.py", "Snakefile", "results/a.json"])
def test_a_changed_or_new_file_starts_snakemake(folder: Path, changed: str) -> None:
    reproduce(folder)
    age(folder)
    (folder / changed).touch()
    assert "snakemake" in reproduce(folder)


def test_a_deleted_result_starts_snakemake(folder: Path) -> None:
    reproduce(folder)
    age(folder)
    (folder / "results/a.json").unlink()
    assert "snakemake" in reproduce(folder)


def test_options_always_reach_snakemake(folder: Path) -> None:
    reproduce(folder)
    assert "snakemake" in reproduce(folder, "ARGS=--configfile mine.yaml")
    assert "snakemake" in reproduce(folder), "the results are those of other options"
    assert "snakemake" in reproduce(folder, "VERBOSE=1")


def test_a_failed_run_is_not_complete(folder: Path) -> None:
    reproduce(folder)
    (folder / ".venv/bin/python").write_text("#!/usr/bin/env bash\nexit 1\n")
    done = subprocess.run(
        ["make", "--no-print-directory", "reproduce", "VERBOSE=1"], cwd=folder, capture_output=True, check=False
    )
    assert done.returncode != 0
    assert not (folder / "results/complete").exists()


def test_make_test_says_how_long_it_takes_and_ends_with_pytest(folder: Path) -> None:
    def said() -> list[str]:
        done = subprocess.run(
            ["make", "--no-print-directory", "test"], cwd=folder, capture_output=True, text=True, check=True
        )
        return done.stdout.splitlines()

    first, second = said(), said()
    assert first[0] == "make test takes about 8 minutes on two free cores."
    assert second[0].startswith("The last complete make test took ") and second[0].endswith(" min on this machine.")
    assert "pytest" in first[-1]


def test_the_site_installs_its_own_packages_only(folder: Path) -> None:
    for name in ("requirements-docs.txt", ".venv/bin/zensical"):
        (folder / name).touch()
    (folder / ".venv/bin/zensical").chmod(0o755)
    (folder / ".venv/installed").unlink()
    (folder / "docs").mkdir()
    done = subprocess.run(["make", "docs"], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    installs = [line for line in (folder / "calls").read_text().splitlines() if "pip install" in line]
    assert [line.partition("--disable-pip-version-check ")[2] for line in installs] == [
        "--requirement requirements-docs.txt --constraint requirements.txt",
        "--no-deps --no-build-isolation --editable .",
    ]
    assert not (folder / ".venv/installed").exists(), "make installs the rest later"
