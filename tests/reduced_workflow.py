"""Reduced run of the workflow: one GPU, few calibration rows, measurements of seconds."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from checkout import run_in
from gpu_records import write_records

OVERLAY = """\
measurements: recorded
recorded_device: quick
smallscale: [small]
silicon_devices: [h100-sxm]
train_rows: 48
gemm_train_rows: 48
simulated_requests: 200
"""

_SHORT = """\
import sys
from dataclasses import replace
from gpu_validate import cli
from gpu_validate.cli import measure
from gpu_validate.suites import case, cycles, kernel_shapes, sampling_plans, steps
short = {"min_samples": 3, "time_limit_s": 0.01, "warmup_calls": 1}
sampling_plans.PLANS.update({key: replace(plan, **short) for key, plan in sampling_plans.PLANS.items()})
case.ROTATION_FACTOR["cpu"] = 0.01
kernel_shapes.CPU_GEMM_SHAPES["ci"] = kernel_shapes.CPU_GEMM_SHAPES["ci"][:4]
kernel_shapes.CPU_HEADS["ci"] = kernel_shapes.CPU_HEADS["ci"][:1]
kernel_shapes.ATTENTION["cpu", "ci"] = ((1, 4), (128, 256, 512, 1024), (1, 4, 8))
steps.GRIDS["cpu", "ci"] = (steps.Grid("target", "llama-68m", (1, 4), (64,), (1, 2)),)
cycles.GRIDS["cpu", "ci"] = (cycles.Grid("llama-68m", "llama-68m", (1,), (64,)),)
cycles._CHAINS["ci"], cycles._BRANCHINGS["ci"] = (1, 3), ((2, 1),)
del measure.SUITES["decode"]
sys.exit(cli.main(sys.argv[1:]))
"""
"""Program of `measure`: it replaces entries of the tables of shapes and plans before it calls ``gpu-validate``.

The kernels are as few as two fits can use: 16 GEMMs and 16 attention kernels on one side of the split. The buffers
stay in the cache, because filling copies beyond a cache of hundreds of megabytes takes longer than all samples.
"""


def measure(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run ``gpu-validate measure`` with fewer samples, steps and cycles than any scale has."""
    return run_in(folder, sys.executable, "-c", _SHORT, "measure", *options)


def snakemake(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run Snakemake with the overlay in a checkout."""
    return run_in(folder, "snakemake", "--configfile", "overlay.yaml", *options)


def reduce(checkout: Path) -> None:
    """Leave out a committed record of a GPU and the calibration of a second GPU, which add no rule."""
    shutil.rmtree(checkout / "gpu_validate/recorded/h100-sxm")
    scenarios = checkout / "workflow/config/scenarios.yaml"
    scenarios.write_text(scenarios.read_text().replace("h200-sxm", "h100-sxm"))


def complete(checkout: Path) -> None:
    """Record this machine, then run the workflow on this record and on that of a GPU that does not exist."""
    reduce(checkout)
    write_records(checkout / "gpu_validate/recorded")
    done = measure(checkout, "--suite", "all", "--device", "cpu", "--out", "gpu_validate/recorded/quick")
    assert done.returncode == 0, done.stderr
    (checkout / "overlay.yaml").write_text(OVERLAY)
    done = snakemake(checkout)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
