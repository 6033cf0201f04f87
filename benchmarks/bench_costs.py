"""Benchmark kernel models, predictions and schedules.

Run ``python benchmarks/bench_costs.py``. It prints a table and, as its last line, JSON. It asserts nothing.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

import numpy as np

from scylla_sim import cli
from scylla_sim.acceptance.speculative_config import SpeculativeConfig
from scylla_sim.calibration import device_calibration
from scylla_sim.kernels.device_rates import rates
from scylla_sim.kernels.registry import roofline_seconds
from scylla_sim.planning.schedule import schedule
from scylla_sim.prediction.steps import Deployment
from scylla_sim.prediction.throughput import predict
from scylla_sim.specs import catalog

REPEATS = 3
SHAPES, LOOPED, ROWS = 1_000_000, 2_000, 200_000

Case = tuple[Callable[[], object], int]
"""Call to time, and the number of results that it computes."""


def best_of(call: Callable[[], object]) -> float:
    """Return the least CPU seconds of a few repetitions, after one warm-up."""
    call()
    times = []
    for _ in range(REPEATS):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return min(times)


def _loop(p: Mapping[str, float], shapes: list[tuple[float, float, float]]) -> list[float]:
    """Return the seconds of library GEMMs, computed shape by shape in plain Python."""
    hardware = catalog.hardware("h100-sxm")
    r = rates(hardware, "bfloat16")
    sm_flop, out = r.flop_per_s / r.sm_count, []
    norm, whole = p["overlap_norm"], min(p["wave_weight"], 1.0)
    for m, n, k in shapes:
        weights = 2.0 * n * k
        warm = 1.0 / (1.0 + (p["weight_copies"] * weights / r.l2_bytes) ** 6.0)
        moved = weights + 2.0 * (m * k + m * n) - weights * warm * (1.0 - 1.0 / p["l2_ratio"])
        memory = moved / (p["bandwidth_fraction"] * r.bytes_per_s)
        memory *= 1.0 + p["crowding"] * m / (m + 16.0)
        sustained = 2.0 * m * n * k / (p["sustained_fraction"] * r.flop_per_s)
        best = math.inf
        for rows, cols in ((64, 64), (64, 128), (128, 128), (128, 256)):
            step = max(
                2.0 * rows * cols / (p["compute_fraction"] * sm_flop) + p["stage_s"] / 64.0,
                p["intensity"] * (min(rows, m) + cols) / sm_flop,
            )
            for split in (1, 2, 8):
                tiles = math.ceil(m / rows) * math.ceil(n / cols) / r.sm_count * split
                waves = whole * math.ceil(tiles) + (1.0 - whole) * max(tiles, 1.0)
                parts = (waves * (k / split + p["fill_depth"]) * step, memory, sustained)
                top = max(parts)
                plan = top * sum((part / top) ** norm for part in parts) ** (1.0 / norm)
                if split > 1:
                    plan += p["split_s"] + 4.0 * split * m * n * p["intensity"] / (2.0 * r.flop_per_s)
                best = min(best, plan)
        out.append(p["launch_s"] + best)
    return out


def _csv(path: Path, shapes: np.ndarray) -> None:
    """Write shapes as a kernels CSV."""
    lines = "".join(f"gemm,h100-sxm,bf16,{m},{n},{k}\n" for m, n, k in shapes.astype(int).tolist())
    path.write_text("op,device,dtype,m,n,k\n" + lines)


def _predictions() -> dict[str, Case]:
    """Return a grid of cycles with intervals, and the search for a schedule."""
    h100 = device_calibration.shipped("h100-sxm")
    model, deployment = catalog.model("llama-3.1-8b"), Deployment(h100, catalog.engine("vllm"))
    eagle3 = catalog.draft("eagle3")
    config = SpeculativeConfig(eagle3, 3, 1, 4, 2.4, 2.2, 2.6)
    batch, context = np.arange(1.0, 257.0)[:, None], np.linspace(128, 32768, 256)[None, :]
    lengths = [SpeculativeConfig(eagle3, n, 1, n + 1, 1 + 0.5 * n, 1.0, n + 1.0) for n in range(1, 8)]

    def cycles() -> object:
        out = predict(model, config, deployment, batch=batch, context=context)
        return out.speedup_estimate, out.tokens_per_s_estimate

    def search() -> object:
        return schedule(model, lengths, deployment, batch=[1, 16, 64, 256], context=[1024], max_batch=1024)

    return {
        "draft-verify cycles with intervals, a grid": (cycles, 256 * 256),
        "schedule: 7 draft lengths at each of 1,024 batches": (search, 7 * 1024),
    }


def _kernels(shapes: np.ndarray) -> tuple[dict[str, Case], float]:
    """Return the ways to compute the seconds of GEMMs, and the largest difference between loop and arrays."""
    columns = dict(zip("mnk", shapes.T))
    h100 = device_calibration.shipped("h100-sxm")
    fitted, r = h100.kernel("gemm").without_l2_reuse, rates(h100.hardware, "bfloat16")
    p = asdict(fitted.parameters)
    few = [tuple(row) for row in shapes[:LOOPED].tolist()]
    looped = fitted.seconds({name: column[:LOOPED] for name, column in columns.items()}, r)

    def one() -> object:
        return [fitted.seconds({"m": np.asarray(m), "n": n, "k": k}, r) for m, n, k in few]

    cases: dict[str, Case] = {
        "GEMM shapes, arrays": (lambda: fitted.seconds(columns, r), SHAPES),
        "GEMM shapes, one by one through numpy": (one, LOOPED),
        "GEMM shapes, a straightforward loop": (lambda: _loop(p, few), LOOPED),
        "GEMM shapes, datasheet roofline, arrays": (lambda: roofline_seconds("gemm", columns, r), SHAPES),
    }
    return cases, float(np.abs(np.array(_loop(p, few)) / looped - 1).max())


def main() -> None:
    """Run all cases and print their times."""
    rng = np.random.default_rng(0)
    shapes = np.stack([rng.integers(1, 513, SHAPES), *rng.integers(1024, 16385, (2, SHAPES))], axis=1).astype(float)
    kernels, worst = _kernels(shapes)
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder) / "in.csv", Path(folder) / "out.csv"
        _csv(source, shapes[:ROWS])

        def command() -> object:
            with contextlib.redirect_stderr(io.StringIO()):
                return cli.main(["kernels", "--shapes", str(source), "--out", str(target)])

        through_files: dict[str, Case] = {"kernels through the command line, CSV in and out": (command, ROWS)}
        results = {}
        for name, (call, count) in {**kernels, **_predictions(), **through_files}.items():
            seconds = best_of(call)
            results[name] = {"seconds": seconds, "per_second": count / seconds}
            print(f"{name:52} {seconds * 1e3:9.1f} ms  {count / seconds:14,.0f} /s")
    print(f"largest difference between loop and arrays: {worst:.1e}")
    print(json.dumps(results))


if __name__ == "__main__":
    main()
