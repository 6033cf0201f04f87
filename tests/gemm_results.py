"""Results of GEMM cases on a CPU that does not exist, for tests of records."""

from __future__ import annotations

from typing import Any

from gpu_validate.device.facts import Device
from gpu_validate.device.timer import summarize

DEVICE = Device(
    kind="cpu",
    name='A "quoted" CPU',
    hardware="local",
    memory_bytes=8 * 2.0**30,
    cache_bytes=32 * 2.0**20,
    threads=1,
    versions={"python": "3.11", "torch": "2.6", "numpy": "2.0"},
)


def result(m: int, n: int, k: int, *, seconds: float = 1e-3) -> tuple[dict[str, Any], dict[str, Any]]:
    summary = summarize([seconds] * 5, stopping_reason="converged", clock="monotonic", cache="rotating")
    row = {
        "case": f"gemm-m{m}-n{n}-k{k}",
        **{"op": "gemm", "device": "local", "dtype": "float32", "m": m, "n": n, "k": k, "kernel_source": "x"},
        **{"latency_ms": seconds * 1e3, "interval_low_ms": 0.9, "interval_high_ms": 1.1},
        **{"flop": 2.0 * m * n * k, "bytes": 4.0 * n * k},
        **{"flop_per_s": 2.0 * m * n * k / seconds, "bytes_per_s": 4.0 * n * k / seconds},
    }
    return row, summary.row()


RESULTS = [result(m, n, 512) for n in (256, 512, 768, 1024, 2048, 4096) for m in (1, 4, 16)]
