"""Hardware description of a device outside the catalog, from its own kernels record."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from gpu_validate.device.facts import LOCAL
from scylla_sim.checks import fail
from scylla_sim.ops.op import all_reduce_bytes
from scylla_sim.records import write_text
from scylla_sim.specs.dtypes import KV_PRECISIONS

_PCIE_BYTES_PER_S = 64e9
"""One-way bandwidth of PCI Express 5.0 with 16 lanes. A faster link is not PCI Express."""


def _best_rate(record: Mapping[str, Any], key: str, ops: tuple[str, ...], dtype: str = "") -> tuple[float, str]:
    rows = [row for row in record["values"] if row["op"] in ops and dtype in ("", row["dtype"])]
    if not rows:
        raise fail("record", record["suite"], f"has no {' or '.join(ops)} row to take a peak from")
    best = max(rows, key=lambda row: row[key])
    return float(best[key]), str(best["case"])


def _link_bytes_per_s(row: Mapping[str, Any]) -> float:
    """Return the bytes per second that each GPU sends in a measured all-reduce."""
    message = {name: np.asarray(float(row[name])) for name in ("num_gpus", "bytes")}
    return float(all_reduce_bytes(message)) / (1e-3 * float(row["latency_ms"]))


def hardware_toml(record: Mapping[str, Any]) -> str:
    """Return one entry in the format of the hardware catalog, with the best measured rates as peaks.

    At least one kernel of the record reaches each rate, so fitted fractions of these peaks are at most one.

    Raises
    ------
    InputError
        When the record has no row to take a peak from.
    """
    device = record["provenance"]["device"]
    said = f"{device['name']}, {device['threads']} threads, torch {record['provenance']['versions']['torch']}"
    said += f", {record['provenance']['utc']}"
    peaks = []
    for precision, dtype in KV_PRECISIONS.items():
        if any(row["dtype"] == dtype and row["op"] == "gemm" for row in record["values"]):
            rate, case = _best_rate(record, "flop_per_s", ("gemm",), dtype)
            peaks.append((f"peak_{precision}", rate / 1e9, "GFLOP/s", f"best measured GEMM, {case}"))
    rate, case = _best_rate(record, "bytes_per_s", ("copy", "read", "gemm", "decode_attention"))
    fields = [
        ("memory", device["memory_bytes"] / 2**30, "GiB", "reported by the system"),
        ("memory_bandwidth", rate / 1e9, "GB/s", f"best measured bytes per second of any kernel, {case}"),
        *peaks,
        ("l2", device["cache_bytes"] / 2**20, "MiB", "last-level cache reported by the system"),
    ]
    if device["kind"] == "cuda":
        fields.append(("sm_count", device["details"]["sm_count"], "count", "reported by the driver"))
    links = [row for row in record["values"] if row["op"] == "all_reduce"]
    link = "none"
    if links:
        rate = max(_link_bytes_per_s(row) for row in links)
        link = "nvlink" if rate > _PCIE_BYTES_PER_S else "pcie"
        fields.append(("link_bandwidth", rate / 1e9, "GB/s", "best measured all-reduce, one way"))
        fields.append(
            ("gpus_per_node", max(int(row["num_gpus"]) for row in links), "count", "GPUs measured together")
        )
    lines = [f"# Measured by gpu-validate on {said}", f"[{LOCAL}]", 'family = "local"', f'link = "{link}"']
    for name, value, unit, source in fields:
        number = str(value) if isinstance(value, int) else f"{value:.6g}"
        text = json.dumps(f"gpu-validate measure: {source}; {said}", ensure_ascii=False)
        lines.append(f'{name} = {{ value = {number}, unit = "{unit}", source = {text} }}')
    return "\n".join(lines) + "\n"


def write_hardware(path: Path, record: Mapping[str, Any]) -> None:
    """Write the text of `hardware_toml` to a file."""
    write_text(path, hardware_toml(record))
