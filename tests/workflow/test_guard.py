"""What the Snakefile does before any rule: hashes of code, and locks whose holder is dead."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest
from running import ROOT

HERE = socket.gethostname()


@pytest.fixture(scope="module")
def guard() -> ModuleType:
    sys.path.insert(0, str(ROOT / "workflow"))
    import guard as module

    sys.path.pop(0)
    return module


@pytest.fixture
def locked(tmp_path: Path) -> Path:
    """A ``.snakemake`` with a lock in it, as a killed run leaves it."""
    folder = tmp_path / ".snakemake"
    (folder / "locks").mkdir(parents=True)
    (folder / "locks/0.output.lock").write_text("results/a.json\n")
    return folder


@contextmanager
def living(*arguments: str) -> Iterator[int]:
    """Process id of a program that has begun and waits."""
    program = [sys.executable, "-c", "print(flush=True); input()", *arguments]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stdout.readline()
        yield process.pid
        process.communicate(b"\n")


@pytest.fixture
def dead_pid() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_the_lock_of_a_dead_run_goes(guard: ModuleType, locked: Path, dead_pid: int) -> None:
    (locked / "holder").write_text(f"{HERE} {dead_pid}")
    guard.release_stale_lock(locked)
    assert not (locked / "locks").exists()
    assert (locked / "holder").read_text() == f"{HERE} {os.getpid()}"


def test_the_lock_of_a_living_run_stays(guard: ModuleType, locked: Path) -> None:
    with living("snakemake") as pid:
        (locked / "holder").write_text(f"{HERE} {pid}")
        guard.release_stale_lock(locked)
        assert (locked / "locks/0.output.lock").exists()
        assert (locked / "holder").read_text() == f"{HERE} {pid}"


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="needs /proc to tell one program from another")
def test_another_program_with_the_same_process_id_holds_nothing(guard: ModuleType, locked: Path) -> None:
    with living() as pid:
        (locked / "holder").write_text(f"{HERE} {pid}")
        guard.release_stale_lock(locked)
        assert not (locked / "locks").exists()


def test_a_holder_on_another_machine_is_never_judged(guard: ModuleType, locked: Path, dead_pid: int) -> None:
    (locked / "holder").write_text(f"not-{HERE} {dead_pid}")
    guard.release_stale_lock(locked)
    assert (locked / "locks/0.output.lock").exists()


def test_a_lock_of_unknown_origin_is_left_to_the_user(guard: ModuleType, locked: Path) -> None:
    guard.release_stale_lock(locked)
    assert (locked / "locks/0.output.lock").exists()


def test_the_hash_follows_what_a_package_holds_and_may_import(
    guard: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("scylla_sim/records.py", "scylla_sim/plan.py", "gpu_validate/compare.py", "paper/tables.py"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("a = 1\n")

    def hashes() -> dict[str, str]:
        return {package: guard.code_hash(package) for package in guard.SOURCES}

    def changed_by(name: str) -> set[str]:
        before = hashes()
        (tmp_path / name).write_text("a = 2\n")
        after = hashes()
        return {package for package in before if before[package] != after[package]}

    assert changed_by("paper/tables.py") == {"paper"}
    assert changed_by("gpu_validate/compare.py") == {"gpu_validate"}
    assert changed_by("scylla_sim/plan.py") == {"scylla_sim"}
    assert changed_by("scylla_sim/records.py") == {"scylla_sim", "gpu_validate", "paper"}
