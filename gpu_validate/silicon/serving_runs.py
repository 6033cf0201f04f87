"""Serving benchmarks on real GPUs, from ``aiconfigurator-core``, as rows of one CSV.

``systems/silicon_sample.csv`` of that package (NVIDIA, Apache-2.0) holds benchmark runs: mean time per output token
and time to first token at a stated number of concurrent requests. This module keeps aggregated serving: prefill and
decode on the same GPUs, in one tensor-parallel group. Each kept run carries its
protocol, and each other run the reason why it is left out.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpu_validate.silicon import serving_protocols
from scylla_sim.checks import fail, one_of

if TYPE_CHECKING:
    import pandas as pd

OP = "end_to_end"
ALL_DEVICES = "all"
"""Name that selects the runs of all devices."""

MODELS = {
    ("meta-llama/Llama-3.1-8B-Instruct", ""): ("llama-3.1-8b", "bfloat16"),
    ("meta-llama/Llama-3.1-8B-Instruct", "fp8"): ("llama-3.1-8b", "fp8_block"),
    ("nvidia/Llama-3.1-8B-Instruct-FP8", "fp8"): ("llama-3.1-8b", "fp8"),
    ("meta-llama/Llama-3.1-70B", "fp8"): ("llama-3.1-70b", "fp8"),
    ("meta-llama/Llama-3.1-70B", "fp4"): ("llama-3.1-70b", "nvfp4"),
    ("Qwen/Qwen3-32B", ""): ("qwen3-32b", "bfloat16"),
    ("Qwen/Qwen3-32B", "fp8"): ("qwen3-32b", "fp8"),
    ("Qwen/Qwen3-32B", "fp4"): ("qwen3-32b", "nvfp4"),
    ("nvidia/Qwen3-32B-NVFP4", "fp4"): ("qwen3-32b", "nvfp4"),
    ("openai/gpt-oss-120b", "fp4"): ("gpt-oss-120b", "mxfp4"),
    ("openai/gpt-oss-120b", "fp8"): ("gpt-oss-120b", "mxfp4"),
    ("Qwen/Qwen3-235B-A22B-FP8", "fp8"): ("Qwen--Qwen3-235B-A22B-FP8", ""),
    ("Qwen/Qwen3.5-397B-A17B", "bf16"): ("Qwen--Qwen3.5-397B-A17B", ""),
    ("Qwen/Qwen3.5-397B-A17B", "fp8"): ("Qwen--Qwen3.5-397B-A17B", "fp8_block"),
    ("Qwen/Qwen3.5-397B-A17B", "fp4"): ("nvidia--Qwen3.5-397B-A17B-NVFP4", ""),
    ("MiniMaxAI/MiniMax-M2.5", "fp8"): ("MiniMaxAI--MiniMax-M2.5", ""),
    ("MiniMaxAI/MiniMax-M2.5", "fp4"): ("nvidia--MiniMax-M2.5-NVFP4", ""),
    ("moonshotai/Kimi-K2.5", "int4"): ("moonshotai--Kimi-K2.5", ""),
    ("moonshotai/Kimi-K2.5", "fp4"): ("nvidia--Kimi-K2.5-NVFP4", ""),
    ("zhipuai/GLM-5", "fp8"): ("zai-org--GLM-5-FP8", ""),
    ("zhipuai/GLM-5", "fp4"): ("nvidia--GLM-5-NVFP4", ""),
    ("deepseek-ai/DeepSeek-R1", "fp8"): ("deepseek-ai--DeepSeek-R1", ""),
    ("deepseek-ai/DeepSeek-V3", "fp8"): ("deepseek-ai--DeepSeek-V3", ""),
    ("deepseek-ai/DeepSeek-R1", "fp4"): ("nvidia--DeepSeek-V3.1-NVFP4", ""),
    ("deepseek-ai/DeepSeek-V3", "fp4"): ("nvidia--DeepSeek-V3.1-NVFP4", ""),
    ("nvidia/DeepSeek-R1-NVFP4", "fp4"): ("nvidia--DeepSeek-V3.1-NVFP4", ""),
    ("nvidia/DeepSeek-V3.1-NVFP4", "fp4"): ("nvidia--DeepSeek-V3.1-NVFP4", ""),
}
"""(checkpoint, precision) of a run -> model of the catalog and dtype of the kernels CSV, or a file of
``model_configs`` of the package, whose dtypes hold if the second is empty. gpt-oss runs in MXFP4 under
every label; rules in ``serving_protocols.toml`` say where its activations have 8 bits.
"""

SATURATED_TTFT_MS = 5000.0
"""Time to first token above which a run counts as saturated: its requests wait in a queue."""
GPUS_PER_NODE = 8

CONFIGURATION = [
    *("device", "framework", "engine_version", "checkpoint", "dtype", "precision", "tp", "batch"),
    *("input_len", "output_len", *serving_protocols.COLUMNS),
]
"""Columns whose equal values make two runs repeats of one configuration."""

NOTE_BLANK = "precision is blank in the source and taken as bf16"
NOTE_GIVEN = "precision as stated"
_ORIGIN = r"^(?:source_file=20|db-dump)"
_SUMMARIES = r"^source_file=(?:kimi|qwen)[^/]*-gap-analysis\.csv"


def raw_source(raw: pd.DataFrame) -> pd.Series:
    """Return where each run of the file comes from, in the words of the file; empty if it does not say."""
    empty = raw["system"].map(lambda _: "")
    return raw.get("silicon_data_source", empty).fillna("")


def _read(path: Path, devices: dict[str, str]) -> pd.DataFrame:
    """Return the aggregated runs of some devices with tidy names, and why a run is left out."""
    import pandas as pd

    raw = pd.read_csv(path, dtype=dict.fromkeys(("precision", "gemm_quant_mode", "backend_version"), object))
    folders = {folder: name for name, folder in devices.items()}
    raw = raw[raw["system"].isin(folders) & (raw["mode"] == "agg")].reset_index(drop=True)
    stated = raw["precision"].fillna("")
    known = [MODELS.get(key, ("", "")) for key in zip(raw["model_path"], stated)]
    source = raw_source(raw)
    frame = pd.DataFrame(
        {
            "op": OP,
            "device": raw["system"].map(folders),
            "framework": raw["backend"],
            "engine_version": raw["backend_version"].fillna(""),
            "origin": source.str.match(_ORIGIN).map({True: "inferencex", False: "other"}),
            "measured": source.str.extract(r"measured=(\d{4}-\d\d-\d\d)")[0].fillna(""),
            "checkpoint": raw["model_path"],
            "precision": stated,
            "model": [name for name, _ in known],
            "dtype": [dtype for _, dtype in known],
            "tp": raw["tp_size"].astype(int),
            "batch": raw["batch_size"].astype(int),
            "input_len": raw["isl"].astype(int),
            "output_len": raw["osl"].astype(int),
            "tpot_ms": raw["silicon_tpot_ms"],
            "ttft_ms": raw["silicon_ttft_ms"],
            "note": stated.map(lambda name: NOTE_GIVEN if name else NOTE_BLANK),
            "source": "aiconfigurator-core, systems/silicon_sample.csv",
        }
    )
    frame["excluded"] = _reasons(frame, raw)
    return frame


def _reasons(frame: pd.DataFrame, raw: pd.DataFrame) -> pd.Series:
    """Return why a run is left out, the first reason of several; empty for a run that is kept."""
    reasons = {
        "model is not known": frame["model"] == "",
        "pipeline parallelism": raw["pp_size"] > 1,
        "several nodes": frame["tp"] > GPUS_PER_NODE,
        "data-parallel attention": (raw["attention_dp_size"].fillna(1.0) > 1) | (_expert_gpus(raw) > frame["tp"]),
        "expert parallelism": raw.get("moe_ep_size", 1.0 + 0.0 * frame["tp"]).fillna(1.0) > 1,
        "one output token or no time": (frame["output_len"] < 2)
        | ~(frame["tpot_ms"] > 0)
        | ~(frame["ttft_ms"] > 0),
        "saturated: first token after more than 5 s": frame["ttft_ms"] > SATURATED_TTFT_MS,
        "another summary of runs of InferenceX": raw_source(raw).str.match(_SUMMARIES),
        "the same numbers as another row": _copies(frame),
    }
    found = frame["origin"].map(lambda _: "")
    for reason, applies in reasons.items():
        found = found.where(~((found == "") & applies), reason)
    return found


def _expert_gpus(raw: pd.DataFrame) -> pd.Series:
    """Return the GPUs that share the experts; more than those of attention mean that attention is copied."""
    ones = raw["tp_size"].map(lambda _: 1.0)
    return raw.get("moe_tp_size", ones).fillna(1.0) * raw.get("moe_ep_size", ones).fillna(1.0)


def _copies(frame: pd.DataFrame) -> pd.Series:
    """Return which runs repeat the numbers of another, such as DeepSeek-V3 those of DeepSeek-R1.

    Of equal rows, one with a documented protocol is kept.
    """
    same = frame[["device", "framework", "tp", "batch", "input_len", "output_len", "origin"]].copy()
    for name in ("tpot_ms", "ttft_ms"):
        same[name] = frame[name].map("{:.5g}".format)
    ordered = same.sort_values("origin", kind="stable")  # inferencex before other
    return ordered.drop(columns="origin").duplicated().reindex(frame.index)


def runs(path: Path, devices: dict[str, str]) -> pd.DataFrame:
    """Return the aggregated runs of some devices, one row per configuration, with those that are left out.

    Parameters
    ----------
    path
        ``systems/silicon_sample.csv``.
    devices
        Name in the hardware catalog -> name in the file's column ``system``.

    Returns
    -------
    pandas.DataFrame
        Column ``excluded`` is empty for the runs that are kept. Repeats of a kept configuration are one row with
        their medians, and ``repeats`` counts them.

    Notes
    -----
    The precision is blank in all H100 runs of checkpoints that are stored in bf16. A blank therefore means bf16.
    Column ``note`` marks these rows.
    """
    import pandas as pd

    frame = _read(path, devices)
    keys = [*serving_protocols.COLUMNS]
    told: list[dict[str, Any]] = [
        serving_protocols.protocol({**row, "version": row["engine_version"]}) for row in frame.to_dict("records")
    ]
    protocols = pd.DataFrame(told, columns=["dtype", *keys], index=frame.index)
    frame = pd.concat([frame.assign(dtype=protocols.pop("dtype")), protocols], axis=1)
    dropped = frame[frame["excluded"] != ""].assign(repeats=1)
    kept = frame[frame["excluded"] == ""]
    groups = kept.groupby(CONFIGURATION, sort=False)
    kept = kept.assign(
        tpot_ms=groups["tpot_ms"].transform("median"),
        ttft_ms=groups["ttft_ms"].transform("median"),
        repeats=groups["tpot_ms"].transform("size"),
    ).drop_duplicates(CONFIGURATION)
    return pd.concat([kept, dropped]).sort_values(["excluded", *CONFIGURATION[:10]], ignore_index=True)


def export(
    systems: Path,
    devices: dict[str, str],
    *,
    framework: str | None = None,
    dtypes: Iterable[str] = (),
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the kept runs of some devices, and the runs that are left out.

    Parameters
    ----------
    systems
        Folder that holds ``silicon_sample.csv``; ``model_configs`` lies beside it.
    devices
        Name in the hardware catalog -> name in the file.
    framework
        Serving framework to keep; all by default.
    dtypes
        Data types of the weights to keep; all by default.

    Raises
    ------
    InputError
        If no run remains.
    """
    frame = runs(systems / "silicon_sample.csv", devices)
    kept = frame["excluded"] == ""
    if not kept.any():
        raise fail("device", ",".join(devices), "has no serving runs of known models")
    if framework is not None:
        name = one_of("framework", framework, sorted(frame["framework"].unique()))
        frame = frame[frame["framework"] == name]
    if wanted := list(dtypes):
        for name in wanted:
            one_of("dtype", name, sorted(frame["dtype"].unique()))
        frame = frame[frame["dtype"].isin(wanted)]
    kept = frame["excluded"] == ""
    configs = systems.parent / "model_configs"
    paths = frame["model"].map(lambda name: str(configs / f"{name}_config.json") if "--" in name else name)
    frame = frame.assign(model=paths)
    return (
        frame[kept].drop(columns=["excluded", "origin"]).reset_index(drop=True),
        frame[~kept].reset_index(drop=True),
    )
