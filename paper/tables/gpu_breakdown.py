"""Table ``gpu-breakdown``: parts of a step on measured GPUs, and the part that causes the error of a prediction."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median

from paper.render.table import EVIDENCE, Column, Table, ms_column
from paper.render.values import percent
from paper.sources.gpu_records import PREDICTIONS, Campaign
from paper.sources.results import Results
from paper.tables.gpu_table import BATCH, BLIND_NOTE, CONTEXT, DEVICE, each, gpu_table
from scylla_sim.records import Row

PARTS = {"gemm": "GEMMs", "attention": "attention", "rest": "rest"}
"""Part of a step -> its name in the table."""
FULL_CLOCK = 0.95
"""Fraction of the highest SM clock in the table below which a step counts as run at a lower clock."""


def part_errors(row: Row, name: str) -> dict[str, float]:
    """Return the error of a prediction in seconds for each part of a step; the parts add up to the step.

    Examples
    --------
    >>> row = {"gemm_s": 5.0, "attention_s": 1.0, "rest_s": 0.5}
    >>> row |= {"blind_gemm_s": 4.5, "blind_attention_s": 1.25, "blind_rest_s": 0.25}
    >>> part_errors(row, "blind")
    {'gemm': -0.5, 'attention': 0.25, 'rest': -0.25}
    """
    return {part: row[f"{name}_{part}_s"] - row[f"{part}_s"] for part in PARTS}


def shares(row: Row, name: str) -> dict[str, float]:
    """Return the share of each part in the sum of the absolute errors."""
    sizes = {part: abs(error) for part, error in part_errors(row, name).items()}
    return {part: size / (sum(sizes.values()) or 1.0) for part, size in sizes.items()}


def _split(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """Return the steps at full and at lower clocks, or all together if a clock is unknown."""
    clocks = [row["sm_mhz"] for row in rows if row.get("sm_mhz") is not None]
    if len(clocks) < len(rows):
        return {"all steps": list(rows)}
    limit = FULL_CLOCK * max(clocks)
    found = {
        f"steps at {limit:.0f} MHz or more": [row for row in rows if row["sm_mhz"] >= limit],
        "steps at lower clocks": [row for row in rows if row["sm_mhz"] < limit],
    }
    return {words: some for words, some in found.items() if some}


def _notes(campaign: Campaign, rows: Sequence[Row]) -> list[str]:
    """Return median share and size of the error of each part, by prediction and clock."""
    notes = []
    for name in PREDICTIONS:
        known = [row for row in rows if row.get(f"{name}_step_s") is not None]
        for words, some in _split(known).items() if known else ():
            parts = []
            for part, title in PARTS.items():
                error = median(part_errors(row, name)[part] / row["step_s"] for row in some)
                share = median(shares(row, name)[part] for row in some)
                parts.append(
                    f"{title} {percent(share, 0)} ({'+' if error > 0 else ''}{percent(error)} of the step)"
                )
            notes.append(
                f"{campaign.gpu}, {name}, {len(some)} {words}: median share of the error (median error): "
                f"{', '.join(parts)}."
            )
    return notes


def breakdown(results: Results) -> Table:
    """Return the GEMMs, the attention and the rest of each step, measured and predicted."""

    def rows(campaign: Campaign) -> list[Row]:
        return sorted(campaign.parts(), key=lambda row: (row["context"], row["batch"], row["tokens"]))

    found = each(results, "step", rows)

    def columns(name: str, heading: str) -> list[Column]:
        return [
            ms_column(f"{name}{part}_s", f"{heading}{title}") for part, title in {"step": "step", **PARTS}.items()
        ]

    return gpu_table(
        "gpu-breakdown",
        "Parts of plain and verify steps on measured GPUs: GEMMs and attention measured alone, and the rest",
        (
            *(DEVICE, BATCH, CONTEXT, Column("tokens", "tokens", digits=0), Column("rows", "GEMM rows", digits=0)),
            *columns("", ""),
            *columns("blind_", "blind: "),
            Column("sm_mhz", "SM clock", "MHz", digits=0),
            Column("gemm_sm_mhz", "SM clock of the GEMMs alone", "MHz", digits=0),
            EVIDENCE,
        ),
        found,
        [
            BLIND_NOTE,
            "GEMMs: those of all layers and of the head, with batch times tokens rows. Attention: that of all "
            "layers, in the decoder's kernel. Rest: the step minus both, which are small kernels and gaps.",
            "Kernels that are measured alone may run at another clock. If the step has a lower clock, the extra "
            "time of its GEMMs is in the rest.",
            *(note for campaign, _, some in found if some for note in _notes(campaign, some)),
        ],
    )
