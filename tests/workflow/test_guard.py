"""Steps of the Snakefile before its rules: hashes of code, stale locks, and checks of records."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml
from checkout import ROOT
from empty_gpu_records import measured_gpu

HERE = socket.gethostname()


@pytest.fixture(scope="module")
def guard() -> ModuleType:
    sys.path.insert(0, str(ROOT / "workflow"))
    import guard as module

    sys.path.pop(0)
    return module


@pytest.fixture
def locked(tmp_path: Path) -> Path:
    """Folder ``.snakemake`` with the lock of a killed run."""
    folder = tmp_path / ".snakemake"
    (folder / "locks").mkdir(parents=True)
    (folder / "locks/0.output.lock").write_text("results/a.json\n")
    return folder


@contextmanager
def living(*arguments: str) -> Iterator[int]:
    """Yield the process id of a program that waits."""
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


def test_the_lock_of_a_dead_run_is_removed(guard: ModuleType, locked: Path, dead_pid: int) -> None:
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
def test_another_program_with_the_same_process_id_holds_no_lock(guard: ModuleType, locked: Path) -> None:
    with living() as pid:
        (locked / "holder").write_text(f"{HERE} {pid}")
        guard.release_stale_lock(locked)
        assert not (locked / "locks").exists()


def test_a_lock_of_another_machine_is_kept(guard: ModuleType, locked: Path, dead_pid: int) -> None:
    (locked / "holder").write_text(f"not-{HERE} {dead_pid}")
    guard.release_stale_lock(locked)
    assert (locked / "locks/0.output.lock").exists()


def test_a_lock_of_unknown_origin_is_kept(guard: ModuleType, locked: Path) -> None:
    guard.release_stale_lock(locked)
    assert (locked / "locks/0.output.lock").exists()


def test_the_hash_of_a_package_follows_its_imports(
    guard: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    monkeypatch.chdir(tmp_path)
    request.addfinalizer(guard._imported.cache_clear)  # paths are relative, and other tests read the checkout
    request.addfinalizer(guard._file_of.cache_clear)
    files = {
        "scylla_sim/__init__.py": "if TYPE_CHECKING:\n    from scylla_sim.planning import capacity\n",
        "scylla_sim/records.py": "",
        "scylla_sim/units.py": "",
        "scylla_sim/specs/__init__.py": "",
        "scylla_sim/specs/model.py": "from scylla_sim import units",
        "scylla_sim/planning/capacity.py": "",
        "scylla_sim/data/models.toml": "",
        "gpu_validate/cli/compare.py": "def f():\n    from scylla_sim.specs.model import (\n        Model,\n    )",
        "paper/tables/index.py": "from scylla_sim.records import Row",
        "paper/published/taus.csv": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)

    def hashes() -> dict[str, str]:
        guard._imported.cache_clear()
        guard._file_of.cache_clear()
        return {package: guard.code_hash(package) for package in guard.PACKAGES}

    def changed_by(name: str) -> set[str]:
        before = hashes()
        (tmp_path / name).write_text(f"{files[name]}\n# changed\n")
        after = hashes()
        return {package for package in before if before[package] != after[package]}

    assert changed_by("paper/tables/index.py") == {"paper"}
    assert changed_by("paper/published/taus.csv") == {"paper"}
    assert changed_by("gpu_validate/cli/compare.py") == {"gpu_validate"}
    assert changed_by("scylla_sim/planning/capacity.py") == {"scylla_sim"}
    assert changed_by("scylla_sim/units.py") == {"scylla_sim", "gpu_validate"}
    assert changed_by("scylla_sim/specs/__init__.py") == {"scylla_sim", "gpu_validate"}
    assert changed_by("scylla_sim/records.py") == {"scylla_sim", "paper"}
    assert changed_by("scylla_sim/data/models.toml") == {"scylla_sim", "gpu_validate", "paper"}


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("SHA256SUMS", None, "has no SHA256SUMS"),
        ("step.csv", None, "does not match its hash in"),
        ("provenance.json", "edited", "does not match its hash in"),
        ("more.csv", "added", "is not listed in"),
    ],
)
def test_predictions_that_do_not_match_their_hash_are_refused(
    guard: ModuleType,
    tmp_path: Path,
    file: str,
    text: str | None,
    said: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    with measured_gpu(tmp_path) as (_, blind):
        if text is None:
            (blind / file).unlink()
        else:
            (blind / file).write_text(text)
        with pytest.raises(SystemExit, match="2"):
            guard.check_blind(blind.parent)
    assert said in capsys.readouterr().err


def test_records_of_another_gpu_are_refused_and_unknown_folders_named(
    guard: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with measured_gpu(tmp_path) as (records, _):
        guard.check_gpu_records(records.parent)
        (records / "step.json").write_text('{"provenance": {"device": {"hardware": "h100-sxm"}}}')
        with pytest.raises(SystemExit, match="2"):
            guard.check_gpu_records(records.parent)
        assert "was measured on hardware='h100-sxm', not on mi300x" in capsys.readouterr().err
        (records / "step.json").write_text("{}")
        with pytest.raises(SystemExit, match="2"):
            guard.check_gpu_records(records.parent)
        assert "is not a record of gpu-validate" in capsys.readouterr().err
    with measured_gpu(tmp_path, "mi300") as (records, _):
        guard.check_gpu_records(records.parent)
    said = capsys.readouterr().err
    assert "mi300 is not in the catalog and is left out of the tables; did you mean mi300x?" in said


@pytest.mark.parametrize(
    ("setting", "line"),
    [
        ({"scal": "ci"}, "config: scal is not a setting; did you mean scale?"),
        ({"scale": "tiny"}, "config: scale='tiny' must be one of ci, small, full"),
        ({"device": "gpu"}, "config: device='gpu' must be one of auto, cuda, cpu"),
        ({"measurements": "rekorded"}, "config: measurements='rekorded' must be one of live, recorded"),
        ({"train_rows": "many"}, "config: train_rows='many' must be of type integer"),
        ({"train_rows": -1}, "config: train_rows=-1 is refused: -1 is less than the minimum of 32"),
        ({"silicon_devices": "h100-sxm"}, "config: silicon_devices='h100-sxm' must be of type array"),
        ({"silicon_ops": ["experts"]}, "config: silicon_ops=['experts'] must contain gemm"),
        ({"silicon_ops": ["gemm"]}, "config: silicon_ops=['gemm'] must contain context_attention"),
    ],
)
def test_a_bad_setting_is_refused_in_one_line(
    guard: ModuleType, setting: dict[str, Any], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    shipped = yaml.safe_load((ROOT / "workflow/config/config.yaml").read_text())
    with pytest.raises(SystemExit, match="2"):
        guard.check_config(shipped | setting, ROOT / "workflow/schemas/config.schema.yaml")
    assert capsys.readouterr().err == f"{line}\n"
