"""Columns, labels and notes that tables of prediction errors share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from paper.render.table import Column, percent_column
from paper.sources.results import ResultTable, value
from scylla_sim.records import Row

OPS = {
    "gemm": "GEMM",
    "decode_attention": "decode attention",
    "context_attention": "context attention",
    "latent_attention": "MLA",
    "experts": "MoE layer",
    "all_reduce": "all-reduce",
    "elementwise": "elementwise",
}
"""Operation in result files -> its name in tables."""

WORDS = {
    "regime": {
        **{"drafting": "small batch", "large": "large batch", "wide": "large batch, other weights"},
        "": "other shapes",
        **{"beyond_l2": "beyond L2", "in_l2": "in L2", "message": "8 KB to 16 MB", "bulk": "larger"},
        **{"short": "short prefill", "prompts": "prefill"},
    },
    "graph": {"0": "eager", "1": "CUDA graph"},
    "dtype": {"bfloat16": "bf16", "float32": "fp32"},
    "kv_dtype": {"bfloat16": "KV bf16", "fp8": "KV fp8", "float32": "KV fp32"},
    "framework": {"vllm": "vLLM", "sglang": "SGLang", "trtllm": "TensorRT-LLM"},
    "distribution": {
        "balanced": "balanced",
        "power_law_1.01": "power law 1.01",
        "power_law_1.2": "power law 1.2",
    },
    "op": OPS,
}
"""Grouping column -> its values in words. The notes under a table define the regimes."""

ERROR_COLUMNS = (
    percent_column("median_ape", "median error"),
    percent_column("mape", "mean error"),
    percent_column("p90_ape", "90th percentile"),
    percent_column("bias", "bias", signed=True),
    percent_column("naive_median_ape", "roofline baseline: median error"),
    percent_column("naive_bias", "roofline baseline: bias", signed=True),
)
"""Columns of the errors of a prediction and of its roofline baseline."""

WIDTH = Column("width", "median upper / lower end", digits=2)
"""Column of the width of the intervals beside their coverage."""

ERRORS = (
    Column("n", "shapes", digits=0),
    *ERROR_COLUMNS,
    percent_column("coverage", "inside 90 % interval", digits=0),
    WIDTH,
    percent_column("floor_median", "noise floor"),
)
"""Error columns of a comparison, in order."""

ROOFLINE_NOTE = "Roofline baseline: the larger of FLOPs / datasheet peak and bytes / datasheet bandwidth."
ERROR_NOTE = (
    "Error: |predicted / measured - 1| on shapes that the fit did not use. Bias: median of the signed error. "
    + ROOFLINE_NOTE
)
SECOND_PASS = "median difference of a second pass over the same grid, after removing its median ratio"
FLOORS = {
    "repeat": "Noise floor: median difference from the same shapes measured with another framework, after removing "
    "the median ratio.",
    "intervals": "Noise floor: median half width of the confidence intervals of the measurements.",
}
"""Kind of a noise floor -> its definition."""

_REQUIRED = ERRORS[:5]


def word(name: str, text: str) -> str:
    """Return a value of a grouping column in words.

    Examples
    --------
    >>> word("dtype", "bfloat16"), word("head_dim", "128"), word("dtype", "fp8")
    ('bf16', 'head size 128', 'fp8')
    """
    if name == "head_dim" and text.isdigit():
        return f"head size {text}"
    return WORDS.get(name, {}).get(text, text)


def groups(table: ResultTable) -> list[Row]:
    """Return the rows of a comparison with their group in words.

    A comparison with one group also has the row ``all``, which is left out.

    Raises
    ------
    InputError
        If a row lacks an error column.
    """
    by = [str(name) for name in table.provenance.get("by", [])]
    rows = table.rows if len(table.rows) != 2 else table.rows[:1]
    shown = []
    for row in rows:
        parts = [str(row.get(name, "")) for name in by] or [str(value(row, "group", table.path))]
        words = [word(name, part) for name, part in zip(by or ["group"], parts)]
        for column in _REQUIRED:
            value(row, column.key, table.path)
        group = "all" if set(words) == {"all"} else ", ".join(words)
        shown.append({**row, "group": group})
    return shown


def error_notes(rows: Sequence[Row], floors: Mapping[str, str] = FLOORS) -> list[str]:
    """Return the definitions of the error columns and of the noise floors that occur."""
    kinds = dict.fromkeys(str(row.get("floor_kind")) for row in rows)
    return [ERROR_NOTE, *(floors[kind] for kind in kinds if kind in floors)]


def error_columns(rows: Sequence[Row]) -> list[Column]:
    """Return the error columns for which some row has a value."""
    return [column for column in ERRORS if any(row.get(column.key) is not None for row in rows)]
