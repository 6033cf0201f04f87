"""Tables of ``aiconfigurator-core`` as rows of the kernels CSV: which one, of whom, and what its columns mean.

The package (NVIDIA, Apache-2.0) holds parquet tables at ``systems/data/<gpu>/<family>/<framework>/<version>``.
Framework and version are taken from the path, since the columns spell them in several ways, and the GPU from the
folder. One row per key; where a key was measured twice the median stands.
"""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from gpu_validate.silicon import routing
from scylla_sim.checks import InputError, fail, one_of

if TYPE_CHECKING:
    import pandas as pd

DEVICES = {
    "h100-sxm": "h100_sxm",
    "h200-sxm": "h200_sxm",
    "a100-sxm": "a100_sxm",
    "b200-sxm": "b200_sxm",
    "b300-sxm": "b300_sxm",
    "gb200": "gb200",
    "gb300": "gb300",
    "l40s": "l40s",
    "rtx-pro-6000": "rtx_pro_6000_server",
}
"""Catalog name -> folder of the package."""

TABLES = {
    "gemm": ("gemm", "gemm_perf.parquet"),
    "decode_attention": ("attention", "generation_attention_perf.parquet"),
    "latent_attention": ("mla", "generation_mla_perf.parquet"),
    "experts": ("moe", "moe_perf.parquet"),
    "all_reduce": ("comm", "custom_allreduce_perf.parquet"),
    "elementwise": ("quantize", "scale_matrix_perf.parquet"),
}
FRAMEWORKS = ("vllm", "sglang", "trtllm")

KEYS = {
    "gemm": ["dtype", "kernel_source", "m", "n", "k"],
    "decode_attention": [
        *("dtype", "kv_dtype", "kernel_source", "batch", "kv_len", "num_heads", "num_kv_heads", "head_dim"),
        "window",
    ],
    "latent_attention": ["dtype", "kv_dtype", "kernel_source", "batch", "kv_len", "num_heads"],
    "experts": [
        *("dtype", "kernel_source", "num_tokens", "experts_per_token", "hidden_size", "inter_size", "num_experts"),
        "distribution",
    ],
    "all_reduce": ["dtype", "num_gpus", "bytes", "graph"],
    "elementwise": ["dtype", "bytes", "rows"],
}
KV_RANK, ROPE_DIM = 512, 64
"""Latent of DeepSeek-V2, V3 and R1, the only one measured; aiconfigurator's collectors say so, not its tables."""
EXPERT_DTYPES = ("bfloat16", "fp8", "fp8_block")
MAX_SLICES = 8
"""Tensor-parallel ranks of one node; the tables go to 32."""
NOT_GATED = (1856, 2688, 5120)
"""Widths of the experts of Nemotron-H (Nano, Super, Ultra), whose MLP has two matrices and not the three of a gated
one (the package's `sdk/models/nemotron_h.py`): no model of the catalog's families."""

TIMED_IN_A_GRAPH = {"fp8_block": "trtllm"}
"""Framework that stands in for a GEMM dtype that vLLM's tables time from the host, launch by launch: of its
``fp8_block`` rows none is below 55 us on Hopper, 150 us on B200 and 280 us on L40S, however small the product."""

LIMITED = {"hidden_size": 7168, "num_experts": 256, "experts_per_token": 8}
"""DeepSeek-V3, whose router keeps a token within 4 of 8 groups of experts. Balanced scores tie between groups and
all tokens get the first four: on every device the balanced rows take as long as 132 touched experts do."""

CALLS_PER_GRAPH = {"gemm": 5, "decode_attention": 1, "elementwise": 5}
"""Executions that the collectors time in one CUDA graph, whose launch each of them holds a share of. Source:
ai-dynamo/aiconfigurator, collector/vllm/collect_{gemm,attn,computescale}.py and their likes; of other tables it was
not looked up, and no share is taken off."""

_BF16_BYTES, _FP8_BYTES = 2, 1


def systems() -> Path:
    spec = find_spec("aiconfigurator_core")
    if spec is None or spec.origin is None:
        raise InputError("silicon data need the package aiconfigurator-core; pip install 'scylla-sim[validate]'")
    return Path(spec.origin).parent / "systems" / "data"


def _version_key(version: str) -> tuple[tuple[int, ...], tuple[int, int]]:
    """Order of versions such as 0.5.10, 0.5.6.post2, 1.3.0rc20: candidates before, posts after the release."""
    match = re.fullmatch(r"(\d+(?:\.\d+)*)(?:(rc|\.post)(\d+))?", version)
    if match is None:
        return ((), (0, 0))
    release = tuple(int(part) for part in match[1].split("."))
    suffix = {"rc": -1, None: 0, ".post": 1}[match[2]]
    return (release, (suffix, int(match[3] or 0)))


def source_file(device: str, op: str, framework: str) -> tuple[Path, str]:
    """Newest table of a device, operation and framework, and its version."""
    family, table = TABLES[op]
    folder = systems() / DEVICES[device] / family / framework
    versions = [path.name for path in folder.glob("*") if (path / table).exists()]
    if not versions:
        found = sorted({p.parts[-3] for p in folder.parent.glob(f"*/*/{table}")} & set(FRAMEWORKS))
        if not found:
            raise fail("op", op, f"was not measured on {device}")
        raise fail("framework", framework, f"has no {op} data for {device}", f"known: {', '.join(found)}")
    newest = max(versions, key=_version_key)
    return folder / newest / table, newest


def default_framework(device: str, op: str) -> str:
    """vLLM, except A100 GEMM (its table has 21 values of m only, SGLang's has 74) and latent attention.

    Of latent attention vLLM has whole blocks only, projections included. The kernel alone, in a CUDA graph,
    TensorRT-LLM has, and it stands for vLLM's on Hopper and Blackwell: what a block of vLLM takes longer for a
    longer context agrees with it within 6 %. SGLang's rows agree too, but with an 8-bit cache on Hopper they time
    a conversion of the whole cache. On L40S TensorRT-LLM ran a kernel that splits no context and takes up to 8
    times as long as SGLang's Triton kernel, which vLLM has too; on A100 there is only that kernel, which no engine
    here runs.
    """
    if op == "latent_attention":
        return "sglang" if device == "l40s" else "trtllm"
    return "sglang" if (device, op) == ("a100-sxm", "gemm") else "vllm"


def second_framework(device: str, op: str, first: str) -> str:
    """Whose measurements, beside those of ``first``, say how far two of them are apart.

    Raises
    ------
    InputError
        Where nobody else measured a kernel of the same kind.
    """
    if op == "latent_attention":
        if device == "l40s":
            raise fail("part", "repeat", f"has no rows: no two frameworks measured one kind of {op} on {device}")
        return "trtllm" if first == "sglang" else "sglang"
    return "vllm" if first == "sglang" else "sglang"


def read(device: str, op: str, *, framework: str | None = None) -> pd.DataFrame:
    """All rows of one table as a frame with the columns of the kernels CSV and ``latency_ms``.

    Source: aiconfigurator-core, ``systems/data``. ``message_size`` is in elements, so bytes are twice that in
    bf16; ``kv_len`` is ``step`` + 1. Without a framework it is the default one, and another for the dtypes of
    `TIMED_IN_A_GRAPH`.
    """
    import pandas as pd

    one_of("device", device, DEVICES)
    one_of("op", op, TABLES)
    if framework is not None:
        frame = _table(device, op, one_of("framework", framework, FRAMEWORKS))
        return _usual_kernels(frame) if (op, framework) == ("decode_attention", "sglang") else frame
    chosen = default_framework(device, op)
    frame = _table(device, op, chosen)
    if op != "gemm" or chosen != "vllm":
        return frame
    parts = [frame[~frame["dtype"].isin(TIMED_IN_A_GRAPH)]]
    for dtype, other in TIMED_IN_A_GRAPH.items():
        rows = _table(device, op, other)
        parts.append(rows[rows["dtype"] == dtype])
    return pd.concat(parts).sort_values(KEYS[op], ignore_index=True)


def _usual_kernels(frame: pd.DataFrame) -> pd.DataFrame:
    """Of each KV dtype and head size the rows of one kernel: the one that most rows ran.

    SGLang's tables fill in with Triton or FlashInfer where the head configuration is none of the usual kernel's.
    """
    size = ["kv_dtype", "head_dim"]
    rows = frame.groupby([*size, "kernel_source"])["batch"].transform("size")
    most = rows.groupby([frame[name] for name in size]).transform("max")
    return frame[rows == most].reset_index(drop=True)


def _table(device: str, op: str, chosen: str) -> pd.DataFrame:
    """One table, one row a key: the median where a key was measured twice."""
    import pandas as pd

    path, version = source_file(device, op, chosen)
    raw = pd.read_parquet(path)
    frame = pd.DataFrame({"op": op, "device": device}, index=raw.index)
    if op == "gemm":
        frame["dtype"] = raw["gemm_dtype"]
        frame[["m", "n", "k"]] = raw[["m", "n", "k"]]
    elif op == "decode_attention":
        frame["dtype"], frame["kv_dtype"] = raw["attn_dtype"], raw["kv_cache_dtype"]
        frame["batch"], frame["kv_len"], frame["q_len"] = raw["batch_size"], raw["step"] + 1, 1
        frame["num_heads"], frame["num_kv_heads"] = raw["num_heads"], raw["num_key_value_heads"]
        frame["head_dim"] = raw["head_dim"]
        frame["window"] = raw.get("window_size", 0)
    elif op == "latent_attention":
        frame["dtype"], frame["kv_dtype"] = raw["mla_dtype"], raw["kv_cache_dtype"]
        frame["batch"], frame["kv_len"], frame["q_len"] = raw["batch_size"], raw["step"] + 1, 1
        frame["num_heads"], frame["kv_rank"], frame["rope_dim"] = raw["num_heads"], KV_RANK, ROPE_DIM
    elif op == "experts":
        frame = frame.assign(**_experts(raw))
    elif op == "elementwise":  # scaling to 8 bits by a given scale: read, scale, write
        frame["dtype"], frame["rows"] = "bfloat16", raw["m"]
        frame["bytes"] = (_BF16_BYTES + _FP8_BYTES) * raw["m"] * raw["k"]
    else:
        frame["dtype"], frame["num_gpus"] = raw["allreduce_dtype"], raw["num_gpus"]
        frame["bytes"] = raw["message_size"] * _BF16_BYTES
        frame["graph"] = (~raw.get("backend", raw["kernel_source"]).str.contains("eager")).astype(int)
    frame["framework"], frame["version"] = chosen, version
    frame["kernel_source"] = raw["kernel_source"]
    if op in CALLS_PER_GRAPH:
        frame["calls_per_graph"] = CALLS_PER_GRAPH[op]
    frame["latency_ms"] = raw["latency"]
    if op == "experts":
        whole_model = (raw["moe_ep_size"] == 1) & (raw["moe_tp_size"] <= MAX_SLICES)
        gated = ~raw["inter_size"].isin(NOT_GATED) & raw["moe_dtype"].isin(EXPERT_DTYPES)
        limited = (frame[list(LIMITED)] == pd.Series(LIMITED)).all(axis=1)
        frame = frame[whole_model & gated & ~(limited & (raw["distribution"] == routing.BALANCED))]
        if frame.empty:
            raise fail("device", device, f"has no layers of gated experts, measured by {chosen}")
        shape = frame[["num_tokens", "num_experts", "experts_per_token", "distribution"]]
        frame = frame.assign(**routing.expected_loads(shape.itertuples(index=False, name=None)))
    keys = KEYS[op]
    median = frame.groupby(keys, sort=False, dropna=False)["latency_ms"].transform("median")
    return frame.assign(latency_ms=median).drop_duplicates(keys).sort_values(keys, ignore_index=True)


def _experts(raw: pd.DataFrame) -> dict[str, pd.Series]:
    """Columns of a layer of experts on one rank, without the spread of its rows."""
    return {
        "dtype": raw["moe_dtype"],
        "num_tokens": raw["num_tokens"],
        "experts_per_token": raw["topk"],
        "num_experts": raw["num_experts"],
        "hidden_size": raw["hidden_size"],
        "inter_size": raw["inter_size"] // raw["moe_tp_size"],
        "distribution": raw["distribution"],
    }
