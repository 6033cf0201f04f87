"""Sweeps of 1,000, 3,000 and 10,000 scenarios on two cores: ``python -m proof.sweep [--out proof/sweep.json]``.

Each size is a sweep of `workflow/config/sweeps.yaml` in a copy of the checkout, which Snakemake runs in coarse
jobs. The table has its wall-clock time, and the processor time for each scenario beyond that of the smallest sweep
with the same jobs, of one scenario for each GPU and model.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from proof.run_copy import copied
from scylla_sim.records import dump_json, read_columns, write_text

HARDWARE = ["a100-sxm", "h100-sxm", "h200-sxm", "b200-sxm", "l40s"]
MODELS = ["llama-3.1-8b", "llama-3.1-70b", "qwen3-32b", "qwen3-30b-a3b"]
GRID = {"batch": [1, 4, 16, 64, 256], "context": [1024, 4096]}
SMALLEST = len(HARDWARE) * len(MODELS)
SIZES = (1000, 3000, 10000)
LIMIT_S = 600.0


def sweep_of(size: int) -> dict[str, Any]:
    """Return a sweep of a number of scenarios: `SMALLEST`, or a multiple of 200."""
    if size == SMALLEST:
        scenario = {"draft": ["eagle3"], "acceptance": [0.7]}
        return {"hardware": HARDWARE, "model": MODELS, "scenario": scenario, "batch": [1], "context": [1024]}
    points = size // (len(HARDWARE) * len(MODELS) * len(GRID["batch"]) * len(GRID["context"]))
    rates = [round(0.5 + 0.4 * i / max(points - 1, 1), 4) for i in range(points)]
    scenario = {"draft": ["eagle3"], "draft_len": [3], "acceptance": rates}
    return {"hardware": HARDWARE, "model": MODELS, "scenario": scenario, **GRID}


def timed(folder: Path, size: int) -> dict[str, Any]:
    """Run a sweep and return its rows, seconds and processor seconds."""
    shutil.rmtree(folder / "results", ignore_errors=True)
    (folder / "workflow/config/sweeps.yaml").write_text(yaml.safe_dump({f"s{size}": sweep_of(size)}))
    words = [sys.executable, "-m", "snakemake", "--cores", "2", "--", f"results/sweeps/s{size}.csv"]
    environment = {**os.environ, "PYTHONPATH": str(folder), "OMP_NUM_THREADS": "1"}
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(words, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    seconds, after = time.monotonic() - begun, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise RuntimeError(done.stdout[-2000:] + done.stderr[-2000:])
    rows = len(read_columns(folder / f"results/sweeps/s{size}.csv")["hardware"])
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"scenarios": rows, "seconds": round(seconds, 1), "processor_s": round(used, 1)}


def main(arguments: Sequence[str] | None = None) -> int:
    """Time the sweeps, print the table, and return 1 if one is too slow or loses scenarios."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", help="write the table as JSON")
    args = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="sweep-") as name:
        folder = copied(Path(name) / "checkout").folder
        timed(folder, SMALLEST)  # compiles the modules of the copy
        smallest, *rows = [timed(folder, size) for size in (SMALLEST, *SIZES)]
    for row in rows:
        used, more = row["processor_s"] - smallest["processor_s"], row["scenarios"] - SMALLEST
        row["ms_per_scenario"] = round(1e3 * used / more, 2)
        print(row)
    good = [row["scenarios"] for row in rows] == list(SIZES) and rows[-1]["seconds"] < LIMIT_S
    load = os.getloadavg()[0] / (os.cpu_count() or 1)
    if args.out:
        facts = {"smallest": smallest, "sweeps": rows, "load_per_core": round(load, 1), "cores": 2, "passed": good}
        write_text(args.out, dump_json(facts))
    return int(not good)


if __name__ == "__main__":
    raise SystemExit(main())
