"""Errors beside the roofline baseline, as bars: kernels, served models, and this machine."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from paper.sources.gpu_records import campaigns, decoding_error
from paper.sources.results import Results
from paper.tables.index import build
from scylla_sim.checks import InputError
from scylla_sim.records import Row

PREFERRED = "h100-sxm"
"""GPU of the bars, if the run has it; else the first one."""


@dataclass(frozen=True)
class Bar:
    """Error of one component, and that of the roofline baseline; both are fractions.

    Attributes
    ----------
    label : str
        Component and GPU.
    error : float
        Median or mean error of the prediction.
    roofline : float
        The same for the datasheet roofline.
    """

    label: str
    error: float
    roofline: float


_SMALL = {"regime": "drafting"}
KERNELS: Sequence[tuple[str, str, Mapping[str, str]]] = (
    ("bf16 GEMM", "silicon-gemm", {"dtype": "bfloat16", **_SMALL}),
    ("fp8 GEMM", "silicon-gemm", {"dtype": "fp8", **_SMALL}),
    ("decode attention", "silicon-decode-attention", {"group": "all"}),
    ("attention of prefills", "silicon-context-attention", {"framework": "vllm", "regime": "prompts"}),
    ("MLA", "silicon-latent-attention", {}),
    ("MoE layers, bf16", "silicon-experts", {"dtype": "bfloat16", "distribution": "balanced", **_SMALL}),
)
"""Label, table, and the values that select its row."""

SERVED: Sequence[tuple[str, str, str]] = (
    ("time per token", "TPOT", "vLLM"),
    ("time per token", "TPOT", "SGLang"),
    ("time per token", "TPOT", "TensorRT-LLM"),
    ("time to the first token", "TTFT", "all"),
)
"""Label, quantity and engine of serving runs."""


def _row(rows: Sequence[Row], wanted: Mapping[str, str]) -> Row | None:
    """Return the row of a table with some values and the most shapes, on the preferred GPU if there is one.

    Rows over all groups stand once for each framework. The first one is that of vLLM, as in README.
    """
    found = [
        row
        for row in rows
        if all(row.get(key) == value for key, value in wanted.items()) and row.get("naive_median_ape") is not None
    ]
    preferred = [row for row in found if row["device"] == PREFERRED] or found
    if wanted.get("group") == "all":
        return preferred[0] if preferred else None
    return max(preferred, key=lambda row: row["n"], default=None)


def _errors(row: Row) -> tuple[float, float]:
    """Return the median errors of the prediction and of the roofline baseline."""
    return float(row["median_ape"]), float(row["naive_median_ape"])


def _rows(results: Results, name: str) -> Sequence[Row]:
    """Return the rows of a table; none where the run lacks its files."""
    try:
        return build(results, [name])[0].rows
    except InputError:
        return []


def _served(results: Results) -> Iterator[Bar]:
    """Yield the error of all published speed-ups, each predicted without its source."""
    for row in _rows(results, "served-left-out"):
        if row["quantity"] == "speedup" and row["group"] == "all" and row.get("error_roofline") is not None:
            yield Bar(f"speed-up of {row['n']} served runs", row["error"], row["error_roofline"])


def _loads(results: Results) -> Iterator[Bar]:
    """Yield the errors of latencies of serving runs, by engine."""
    rows = _rows(results, "serving-runs")
    for label, quantity, engine in SERVED:
        row = _row(rows, {"quantity": quantity, "framework": engine, "device": "all"})
        if row is not None:
            yield Bar(f"{label}, {engine} engines" if engine == "all" else f"{label}, {engine}", *_errors(row))


def _blind_steps(results: Results) -> Iterator[Bar]:
    """Yield the errors of whole steps on GPUs that were measured after the prediction."""
    for campaign in campaigns(results):
        steps = campaign.rows("step")
        error, roofline = (decoding_error(steps, f"blind_{name}_s") for name in ("predicted", "naive"))
        if error is not None and roofline is not None:
            yield Bar(f"whole steps, {campaign.gpu}, blind", error, roofline)


def _this_machine(results: Results) -> Iterator[Bar]:
    """Yield the last row of each suite that was measured on this machine."""
    last = {row["suite"]: row for row in _rows(results, "local") if row.get("naive_median_ape") is not None}
    for suite, row in last.items():
        yield Bar(f"this machine: {suite}", row["median_ape"], row["naive_median_ape"])


def bars(results: Results) -> list[Bar]:
    """Return the bars of the page; components that the run did not score are left out."""
    found = []
    for label, table, wanted in KERNELS:
        row = _row(_rows(results, table), wanted)
        if row is not None:
            found.append(Bar(f"{label}, {row['device']}", *_errors(row)))
    return [*found, *_blind_steps(results), *_loads(results), *_served(results), *_this_machine(results)]
