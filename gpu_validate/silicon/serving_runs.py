"""Whole serving runs of real GPUs from ``aiconfigurator-core`` as rows of one tidy CSV.

``systems/silicon_sample.csv`` of that package (NVIDIA, Apache-2.0) holds runs of benchmarks: mean time per output
token and to the first one, at a stated number of requests in flight. Kept are runs of the catalog's dense models in
aggregated serving (prefill and decode on the same GPUs, one tensor-parallel group).
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
"""Checkpoint of a run -> model of the catalog."""

PRECISIONS = {"": "bfloat16", "bf16": "bfloat16", "fp8": "fp8", "fp4": "nvfp4"}
"""Precision of a run -> dtype of the kernels CSV; a blank is taken as bf16 (see `runs`)."""

SATURATED_TTFT_MS = 5000.0
"""A request that waits longer for its first token stood in a queue: the run was offered more than it can serve."""

KEYS = ["device", "engine", "engine_version", "checkpoint", "dtype", "tp", "batch", "input_len", "output_len"]

NOTE_BLANK = "precision is blank in the source and taken as bf16"
NOTE_GIVEN = "precision as stated"


def runs(path: Path, device: str, folder: str) -> pd.DataFrame:
    """Runs of one device, one row a configuration; saturated ones are dropped.

    Parameters
    ----------
    path
        ``systems/silicon_sample.csv``.
    device, folder
        Name in the catalog, and in the file's column ``system``.

    Notes
    -----
    Precision is blank in all runs of H100 checkpoints that were stored in bf16, so a blank is read as bf16; column
    ``precision`` says which rows that concerns. Where the GEMMs' own precision is given it decides (``fp8_block``).
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
    """Runs of a device, of one engine and of some dtypes where asked.

    Raises
    ------
    InputError
        When no run of a dense model remains.
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
