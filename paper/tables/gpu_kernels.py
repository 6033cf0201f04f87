"""Tables ``gpu-kernels`` and ``gpu-verify-attention``: kernels of measured GPUs."""

from __future__ import annotations

from typing import Any

from paper.render.table import EVIDENCE, Column, Table
from paper.render.values import percent
from paper.sources.gpu_records import PREDICTIONS, Campaign
from paper.sources.results import Results
from paper.tables.errors import OPS, ROOFLINE_NOTE, word
from paper.tables.gpu_table import BATCH, BLIND_NOTE, CONTEXT, DEVICE, FLOOR_NOTE, SCORES, each, gpu_table, scored
from scylla_sim.records import Row

DECODER_ATTENTION = "triton_split_kv"
"""Attention kernel of the measured decoder."""
WIDTHS = (4, 8, 16, 64)
"""Numbers of query tokens whose time is compared with that of one token."""

_WIDTH_NOTES = [
    f"{DECODER_ATTENTION} splits the keys of a sequence only if there are fewer query blocks than the GPU can "
    "hold. It then adds up the parts, which takes longer for more tokens.",
    "64 tokens make twice as many query blocks and may need no split. The kernel model of attention has neither "
    "effect.",
]


def kernels(results: Results) -> Table:
    """Return errors of kernels by operation, library and dtype."""

    def rows(campaign: Campaign) -> list[Row]:
        found = scored(campaign, "kernels", ("op", "dtype", "kernel_source"))
        return [row | {"op": OPS[row["op"]], "dtype": word("dtype", row["dtype"])} for row in found]

    found = each(results, "kernels", rows)
    return gpu_table(
        "gpu-kernels",
        "Kernels on measured GPUs: blind and calibrated predictions compared with the measurement",
        (
            *(DEVICE, Column("op", "kernels"), Column("kernel_source", "library"), Column("dtype", "dtype")),
            *SCORES,
            EVIDENCE,
        ),
        found,
        [
            BLIND_NOTE,
            ROOFLINE_NOTE,
            FLOOR_NOTE,
            "The fit uses the kernels that the measured decoder runs (torch_linear, triton_split_kv, "
            "torch_flash_prompt) and torch_scaled_mm. Other libraries have a blind prediction only.",
            *(note for campaign, _, some in found if some for note in _width_notes(campaign)),
        ],
    )


def _width_notes(campaign: Campaign) -> list[str]:
    """Return the errors of the decoder's attention by number of query tokens, a sentence for each prediction."""
    notes = []
    for name, table in campaign.widths().items():
        rows = [
            row for row in table.rows if row.get("kernel_source") == DECODER_ATTENTION and row["group"] != "all"
        ]
        errors = [
            f"{row['q_len']}: {percent(row['median_ape'])}"
            for row in sorted(rows, key=lambda row: float(row["q_len"]))
        ]
        if errors:
            sizes = "all batches and contexts" if name == PREDICTIONS[0] else "held-out batches and contexts"
            title = f"median error of {DECODER_ATTENTION} by number of query tokens ({sizes})"
            notes.append(f"{campaign.gpu}, {name}: {title}: {', '.join(errors)}.")
    return [*notes, *_WIDTH_NOTES] if notes else []


def _ratios(one: Row, widths: dict[int, Row]) -> Row:
    """Return the time of several query tokens divided by that of one, measured and predicted blind."""
    shown: Row = {}
    for width in WIDTHS:
        many = widths.get(width, {})
        for name, column in (("measured", "latency_ms"), ("blind", "blind_predicted_s")):
            if many.get(column) is not None and one.get(column) is not None:
                shown[f"{name}_{width}"] = many[column] / one[column]
    return shown


def verify_attention(results: Results) -> Table:
    """Return the attention time of several query tokens over that of one, by kernel, batch and context."""

    def rows(campaign: Campaign) -> list[Row]:
        found: dict[tuple[Any, ...], dict[int, Row]] = {}
        for row in campaign.rows("kernels"):
            if row["op"] == "decode_attention":
                key = tuple(row[name] for name in ("kernel_source", "num_heads", "num_kv_heads", "kv_len", "batch"))
                found.setdefault(key, {})[int(row.get("q_len") or 1)] = row
        out = []
        for (source, heads, kv_heads, context, batch), widths in sorted(found.items()):
            one = widths.pop(1, None)
            if one is None or not widths:
                continue
            shown: Row = {"kernel_source": source, "heads": f"{heads:g}/{kv_heads:g}"}
            shown |= {"batch": batch, "context": context, "one_ms": one["latency_ms"]}
            out.append(shown | _ratios(one, widths))
        return out

    ratios = [
        Column(f"{name}_{width}", f"{width} tokens, {name}", digits=2)
        for width in WIDTHS
        for name in ("measured", "blind")
    ]
    return gpu_table(
        "gpu-verify-attention",
        "Attention of a verify step on measured GPUs: time of several query tokens over the time of one",
        (
            *(DEVICE, Column("kernel_source", "kernel"), Column("heads", "heads/KV heads"), BATCH, CONTEXT),
            *(Column("one_ms", "one token", "µs", digits=1, scale=1e3), *ratios, EVIDENCE),
        ),
        each(results, "kernels", rows),
        [f"{DECODER_ATTENTION} is the kernel that the measured decoder runs in plain and in verify steps."],
    )
