"""Short measurements and short training for copies of the checkout: every rule runs for real, in seconds."""

from __future__ import annotations

from pathlib import Path

PROGRAM = '''"""Entry point of ``python -m gpu_validate`` with few cases, few samples and little training."""

import sys
from dataclasses import replace

from gpu_validate import cli
from gpu_validate.cli import measure
from gpu_validate.suites import case, cycles, kernel_shapes, sampling_plans, steps, trained
from gpu_validate.training import plans, sizes

_SHORT = {"min_samples": 3, "time_limit_s": 0.05, "warmup_calls": 1}
sampling_plans.PLANS.update({key: replace(plan, **_SHORT) for key, plan in sampling_plans.PLANS.items()})
case.ROTATION_FACTOR["cpu"] = 0.01
kernel_shapes.CPU_GEMM_SHAPES["ci"] = kernel_shapes.CPU_GEMM_SHAPES["ci"][:6]
kernel_shapes.CPU_HEADS["ci"] = kernel_shapes.CPU_HEADS["ci"][:1]
kernel_shapes.ATTENTION["cpu", "ci"] = ((1, 4), (128, 256, 512, 1024), (1, 4, 8))
steps.GRIDS["cpu", "ci"] = (steps.Grid("target", "llama-68m", (1, 4), (64,), (1, 2)),)
cycles.GRIDS["cpu", "ci"] = (cycles.Grid("llama-68m", "llama-68m", (1,), (64,)),)
cycles._CHAINS["ci"], cycles._BRANCHINGS["ci"] = (1, 3), ((2, 1),)
measure.SUITES.pop("decode", None)  # one process may run this program several times
trained._BATCHES["ci"], trained._VERIFIED["ci"] = (1, 8), ((1, 4, 16, 64), (1, 4, 16))
sizes.SIZES["ci"] = replace(
    sizes.SIZES["ci"],
    sources=replace(sizes.SIZES["ci"].sources, train_bytes=300_000, windows=12),
    target_training=replace(sizes.SIZES["ci"].target_training, tokens=60_000),
    weak_tokens=20_000,
    layers=((1, 2), (4,)),
    grid=tuple(1 << power for power in range(11, 16)),
    broken_grid=tuple(1 << power for power in range(11, 14)),
    anchors=4,
)
plans.SIZES = sizes.SIZES
if __name__ == "__main__":
    raise SystemExit(cli.main())
'''
"""Program that takes the place of ``gpu_validate/__main__.py``.

It replaces entries of the tables of shapes and plans before it calls the command line. Worker processes of training
get the plan from the process that starts them."""

OVERLAY = """\
measurements: live
device: cpu
scale: ci
smallscale: [here]
silicon_devices: [h100-sxm]
silicon_ops: [gemm, context_attention]
train_rows: 48
gemm_train_rows: 48
simulated_requests: 200
"""
"""Settings of a short run that measures and trains."""


def shorten(checkout: Path) -> None:
    """Replace the entry point of ``gpu_validate`` in a copy of the checkout."""
    (checkout / "gpu_validate/__main__.py").write_text(PROGRAM, encoding="utf-8")
