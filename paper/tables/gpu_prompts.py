"""Tables ``gpu-prompts`` and ``gpu-prompt-attention``: prefill steps on measured GPUs, and their attention."""

from __future__ import annotations

from statistics import median
from typing import Any

from paper.render.table import EVIDENCE, Column, Table, ms_column, percent_column
from paper.render.values import percent
from paper.sources.gpu_records import PREDICTIONS, Campaign
from paper.sources.results import Results
from paper.tables.errors import ROOFLINE_NOTE
from paper.tables.gpu_table import BATCH, BLIND_NOTE, DEVICE, each, gpu_table
from scylla_sim.records import Row

SECOND = "Second pass: its time relative to the first one. The prediction cannot be better."
CACHED, TOKENS = Column("cached", "cached tokens", digits=0), Column("tokens", "new tokens", digits=0)
ENGINE_LIKE = (
    "The decoder runs torch's flash attention (torch_flash_prompt), which does not use the matrix units of Hopper "
    "in full. The shipped fit describes kernels of serving engines, which use them in full. So does cuDNN's kernel "
    "(torch_cudnn_prompt)."
)


def _beside(row: Row) -> Row:
    """Return the error of the roofline baseline, and the difference of the second pass, where they are known."""
    out: Row = {}
    if row.get("blind_naive_s") is not None:
        out["roofline_error"] = 1e3 * row["blind_naive_s"] / row["latency_ms"] - 1.0
    if row.get("again_latency_ms") is not None:
        out["again"] = row["again_latency_ms"] / row["latency_ms"] - 1.0
    return out


def prompts(results: Results) -> Table:
    """Return the time of each prefill step, measured and predicted."""

    def rows(campaign: Campaign) -> list[Row]:
        out = []
        for row in campaign.rows("step"):
            if row["role"] != "prefill":
                continue
            shown: Row = {"model": row["model"], "batch": row["batch"], "cached": row["context"]}
            shown |= {"tokens": row["tokens"], "measured_s": 1e-3 * row["latency_ms"], "sm_mhz": row.get("sm_mhz")}
            shown |= _beside(row)
            for name in PREDICTIONS:
                predicted = row.get(f"{name}_predicted_s")
                if predicted is None:
                    continue
                shown |= {f"{name}_s": predicted, f"{name}_error": predicted / shown["measured_s"] - 1.0}
                lower, upper = row.get(f"{name}_lower_s"), row.get(f"{name}_upper_s")
                if lower is not None and upper is not None:
                    shown[f"{name}_inside"] = "yes" if lower <= shown["measured_s"] <= upper else "no"
            out.append(shown)
        return sorted(out, key=lambda row: (row["model"], row["batch"], row["cached"], row["tokens"]))

    predicted = [
        column
        for name in PREDICTIONS
        for column in (
            ms_column(f"{name}_s", name),
            percent_column(f"{name}_error", f"{name} error", signed=True),
            Column(f"{name}_inside", f"inside the {name} interval"),
        )
    ]
    return gpu_table(
        "gpu-prompts",
        "Prefill steps on measured GPUs, measured and predicted",
        (
            *(DEVICE, Column("model", "model"), BATCH, CACHED, TOKENS, ms_column("measured_s", "measured")),
            *(*predicted, percent_column("roofline_error", "roofline error", signed=True)),
            percent_column("again", "second pass", signed=True),
            *(Column("sm_mhz", "SM clock", "MHz", digits=0), EVIDENCE),
        ),
        each(results, "step", rows),
        [BLIND_NOTE, ENGINE_LIKE, ROOFLINE_NOTE, SECOND],
    )


def attention(results: Results) -> Table:
    """Return the attention of prompts by kernel, and the cost of a cached prefix."""
    found = each(results, "kernels", _attention_rows)
    return gpu_table(
        "gpu-prompt-attention",
        "Attention of prompts on measured GPUs: time, and time relative to the same prompt without cached tokens",
        (
            *(DEVICE, Column("kernel_source", "kernel"), BATCH, TOKENS, CACHED),
            Column("measured_s", "measured", "µs", digits=1, scale=1e6),
            Column("blind_s", "blind", "µs", digits=1, scale=1e6),
            percent_column("blind_error", "blind error", signed=True),
            percent_column("roofline_error", "roofline error", signed=True),
            percent_column("again", "second pass", signed=True),
            Column("ratio", "over no cached tokens, measured", digits=2),
            Column("blind_ratio", "blind", digits=2),
            EVIDENCE,
        ),
        found,
        [
            BLIND_NOTE,
            ENGINE_LIKE,
            ROOFLINE_NOTE,
            SECOND,
            "The shipped fit saw prompts without cached tokens only. Attention to cached tokens is a rectangle of "
            "evidence theory. The ratios test it apart from the speed of the kernel.",
            *(note for campaign, _, some in found if (note := _ratio_note(campaign, some))),
        ],
    )


def _attention_rows(campaign: Campaign) -> list[Row]:
    """Return the attention of each prompt with its ratio to the prompt without cached tokens."""
    out: list[Row] = []
    for row in campaign.rows("kernels"):
        if row["op"] != "context_attention":
            continue
        shown: Row = {"kernel_source": row["kernel_source"], "batch": row["batch"], "tokens": row["q_len"]}
        shown |= {"cached": row["kv_len"] - row["q_len"], "measured_s": 1e-3 * row["latency_ms"]}
        shown |= _beside(row)
        if row.get("blind_predicted_s") is not None:
            shown["blind_s"] = row["blind_predicted_s"]
            shown["blind_error"] = shown["blind_s"] / shown["measured_s"] - 1.0
        out.append(shown)

    def place(row: Row) -> tuple[Any, ...]:
        return (row["kernel_source"], row["batch"], row["tokens"])

    fresh = {place(row): row for row in out if row["cached"] == 0}
    for row in out:
        one = fresh.get(place(row))
        if row["cached"] and one is not None:
            row["ratio"] = row["measured_s"] / one["measured_s"]
            if "blind_s" in row and "blind_s" in one:
                row["blind_ratio"] = row["blind_s"] / one["blind_s"]
    return sorted(out, key=lambda row: (*place(row), row["cached"]))


def _ratio_note(campaign: Campaign, rows: list[Row]) -> str:
    """Return the error of the ratios of long prompts, which fill the GPU, in a sentence."""
    some = [row for row in rows if row.get("blind_ratio") is not None]
    if not some:
        return ""
    least = max(row["tokens"] for row in some) / 4
    wide = [row["blind_ratio"] / row["ratio"] - 1.0 for row in some if row["tokens"] >= least]
    every = [row["blind_ratio"] / row["ratio"] - 1.0 for row in some]
    return (
        f"{campaign.gpu}: median error of the ratio {percent(median(map(abs, every)))} over {len(every)} prompts, "
        f"{percent(median(map(abs, wide)))} over the {len(wide)} of {least:g} new tokens and more."
    )
