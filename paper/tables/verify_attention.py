"""Table ``verify-attention``: predicted and published attention kernels of several query tokens, by backend."""

from __future__ import annotations

from paper.render.table import EVIDENCE, Column, Table
from paper.render.values import joined
from paper.sources.results import Results, commits
from paper.tables.errors import ROOFLINE_NOTE, error_columns
from scylla_sim.records import Row

ROLES = {"fitted": "value of the backend comes from these rows", "scored": "scored"}
"""Use of published rows -> its meaning in the table."""


def verify_attention(results: Results) -> Table:
    """Return the errors of published attention kernels by GPU, backend and query tokens."""
    table = results.table("compare/verify-attention.json")
    rows: list[Row] = [
        {**row, "role": ROLES[str(row["role"])]} for row in table.rows if row["kernel_source"] != "all"
    ]
    return Table(
        "verify-attention",
        "Predicted attention of several query tokens, compared with published kernels",
        (
            Column("device", "device"),
            Column("kernel_source", "kernel"),
            Column("q_len", "query tokens"),
            Column("role", "rows"),
            *error_columns(rows),
            EVIDENCE,
        ),
        rows,
        joined({"measured": ", ".join(table.levels()), "predicted": "shipped calibrations, backend of the engine"}),
        commits([table]),
        sources=[
            "vllm-project/flash-attention #193",
            "flashinfer-ai/flashinfer #1832",
            "vllm-project/vllm #41778",
        ],
        notes=[
            f"Error: |predicted / measured - 1|. Bias: median of the signed error. {ROOFLINE_NOTE}",
            "trtllm-gen before #2265: the times contain a launch by the host of about 20 us. The source prints no "
            "head counts; 32 query heads and 8 KV heads are assumed. The time of that version grows with the query "
            "tokens, and newer engines do not run it.",
            "MLA: trtllm-gen and tokenspeed_mla are two kernels for one shape. The interval covers both.",
        ],
    )
