"""Serving benchmarks on real GPUs, from ``aiconfigurator-core``, as rows of one CSV.

``systems/silicon_sample.csv`` of that package (NVIDIA, Apache-2.0) holds benchmark runs: mean time per output token
and time to first token at a stated number of concurrent requests. This module keeps the catalog's dense models in
aggregated serving: prefill and decode on the same GPUs, in one tensor-parallel group.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from scylla_sim.checks import fail, one_of

if TYPE_CHECKING:
    import pandas as pd

OP = "end_to_end"

MODELS = {
    "meta-llama/Llama-3.1-8B-Instruct": "llama-3.1-8b",
    "nvidia/Llama-3.1-8B-Instruct-FP8": "llama-3.1-8b",
    "meta-llama/Llama-3.1-70B": "llama-3.1-70b",
    "Qwen/Qwen3-32B": "qwen3-32b",
    "nvidia/Qwen3-32B-NVFP4": "qwen3-32b",
}
"""Checkpoint of a run -> model in the catalog."""

PRECISIONS = {"": "bfloat16", "bf16": "bfloat16", "fp8": "fp8", "fp4": "nvfp4"}
"""Precision of a run -> dtype of the kernels CSV. A blank means bf16 (see `runs`)."""

SATURATED_TTFT_MS = 5000.0
"""Time to first token above which a run counts as saturated: its requests wait in a queue."""

KEYS = ["device", "engine", "engine_version", "checkpoint", "dtype", "tp", "batch", "input_len", "output_len"]

NOTE_BLANK = "precision is blank in the source and taken as bf16"
NOTE_GIVEN = "precision as stated"


def runs(path: Path, device: str, folder: str) -> pd.DataFrame:
    """Return the runs of one device, one row per configuration, without saturated ones.

    Parameters
    ----------
    path
        ``systems/silicon_sample.csv``.
    device
        Name in the hardware catalog.
    folder
        Name of the device in the file's column ``system``.

    Notes
    -----
    The precision is blank in all H100 runs of checkpoints that are stored in bf16. A blank therefore means bf16.
    Column ``precision`` marks these rows. If the file states a precision of the GEMMs, for example ``fp8_block``,
    that one is used.
    """
    import pandas as pd

    raw = pd.read_csv(path, dtype=dict.fromkeys(("precision", "gemm_quant_mode", "backend_version"), object))
    raw = raw[
        (raw["system"] == folder)
        & (raw["mode"] == "agg")
        & raw["model_path"].isin(MODELS)
        & (raw["pp_size"] == 1)
        & (raw["attention_dp_size"].fillna(1.0) <= 1)
    ]
    stated = raw["precision"].fillna("")
    for name in stated.unique():
        one_of("precision", name, PRECISIONS)
    dtype = stated.map(PRECISIONS).where(stated != "fp8", raw["gemm_quant_mode"].fillna("fp8"))
    frame = pd.DataFrame(
        {
            "op": OP,
            "device": device,
            "engine": raw["backend"],
            "engine_version": raw["backend_version"].fillna(""),
            "checkpoint": raw["model_path"],
            "model": raw["model_path"].map(MODELS),
            "dtype": dtype,
            "kv_dtype": "bfloat16",
            "tp": raw["tp_size"].astype(int),
            "batch": raw["batch_size"].astype(int),
            "input_len": raw["isl"],
            "output_len": raw["osl"],
            "tpot_ms": raw["silicon_tpot_ms"],
            "ttft_ms": raw["silicon_ttft_ms"],
            "precision": stated.map(lambda name: NOTE_GIVEN if name else NOTE_BLANK),
            "source": "aiconfigurator-core, systems/silicon_sample.csv",
        }
    )
    median = frame.groupby(KEYS, sort=False)[["tpot_ms", "ttft_ms"]].transform("median")
    frame[["tpot_ms", "ttft_ms"]] = median
    kept = frame[frame["ttft_ms"] <= SATURATED_TTFT_MS]
    return kept.drop_duplicates(KEYS).sort_values(KEYS, ignore_index=True)


def export(
    systems: Path, device: str, folder: str, *, engine: str | None = None, dtypes: Iterable[str] = ()
) -> pd.DataFrame:
    """Return the runs of a device, optionally of one engine and of some dtypes.

    Parameters
    ----------
    systems
        Folder that holds ``silicon_sample.csv``.
    device
        Name in the hardware catalog.
    folder
        Name of the device in the file.
    engine
        Engine to keep; all by default.
    dtypes
        Kernel dtypes to keep; all by default.

    Raises
    ------
    InputError
        If no run of a dense model remains.
    """
    frame = runs(systems / "silicon_sample.csv", device, folder)
    if frame.empty:
        raise fail("device", device, "has no serving runs of dense models")
    if engine is not None:
        frame = frame[frame["engine"] == one_of("framework", engine, sorted(frame["engine"].unique()))]
    if wanted := list(dtypes):
        for name in wanted:
            one_of("dtype", name, sorted(frame["dtype"].unique()))
        frame = frame[frame["dtype"].isin(wanted)]
    return frame.reset_index(drop=True)
