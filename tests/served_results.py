"""Result files of ``scylla-sim served`` with round numbers, for tests of `paper`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

Put = Callable[..., None]

LADDER = {1: (1.5, 1.5), 3: (2.0, 1.9), 5: (1.6, 2.0)}
"""Draft length -> measured and predicted speed-up of one series: 5 is chosen, and 3 is better by a fifth."""


def run(source: str, **changes: Any) -> dict[str, Any]:
    """Return one run whose predictions are exact, with changes."""
    row: dict[str, Any] = {
        "id": f"{source}-1",
        "source": source,
        "series": "one",
        "lengths": "assumed",
        "fitted": "",
        "assumed": "context",
        "engine": "vllm-2026",
        "hardware": "h100-sxm",
        "target": "dense",
        "precision": "bf16",
        "kv_precision": "bf16",
        "draft": "eagle3",
        "batch": 8,
        "draft_len": 3,
        "top_k": 1,
        "tokens_per_cycle": 2.5,
        "tau_from": "given",
        "p_slower": 0.0,
        "evidence": "silicon",
    }
    for name, value in (("speedup", 2.0), ("cycle_s", 0.01), ("plain_step_s", 0.008), ("tokens_per_s", 2000.0)):
        row |= {f"measured_{name}": value, name: value, f"{name}_lower": 0.9 * value, f"{name}_upper": 1.2 * value}
        row[f"naive_{name}"] = 0.5 * value
    row |= {f"plain_tokens_per_s{end}": 1000.0 for end in ("", "_lower", "_upper")}
    row |= {"measured_plain_tokens_per_s": 1000.0, "constant_speedup": 1.5, "tau_constant_speedup": 1.6}
    return row | changes


def served_rows() -> list[dict[str, Any]]:
    """Return runs of two sources: a ladder of lengths, and a slower run called faster."""
    ladder = [
        run("a", draft_len=length, measured_speedup=measured, speedup=predicted)
        for length, (measured, predicted) in LADDER.items()
    ]
    slow = run("b", measured_speedup=0.8, speedup=1.0, fitted="preset vllm", target="moe", batch=64)
    plain = run("c", draft="none", tau_from="none", measured_speedup=None, measured_cycle_s=None)
    return [*ladder, slow, plain]


def write_served(folder: Path, put: Put) -> None:
    """Write the runs with given tokens per cycle, from one length, and without their sources."""
    put(folder, "served/runs.json", served_rows())
    put(folder, "served/one-length.json", served_rows())
    left_out = [{**row, "left_out": row["source"], "batch_kind": "closed loop"} for row in served_rows()]
    put(folder, "left-out/served.json", left_out)
