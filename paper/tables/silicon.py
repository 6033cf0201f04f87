"""Tables ``silicon-*``: predicted and measured kernels of GPUs that others measured."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import PurePosixPath

from paper.render.table import EVIDENCE, Column, Table, percent_column
from paper.render.values import joined
from paper.sources.results import Results, ResultTable, commits
from paper.tables.errors import OPS, error_columns, error_notes, groups, word
from scylla_sim.records import Row

SOURCE = "measurements of the Python package aiconfigurator-core (Apache-2.0)"
FALLBACK = percent_column("stand_in_median_ape", "dense kernel as fallback: median error")

LOW_BITS = "-low-bits"
"""Suffix of the tables of 4-bit weights and 8-bit integers."""

NOT_MEASURED = "No GPU of this run has measurements of these kernels; see silicon_devices in config.yaml."
"""Text of a table of few bits without rows."""

_SIZES = {
    "gemm": "Small batch, as in decoding and verification: m ≤ 512 rows, n ≥ 1024, 1024 ≤ k ≤ 16384, n k ≥ 4e6. "
    "Large batch: the same with m ≤ 8192. Other weights: 512 < m ≤ 8192, other n and k from 256, n k ≤ 2²⁹.",
    "experts": "Small batch: up to 512 tokens. Large batch: up to 8192 tokens.",
    "context_attention": "Short prefill: fewer than 512 new tokens in all prompts together. Prefill: up to 32,768.",
    "elementwise": "Beyond L2: the kernel moves more than 1.5 times the size of the L2. In L2: less.",
}
"""Operation -> definition of its regimes."""

_KV_SIZES = "Beyond L2: the KV cache is at least 1.5 times the size of the L2, as in serving. In L2: smaller."

_NOTES = {
    "experts": [
        "A gated MoE layer as the framework runs it: sorting, both GEMMs, activation and weighted sum, with one "
        "rank's slice of every expert. Whole models are held out.",
        "The fit uses balanced expert loads only. On the A100 only unbalanced loads were measured, so the fit uses "
        "those.",
        "Power law: expert loads are drawn from a density with this exponent. Its rows are predicted from the "
        "number of experts and tiles that the draws fill.",
    ],
    f"gemm{LOW_BITS}": [
        "Weights in 4 bits (int4_wo) and in 8 bits (int8_wo) with activations in 16 bits, and 8-bit integers (sq, "
        "SmoothQuant), as TensorRT-LLM 1.0.0 runs them. No other framework and no other GPU measured them.",
    ],
    f"experts{LOW_BITS}": [
        "Unlike the other MoE layers, these are fitted to balanced and to unbalanced expert loads.",
        "int4_wo: Marlin kernels. Whole models are held out. On the B200, the time of vLLM 0.19 nearly doubles "
        "from one to six rows per expert and then stays up to 64, which the kernel model does not describe.",
        "mxfp4: gpt-oss, whose two models differ in the number of experts only. Every second slice of one model is "
        "held out, and of the other model the slices in between.",
        "nvfp4: weights and activations in 4 bits. Whole models are held out.",
        "Rows without a noise floor: no second framework measured the same kind of kernel.",
    ],
    "context_attention": [
        "Attention of fresh prompts of at least 16 tokens, without sliding window. Writing new keys and values "
        "is part of the time. Whole combinations of heads are held out.",
        "The noise floor compares vLLM with SGLang, which run different kernels on some devices.",
        "Attention to a cached prefix was not measured. It uses the same fits, with wider intervals.",
    ],
    "latent_attention": [
        "MLA of DeepSeek-V3 with one query token. The fit uses 2, 8, 32 and 128 heads per GPU; 1, 4, 16 and 64 "
        "heads are scored. The kernels are those of TensorRT-LLM, on the L40S those of SGLang.",
        "Dense kernel as fallback: the fit of decode attention with head size 128, which predicts MLA on GPUs "
        "without MLA measurements.",
        "Rows without a noise floor: no second framework measured the same kind of kernel.",
    ],
    "elementwise": [
        "Conversion of bf16 activations to 8 bits with one CTA per row, the only elementwise kernel in the tables.",
        "The same model predicts norms, which also use one CTA per row. It also predicts rotary embedding, "
        "activation and sampling, which can be split anywhere and do not wait for single rows.",
    ],
}
"""Operation -> notes under its table."""


def _by_device(results: Results, op: str) -> list[tuple[str, ResultTable]]:
    """Return (device, comparison) pairs of an operation, empty if no device has it."""
    paths = results.matching(f"compare/silicon-*-{op}.json")
    devices = [PurePosixPath(path).stem.removeprefix("silicon-").removesuffix(f"-{op}") for path in paths]
    return [(device, results.table(path)) for device, path in zip(devices, paths)]


def _fallback_errors(results: Results, device: str, op: str) -> dict[str, Row]:
    """Return the median errors of the fallback kernel by group; only MLA has one."""
    if op != "latent_attention":
        return {}
    table = results.table(f"compare/stand-in-{device}-{op}.json")
    return {str(row["group"]): {FALLBACK.key: row["median_ape"]} for row in groups(table)}


def _notes(op: str, rows: Sequence[Row]) -> list[str]:
    """Return the notes under the table of an operation."""
    notes = [*error_notes(rows), *_NOTES.get(op, [])]
    kind = op.removesuffix(LOW_BITS)
    if kind in _SIZES and (kind != "gemm" or any("small batch" in row["group"] for row in rows)):
        notes.append(_SIZES[kind])
    elif any("beyond L2" in row["group"] for row in rows):
        notes.append(_KV_SIZES)
    return notes


def silicon(results: Results, op: str, *, others: Sequence[str] = ()) -> Table:
    """Return the table of one operation on every device with silicon data.

    Parameters
    ----------
    results : Results
        Results folder.
    op : str
        Operation.
    others : sequence of str
        Tables of the same operation as other frameworks run it; their rows follow those of the device.

    Raises
    ------
    InputError
        If no device has the operation; the few bits of an operation may be missing everywhere.
    """
    low_bits = op.endswith(LOW_BITS)
    # Few GPUs have kernels of few bits, so a run may have none of them; then the results of other kernels exist.
    results.require(f"compare/silicon-*-{op.removesuffix(LOW_BITS)}.json")
    found = [pair for table in (op, *others) for pair in _by_device(results, table)]
    found.sort(key=lambda pair: pair[0])
    tables = [table for _, table in found]
    rows = []
    for device, table in found:
        other = _fallback_errors(results, device, op)
        rows += [{"device": device, **row, **other.get(str(row["group"]), {})} for row in groups(table)]
    kind = f"{OPS[op.removesuffix(LOW_BITS)]} kernels{' of few bits' if low_bits else ''}"
    return Table(
        f"silicon-{op.replace('_', '-')}",
        f"Predicted and measured {kind}, by device",
        (
            Column("device", "device"),
            Column("group", "kernels"),
            *error_columns(rows),
            *([FALLBACK] if op == "latent_attention" else []),
            EVIDENCE,
        ),
        rows,
        joined(
            {
                "measured": ", ".join(dict.fromkeys(str(row["evidence"]) for row in rows)),
                "predicted": "calibrated on other shapes",
            }
        ),
        commits(tables),
        sources=[SOURCE],
        notes=_notes(op, rows),
        nothing=NOT_MEASURED if low_bits else "",
    )


def silicon_gemm(results: Results) -> Table:
    """Return GEMM errors by device, for the default framework and for SGLang."""
    return silicon(results, "gemm", others=["gemm-sglang"])


def silicon_gemm_pooled(results: Results) -> Table:
    """Return GEMM errors of all devices together, by weight dtype and batch."""
    found = [results.table(f"compare/silicon-all-gemm-by-{by}.json") for by in ("dtype-regime", "dtype")]
    rows = [
        {**row, "dtype": word("dtype", row["dtype"]), "regime": word("regime", row.get("regime", "any batch"))}
        for table in found
        for row in groups(table)
        if row["group"] != "all"
    ]
    rows.sort(key=lambda row: str(row["dtype"]))
    return Table(
        "silicon-gemm-pooled",
        "Predicted and measured GEMM kernels, all devices together",
        (
            Column("dtype", "weights"),
            Column("regime", "shapes"),
            *error_columns(rows),
            EVIDENCE,
        ),
        rows,
        joined({"measured": ", ".join(found[0].levels()), "predicted": "each device calibrated on other shapes"}),
        commits(found),
        sources=[SOURCE],
        notes=[
            *error_notes(rows),
            "Kernels of vLLM, with two exceptions. On the A100 they are those of SGLang. With fp8_block weights "
            "they are those of TensorRT-LLM, because vLLM's were timed from the host, launch by launch.",
            "The test shapes of every device have the same weight. Small and large batch are defined in the table "
            "by device.",
        ],
    )


def silicon_attention(results: Results) -> Table:
    """Return decode attention errors by device, for vLLM and for SGLang."""
    return silicon(results, "decode_attention", others=["decode_attention-sglang"])


def silicon_context_attention(results: Results) -> Table:
    """Return the errors of attention in prefills by device, for vLLM and for SGLang."""
    return silicon(results, "context_attention", others=["context_attention-sglang"])


def silicon_mla(results: Results) -> Table:
    """Return MLA errors by device, with those of the dense kernel as fallback."""
    return silicon(results, "latent_attention")


def silicon_moe(results: Results) -> Table:
    """Return MoE layer errors by device."""
    return silicon(results, "experts")


def silicon_gemm_low_bits(results: Results) -> Table:
    """Return GEMM errors with 4-bit weights and 8-bit integers by device."""
    return silicon(results, f"gemm{LOW_BITS}")


def silicon_moe_low_bits(results: Results) -> Table:
    """Return MoE layer errors with 4-bit weights by device."""
    return silicon(results, f"experts{LOW_BITS}")


def silicon_all_reduce(results: Results) -> Table:
    """Return all-reduce errors by device, for vLLM and for SGLang."""
    return silicon(results, "all_reduce", others=["all_reduce-sglang"])


def silicon_elementwise(results: Results) -> Table:
    """Return elementwise kernel errors by device."""
    return silicon(results, "elementwise")
