"""Breakdown of measured steps into the kernels that were measured alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from gpu_validate.comparison.join import CsvTable
from scylla_sim.records import Row
from scylla_sim.specs import catalog
from scylla_sim.specs.model import Model
from scylla_sim.units import MILLI

LINEAR = "torch_linear"
"""Library of a decoder's GEMMs in 16 bits."""
PREDICTIONS = ("blind", "calibrated")
"""Names of the predictions in the output of ``gpu-validate merge``."""
PLACE = ("device", "dtype", "role", "model", "batch", "context", "tokens")
COLUMNS = (
    *(*PLACE, "rows", "sm_mhz", "gemm_sm_mhz"),
    *(
        f"{name}{part}_s"
        for name in ("", "blind_", "calibrated_")
        for part in ("step", "gemm", "attention", "rest")
    ),
)

Found = Mapping[tuple[str, ...], Row]


def step_gemms(spec: Model) -> list[tuple[int, int, int]]:
    """Return count, ``n`` and ``k`` of the GEMMs in a step of a dense model: those of all layers, then the head.

    Examples
    --------
    >>> gemms = step_gemms(catalog.model("llama-3.1-8b"))
    >>> gemms[0], gemms[-1]
    ((32, 6144, 4096), (1, 128256, 4096))
    """
    width, inner = spec.hidden_size, spec.intermediate_size
    layer = [
        (spec.attention_input_width, width),
        (width, spec.num_heads * spec.head_dim),
        (2 * inner, width),
        (width, inner),
    ]
    return [*((spec.num_layers, n, k) for n, k in layer), (1, spec.vocab_size, width)]


def _number(text: Any) -> str:
    return f"{float(text or 0):g}"


def _rows(columns: CsvTable) -> Iterator[Row]:
    for values in zip(*columns.cells.values()):
        yield dict(zip(columns.cells, values))


def _kernels(columns: CsvTable) -> tuple[Found, Found]:
    """Return the rows of the decoder's GEMMs, and of the attention of every library, by shape."""
    gemms: dict[tuple[str, ...], Row] = {}
    attention: dict[tuple[str, ...], Row] = {}
    for row in _rows(columns):
        if row["op"] == "gemm" and row["kernel_source"] == LINEAR:
            gemms[(row["dtype"], *(_number(row[name]) for name in ("m", "n", "k")))] = row
        if row["op"] == "decode_attention" and not float(row["window"] or 0):
            shape = ("batch", "kv_len", "q_len", "num_heads", "num_kv_heads", "head_dim")
            attention[(row["kernel_source"], row["kv_dtype"], *(_number(row[name]) for name in shape))] = row
    return gemms, attention


def _parts(step: Row, gemms: Found, attention: Found) -> Row | None:
    """Return one step with its parts, or ``None`` if one of its kernels was not measured alone."""
    spec = catalog.model(step["model"])
    if spec.moe is not None or spec.mla is not None or spec.windows or spec.attention or spec.linear:
        return None
    rows = float(step["batch"]) * float(step["tokens"])
    keys = [(step["dtype"], *map(_number, (rows, n, k))) for _, n, k in step_gemms(spec)]
    counts = [float(count) for count, _, _ in step_gemms(spec)]
    shape = (step["batch"], step["context"], step["tokens"], spec.num_heads, spec.num_kv_heads, spec.head_dim)
    attended = attention.get((step["kernel_source"], step["dtype"], *map(_number, shape)))
    if attended is None or not all(key in gemms for key in keys):
        return None

    def total(column: str) -> float:
        return sum(count * float(gemms[key][column]) for count, key in zip(counts, keys))

    out: Row = {name: step[name] for name in PLACE} | {"rows": rows, "sm_mhz": step.get("sm_mhz", "")}
    clocks = [gemms[key].get("sm_mhz") for key in keys]
    if all(clocks):
        busy = [count * float(gemms[key]["latency_ms"]) for count, key in zip(counts, keys)]
        out["gemm_sm_mhz"] = sum(ms * float(clock) for ms, clock in zip(busy, clocks) if clock) / sum(busy)
    sources = {"": ("latency_ms", MILLI)} | {f"{name}_": (f"{name}_predicted_s", 1.0) for name in PREDICTIONS}
    for name, (column, scale) in sources.items():
        if not all(row.get(column) for row in (step, attended, *(gemms[key] for key in keys))):
            continue
        parts = {
            "step": scale * float(step[column]),
            "gemm": scale * total(column),
            "attention": scale * spec.num_layers * float(attended[column]),
        }
        parts["rest"] = parts["step"] - parts["gemm"] - parts["attention"]
        out |= {f"{name}{part}_s": value for part, value in parts.items()}
    return out


def breakdown(steps: CsvTable, kernels: CsvTable) -> list[Row]:
    """Return the parts of the steps whose GEMMs and attention were measured alone.

    Only plain and verify steps in a CUDA graph are used.

    Parameters
    ----------
    steps, kernels
        Output of ``gpu-validate merge`` for the suites ``step`` and ``kernels``.

    Returns
    -------
    list of dict
        Measured and predicted seconds of the step, its GEMMs, its attention and the rest. ``rows``: rows of its
        GEMMs. ``sm_mhz`` and ``gemm_sm_mhz``: SM clock during the step, and during the GEMMs measured alone,
        weighted by time.

    Raises
    ------
    ValueError
        If a cell of a numeric column is not a number.
    """
    gemms, attention = _kernels(kernels)
    asked = (row for row in _rows(steps) if row["role"] in ("plain", "verify") and _number(row["graph"]) == "1")
    return [parts for row in asked if (parts := _parts(row, gemms, attention)) is not None]
