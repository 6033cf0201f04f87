"""A chain of kills: a run that measures, trains, fits and scores is killed at random moments and started again.

Measured times differ from run to run, so the end is compared in three ways. Every measured row that was once in a
file must stay as it is until the end of its round. Trained weights and acceptances must be those of an undisturbed
training. All other files must be, byte for byte, those of an undisturbed run on the same measured records.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

from proof.run_copy import LIMIT_S, Run, copied, different, wait_for_group
from proof.short import OVERLAY, shorten

TARGETS = (
    "results/compare/local-specdecode.json",
    "results/compare/trained-here.json",
    "results/laws/small-scale-tokens-here.json",
    "results/laws/theorem-1.1.json",
)
"""Ends of the stages: measure, train, measure the trained, fit laws and calibration, score."""
MEASURED = "results/measured"
WEIGHTS = f"{MEASURED}/weights"


def rows_of(measured: Path) -> dict[str, Any]:
    """Return every measured row in partial files and records, by suite and case."""
    found: dict[str, Any] = {}
    for partial in measured.glob("*.partial.jsonl"):
        suite = partial.name.partition(".")[0]
        for line in partial.read_text(errors="replace").splitlines():
            try:
                row = json.loads(line).get("row")
            except ValueError:
                continue  # the line in which the process was killed
            if row:
                found[f"{suite}: {row['case']}"] = row
    for record in measured.glob("*.json"):  # after the partial files, which end when a record is written
        for row in json.loads(record.read_text())["values"]:
            found[f"{record.stem}: {row['case']}"] = row
    return found


def training_of(run: Run) -> dict[str, Any]:
    """Return what a training must repeat exactly: rows of its record, and its weights."""
    record = json.loads((run.folder / MEASURED / "smallscale.json").read_text())
    weights = {path.name: path.read_bytes() for path in sorted((run.folder / WEIGHTS).glob("*"))}
    return {"rows": record["values"], "samples": record["samples"], **weights}


def from_same_records(run: Run, folder: Path) -> dict[str, bytes]:
    """Return the files of an undisturbed run on the measured records of another one."""
    shutil.rmtree(folder, ignore_errors=True)
    other = _copy(folder)
    shutil.copytree(run.folder / MEASURED, folder / MEASURED)
    if other.run() or other.jobs & {"measure", "train", "measure_trained"}:
        raise RuntimeError(f"the run on the same records measured again: {other.said[-500:]}")
    return other.files()


def _copy(folder: Path) -> Run:
    run = copied(folder, TARGETS, OVERLAY)
    shorten(folder)
    return run


def chain(base: Path, *, kills: int, seed: int, longest_s: float) -> dict[str, Any]:
    """Kill runs until there were ``kills`` kills, half of them with their jobs, and compare the end of each round.

    A round begins without results and ends with a run that finishes.
    """
    base.mkdir()
    chance, undisturbed = random.Random(seed), _copy(base / "undisturbed")
    if undisturbed.run():
        raise RuntimeError(undisturbed.said[-1000:])
    training = training_of(undisturbed)
    run = _copy(base / "killed")
    kept: dict[str, Any] = {}
    done, rounds, most, lost, wrong, tracebacks = 0, 0, 0, set[str](), set[str](), 0
    started: list[subprocess.Popen[str]] = []
    while done < kills or not rounds:
        process, group = run.start(), chance.random() < 0.5
        started.append(process)
        try:
            process.wait(timeout=chance.uniform(0.0, longest_s) if done < kills else LIMIT_S)
        except subprocess.TimeoutExpired:
            (os.killpg if group else os.kill)(process.pid, signal.SIGKILL)
            process.wait()
            done += 1
        code = run.end(process)
        tracebacks += "Traceback" in run.said
        found = rows_of(run.folder / MEASURED)
        lost |= {name for name, row in kept.items() if found.get(name) != row}
        kept, most = found, max(most, len(found))
        print(f"kill {done}, exit code {code}, {len(found)} rows, {len(run.files())} files", flush=True)
        if code > 0:
            wrong.add(f"exit code {code}: {run.said[-300:]}")
            break
        if code == 0:
            while started:  # a job of a killed run may still write
                wait_for_group(started.pop())
            rounds += 1
            wrong |= set(different(run, from_same_records(run, base / "same-records")))
            same = training_of(run)
            wrong |= {f"training: {name}" for name in same if same[name] != training.get(name)}
            if done < kills:
                shutil.rmtree(run.folder / "results")
                kept = {}
    return {
        "kills": done,
        "rounds": rounds,
        "measured_rows": most,
        "lost": sorted(lost),
        "rules": sorted(run.jobs),
        "different": sorted(wrong),
        "tracebacks": tracebacks,
        "passed": not lost and not wrong,
    }
