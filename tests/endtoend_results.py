"""Result files of cycles, serving runs and transfer with round numbers, for tests of `paper`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from paper.tables.published_cycles import ENGINE_FILE
from scylla_sim.records import format_csv, write_text

Put = Callable[..., None]

ERRORS = {"median_ape": 0.05, "mape": 0.06, "p90_ape": 0.12, "bias": 0.05, "naive_median_ape": 0.4}
ERRORS |= {"naive_bias": -0.4, "coverage": 0.7, "width": 1.4}
LADDER_BATCHES = (2, 4, 8, 16, 24, 32, 48, 56, 64)
CYCLES = {
    **{f"endtoend/specbundle-{shape}.json": (1,) for shape in ("0-1", "3-1", "5-1", "7-1", "5-3", "7-4")},
    **{
        f"endtoend/ladder-{draft}-{engine}.json": LADDER_BATCHES
        for draft in ("plain", "eagle3")
        for engine in ("sglang", "vllm")
    },
}
"""Result file of cycles by operation -> its batches."""
RUNS = (("vllm", "meta-llama/Llama-3.1-70B", "fp8"), ("sglang", "Qwen/Qwen3-32B", "bfloat16"))


def write_runs(folder: Path, put: Put) -> None:
    """Write runs of two engines; the second sglang run is 1.25 times as fast as its datasheet allows."""
    by = ("engine", "checkpoint", "dtype")
    rows: list[dict[str, Any]] = [
        {**dict(zip(by, key)), "n": 2, **ERRORS, "evidence": "silicon"} for key in (*RUNS, ("all",) * 3)
    ]
    put(folder, "compare/endtoend-h100-sxm-all-unfitted.json", rows, by=list(by))
    halves = [
        {"half": half, "engine": engine, "n": 1, **ERRORS, "evidence": "silicon"}
        for half in ("fit", "held out")
        for engine in ("vllm", "sglang")
    ]
    halves.append({"half": "all", "engine": "all", "n": 4, **ERRORS, "evidence": "silicon"})
    put(folder, "compare/endtoend-h100-sxm-bfloat16-fitted.json", halves, by=["half", "engine"])
    cells = [
        {**dict(zip(by, key)), "tpot_ms": 10.0, "least_s": least, "share": share, "host_s": 1e-3}
        for key, share in zip(RUNS, (1.0, 0.5))
        for least in (5e-3, 9e-3 if key[0] == "vllm" else 12.5e-3)
    ]
    for name in ("all-unfitted", "bfloat16-fitted"):
        path = folder / f"endtoend/h100-sxm-{name}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(format_csv(cells))


def write_cycles(folder: Path, put: Put) -> None:
    """Write cycles of 9 ms and plain steps of 6 ms, with 1 ms of host time and half the device time as roofline."""
    for path, batches in CYCLES.items():
        device_s = 5e-3 if "plain" in path or "specbundle-0-1" in path else 8e-3
        rows = [
            {"batch_size": batch, "context_len": 512, "phase": phase, "op": phase, "seconds": seconds}
            | {"datasheet_s": naive, "evidence": "silicon"}
            for batch in batches
            for phase, seconds, naive in (("verify", device_s, device_s / 2), ("overhead", 1e-3, None))
        ]
        put(folder, path, rows)
    term = {
        "name": "vllm",
        "field": "token_s",
        "value": 10.0,
        "lower": 9.0,
        "upper": 12.0,
        "unit": "us",
        "source": "s",
        "note": "",
    }
    put(folder, ENGINE_FILE, [{**term, "field": "host_s", "value": 1.0, "unit": "ms"}, term])


def write_transfer(folder: Path, put: Put) -> None:
    """Write one GPU with a transferred calibration, and the source GPU with a calibration on few rows."""
    errors = {**ERRORS, "floor_median": 0.02, "floor_kind": "repeat", "evidence": "silicon"}
    for name in ("carried-b200-sxm", "few-h100-sxm"):
        rows = [
            {"dtype": dtype, "regime": regime, "n": 10, **errors}
            for dtype, regime in (("bfloat16", "drafting"), ("fp8", "large"), ("all", "all"))
        ]
        put(folder, f"compare/transfer-{name}.json", rows, by=["dtype", "regime"])
    fits = [{"op": "gemm", "group": dtype, "rows": rows} for dtype, rows in (("bfloat16", 32), ("fp8", 31))]
    write_text(folder / "transfer/calibration-h100-sxm.json", json.dumps({"fits": fits}))


def write_endtoend(folder: Path, put: Put) -> None:
    """Write the result files of published cycles, serving runs and transfer."""
    write_runs(folder, put)
    write_cycles(folder, put)
    write_transfer(folder, put)
