"""Tables of ``aiconfigurator-core`` as rows of the kernels CSV.

The package (NVIDIA, Apache-2.0) holds parquet tables at ``systems/data/<gpu>/<family>/<framework>/<version>``.
Framework and version come from the path, because the columns spell them in several ways. The name of the GPU comes
from the folder. Each key has one row: the median of its timings.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from gpu_validate.silicon import routing
from gpu_validate.silicon.low_bits import GPT_OSS_HIDDEN, KERNELS, LOW_BITS
from gpu_validate.silicon.shapes import SHAPES
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
    "context_attention": ("attention", "context_attention_perf.parquet"),
    "latent_attention": ("mla", "generation_mla_perf.parquet"),
    "experts": ("moe", "moe_perf.parquet"),
    "all_reduce": ("comm", "custom_allreduce_perf.parquet"),
    "elementwise": ("quantize", "scale_matrix_perf.parquet"),
}
"""Operation -> (family, file) of its table."""
FRAMEWORKS = ("vllm", "sglang", "trtllm")

KEYS = {
    "gemm": ["dtype", "kernel_source", "m", "n", "k"],
    "decode_attention": [
        *("dtype", "kv_dtype", "kernel_source", "batch", "kv_len", "num_heads", "num_kv_heads", "head_dim"),
        "window",
    ],
    "context_attention": [
        *("dtype", "kv_dtype", "kernel_source", "batch", "q_len", "kv_len", "num_heads", "num_kv_heads"),
        *("head_dim", "window"),
    ],
    "latent_attention": ["dtype", "kv_dtype", "kernel_source", "batch", "kv_len", "num_heads"],
    "experts": [
        *("dtype", "kernel_source", "num_tokens", "experts_per_token", "hidden_size", "inter_size", "num_experts"),
        "distribution",
    ],
    "all_reduce": ["dtype", "num_gpus", "bytes", "graph"],
    "elementwise": ["dtype", "bytes", "rows"],
}
"""Operation -> columns that identify a row."""
EXPERT_DTYPES = ("bfloat16", "fp8", "fp8_block")
"""Data types of experts that `read` returns by default; those of `LOW_BITS` are returned on request."""
MAX_SLICES = 8
"""Largest tensor-parallel size to read, the GPUs of one node; the tables go to 32."""
NOT_GATED = (1856, 2688, 5120)
"""Expert widths of Nemotron-H Nano, Super and Ultra, whose MLP has no gate.

The models of the catalog have a gated MLP of three matrices. Source: the package's ``sdk/models/nemotron_h.py``.
"""

TIMED_IN_A_GRAPH = {"fp8_block": "trtllm"}
"""GEMM dtype -> framework that timed it in a CUDA graph.

vLLM's tables time ``fp8_block`` from the host, with one launch per GEMM. Even for the smallest GEMMs, no row is
below 55 us on Hopper, 150 us on B200 or 280 us on L40S.
"""

LIMITED = {"hidden_size": 7168, "num_experts": 256, "experts_per_token": 8}
"""Shape of DeepSeek-V3, whose router keeps a token within 4 of 8 groups of experts.

With balanced scores all groups score equally, so all tokens go to the first four groups. On every device the
balanced rows take as long as 132 active experts.
"""

CALLS_PER_GRAPH = {"gemm": 5, "decode_attention": 1, "elementwise": 5}
"""Operation -> executions in one timed CUDA graph; each time includes a share of the graph's launch.

Source: ai-dynamo/aiconfigurator, collector/vllm/collect_{gemm,attn,computescale}.py. The number is unknown for the
other tables, and no share is subtracted there.
"""


def systems() -> Path:
    """Return the folder of the package's tables.

    Raises
    ------
    InputError
        If aiconfigurator-core is not installed.
    """
    spec = find_spec("aiconfigurator_core")
    if spec is None or spec.origin is None:
        raise InputError("silicon data need the package aiconfigurator-core; pip install 'scylla-sim[validate]'")
    return Path(spec.origin).parent / "systems" / "data"


def _version_key(version: str) -> tuple[tuple[int, ...], tuple[int, int]]:
    """Return a sort key for versions such as 0.5.10, 0.5.6.post2 and 1.3.0rc20."""
    match = re.fullmatch(r"(\d+(?:\.\d+)*)(?:(rc|\.post)(\d+))?", version)
    if match is None:
        return ((), (0, 0))
    release = tuple(int(part) for part in match[1].split("."))
    suffix = {"rc": -1, None: 0, ".post": 1}[match[2]]
    return (release, (suffix, int(match[3] or 0)))


def source_file(device: str, op: str, framework: str) -> tuple[Path, str]:
    """Return the newest table of a device, operation and framework, and its version.

    Raises
    ------
    InputError
        If the framework, or every framework, lacks the table.
    """
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
    """Return the framework whose table is read by default: vLLM, with the exceptions below.

    Notes
    -----
    A100, GEMM
        SGLang. Its table has 74 values of m, vLLM's has 21.
    MLA on Hopper and Blackwell
        TensorRT-LLM, which timed the kernel alone in a CUDA graph. vLLM has only whole blocks with projections. The
        time that a vLLM block adds for a longer context agrees with TensorRT-LLM within 6 %. SGLang agrees too, but
        with an 8-bit cache on Hopper its rows include a conversion of the whole cache.
    MLA on L40S
        SGLang's Triton kernel, which vLLM has too. TensorRT-LLM's kernel does not split the context and takes up to
        8 times as long.
    MLA on A100
        TensorRT-LLM, the only source. Its kernel does not split the context. No engine of the catalog runs it.
    """
    if op == "latent_attention":
        return "sglang" if device == "l40s" else "trtllm"
    return "sglang" if (device, op) == ("a100-sxm", "gemm") else "vllm"


def second_framework(device: str, op: str, first: str) -> str:
    """Return the framework whose timings, compared with those of ``first``, give the noise floor.

    Raises
    ------
    InputError
        If no other framework measured a kernel of the same kind.
    """
    if op == "latent_attention":
        if device == "l40s":
            raise fail("part", "repeat", f"has no rows: no two frameworks measured one kind of {op} on {device}")
        return "trtllm" if first == "sglang" else "sglang"
    return "vllm" if first == "sglang" else "sglang"


def read(device: str, op: str, *, framework: str | None = None, dtypes: Iterable[str] = ()) -> pd.DataFrame:
    """Read one table as a frame with the columns of the kernels CSV and ``latency_ms``.

    Parameters
    ----------
    device
        Name in the hardware catalog, one of `DEVICES`.
    op
        Operation, one of `TABLES`.
    framework
        One of `FRAMEWORKS`. By default `default_framework`, and another one for the dtypes of `TIMED_IN_A_GRAPH`.
    dtypes
        Data types of `LOW_BITS` to read, instead of the usual ones. Other names do not matter here.

    Raises
    ------
    InputError
        For an unknown argument or a missing table.

    Notes
    -----
    Source: aiconfigurator-core, ``systems/data``. ``message_size`` counts bf16 elements.
    ``kv_len`` is ``step + 1`` in decoding.
    """
    import pandas as pd

    one_of("device", device, DEVICES)
    one_of("op", op, TABLES)
    low = [name for name in dtypes if name in LOW_BITS.get(op, {})]
    if low and framework is None:
        return pd.concat([_low_bits(device, op, name) for name in low], ignore_index=True)
    if framework is not None:
        frame = _table(device, op, one_of("framework", framework, FRAMEWORKS))
        several = framework == "sglang" and op in ("decode_attention", "context_attention")
        return _most_frequent_kernels(frame) if several else frame
    chosen = default_framework(device, op)
    frame = _table(device, op, chosen)
    if op != "gemm" or chosen != "vllm":
        return frame
    parts = [frame[~frame["dtype"].isin(TIMED_IN_A_GRAPH)]]
    for dtype, other in TIMED_IN_A_GRAPH.items():
        rows = _table(device, op, other)
        parts.append(rows[rows["dtype"] == dtype])
    return pd.concat(parts).sort_values(KEYS[op], ignore_index=True)


def _most_frequent_kernels(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of the most frequent kernel of each KV dtype and head size.

    SGLang's tables fall back to Triton or FlashInfer where the usual kernel does not support the heads.
    """
    size = ["kv_dtype", "head_dim"]
    rows = frame.groupby([*size, "kernel_source"])["batch"].transform("size")
    most = rows.groupby([frame[name] for name in size]).transform("max")
    return frame[rows == most].reset_index(drop=True)


def _low_bits(device: str, op: str, dtype: str) -> pd.DataFrame:
    """Return the rows of one data type of `LOW_BITS`."""
    framework, version = LOW_BITS[op][dtype][one_of("device", device, LOW_BITS[op][dtype])]
    frame = read_version(device, op, framework, version, dtype)
    if op == "gemm":
        return frame.assign(calls_per_graph=0)  # the number is not known
    if dtype == "mxfp4_fp8":
        frame = frame[frame["hidden_size"] == GPT_OSS_HIDDEN]
    return frame[frame["kernel_source"].str.startswith(KERNELS.get(dtype, ""))]


def read_version(device: str, op: str, framework: str, version: str, dtype: str) -> pd.DataFrame:
    """Return the rows of one data type in one version of a framework's table."""
    frame = _table(device, op, framework, version=version, dtypes=(dtype,))
    return frame[frame["dtype"] == dtype]


def _table(
    device: str, op: str, framework: str, *, version: str = "", dtypes: Iterable[str] = EXPERT_DTYPES
) -> pd.DataFrame:
    """Read one table with one row per key, the median of its timings; the newest version by default."""
    import pandas as pd

    path, newest = source_file(device, op, framework)
    if version:
        path = path.parents[1] / version / path.name
    version = version or newest
    raw = pd.read_parquet(path)
    frame = pd.DataFrame({"op": op, "device": device}, index=raw.index).assign(**SHAPES[op](raw))
    frame["framework"], frame["version"] = framework, version
    frame["kernel_source"] = raw["kernel_source"]
    if op in CALLS_PER_GRAPH:
        frame["calls_per_graph"] = CALLS_PER_GRAPH[op]
    frame["latency_ms"] = raw["latency"]
    if op == "experts":
        frame = _comparable_experts(frame, raw, dtypes)
        if frame.empty:
            raise fail("device", device, f"has no MoE layers of gated experts, measured by {framework}")
    keys = KEYS[op]
    median = frame.groupby(keys, sort=False, dropna=False)["latency_ms"].transform("median")
    return frame.assign(latency_ms=median).drop_duplicates(keys).sort_values(keys, ignore_index=True)


def _comparable_experts(frame: pd.DataFrame, raw: pd.DataFrame, dtypes: Iterable[str]) -> pd.DataFrame:
    """Return the MoE rows of gated experts on one node in some data types, with the loads of their experts."""
    import pandas as pd

    one_node = (raw["moe_ep_size"] == 1) & (raw["moe_tp_size"] <= MAX_SLICES)
    gated = ~raw["inter_size"].isin(NOT_GATED) & frame["dtype"].isin(list(dtypes))
    limited = (frame[list(LIMITED)] == pd.Series(LIMITED)).all(axis=1)
    frame = frame[one_node & gated & ~(limited & (raw["distribution"] == routing.BALANCED))]
    if frame.empty:
        return frame
    shape = frame[["num_tokens", "num_experts", "experts_per_token", "distribution"]]
    return frame.assign(**routing.expected_loads(shape.itertuples(index=False, name=None)))
