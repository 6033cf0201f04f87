"""Measurements of a killed run: its processes are waited for, and the records that it finished are kept."""

from __future__ import annotations

import json
import sys
import threading
from base64 import urlsafe_b64encode
from pathlib import Path
from types import ModuleType

import pytest
from checkout import ROOT

from gpu_validate.suites.runner import locked_folder


@pytest.fixture(scope="module")
def killed_run() -> ModuleType:
    sys.path.insert(0, str(ROOT / "workflow"))
    import killed_run as module

    sys.path.pop(0)
    return module


@pytest.fixture
def measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Folder of a kernel record, of a training record and of weights that Snakemake has marked as incomplete."""
    monkeypatch.chdir(tmp_path)
    folder = Path("results/measured")
    (folder / "weights").mkdir(parents=True)
    for name, source in (("kernels", "kernels"), ("smallscale", "smallscale")):
        (folder / f"{name}.json").write_bytes((ROOT / f"gpu_validate/recorded/cpu/{source}.json").read_bytes())
    for kind in ("incomplete", "metadata"):
        for name in ("kernels.json", "smallscale.json", "weights"):
            mark = Path(".snakemake") / kind / urlsafe_b64encode(f"{folder}/{name}".encode()).decode()
            mark.parent.mkdir(parents=True, exist_ok=True)
            mark.write_text("{}")
    return folder


def marked() -> set[str]:
    """Return how many marks are left of each kind."""
    return {f"{kind} {len(list((Path('.snakemake') / kind).iterdir()))}" for kind in ("incomplete", "metadata")}


def kept(module: ModuleType, folder: Path) -> list[str]:
    return [path.name for path in module.keep_finished(Path(".snakemake"), folder)]


def test_finished_records_lose_their_marks(
    killed_run: ModuleType, measured: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kept(killed_run, measured) == ["kernels.json", "smallscale.json", "weights"]
    assert marked() == {"incomplete 0", "metadata 0"}
    assert (
        "kernels.json was finished by a run that was killed; delete it to measure again" in capsys.readouterr().err
    )
    assert kept(killed_run, measured) == []


def test_an_unfinished_or_cut_record_is_measured_again(killed_run: ModuleType, measured: Path) -> None:
    (measured / "smallscale.json").write_text((measured / "smallscale.json").read_text()[:-100])
    (measured / "kernels.partial.jsonl").write_text(json.dumps({}))
    assert kept(killed_run, measured) == []
    assert marked() == {"incomplete 3", "metadata 3"}


def test_a_training_is_unfinished_until_its_work_is_removed(killed_run: ModuleType, measured: Path) -> None:
    (measured / "work/ci-1").mkdir(parents=True)
    assert kept(killed_run, measured) == ["kernels.json"]
    (measured / "work/ci-1").rename(measured / "work/ci-1.done")
    assert kept(killed_run, measured) == ["smallscale.json", "weights"]
    assert list((measured / "work").iterdir()) == []


def test_a_record_without_a_mark_is_left_to_snakemake(killed_run: ModuleType, measured: Path) -> None:
    for mark in Path(".snakemake/incomplete").iterdir():
        mark.unlink()
    assert kept(killed_run, measured) == []
    assert marked() == {"incomplete 0", "metadata 3"}


def test_a_run_waits_for_a_measurement_that_still_runs(
    killed_run: ModuleType, measured: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with locked_folder(measured, "measurement of kernels"):
        waiting = threading.Thread(target=killed_run.wait_for_measurements, args=(measured,))
        waiting.start()
        waiting.join(0.3)
        assert waiting.is_alive()
    waiting.join(10.0)
    assert not waiting.is_alive() and not list(measured.glob(".*.lock"))
    assert "waiting for the measurement of kernels of a killed run to end" in capsys.readouterr().err
