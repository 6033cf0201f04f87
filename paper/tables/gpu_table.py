"""Columns, notes and construction that the tables ``gpu-*`` of measured GPUs share.

Every row has evidence level ``recorded``. Without a record, a table is one line that says how to measure.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from paper.render.table import Column, Table, percent_column
from paper.render.values import joined
from paper.sources.gpu_records import PREDICTIONS, Campaign, campaigns
from paper.sources.results import Results, commits
from paper.tables.errors import ERRORS, SECOND_PASS
from scylla_sim.records import Row

NOT_MEASURED = "No GPU has been measured yet; docs/validate-on-your-gpu.md has the command."

DEVICE = Column("device", "device")
BATCH, CONTEXT = Column("batch", "batch", digits=0), Column("context", "context", digits=0)
DRAFTING = Column("drafting", "draft shape")

BLIND_NOTE = (
    "Blind: predicted with the shipped calibration before the measurement, hashed and committed. Calibrated: the "
    "same kernel models fitted to one part of this GPU's GEMM and attention shapes, and scored on the other part. "
    "Nothing is fitted to a step, a cycle or a generation. Kernels without such a fit use the shipped fit."
)
FLOOR_NOTE = f"Noise floor: {SECOND_PASS}."
GIVEN_NOTE = (
    "Acceptance is given: measured and predicted cycles emit the same tokens, and their times are compared."
)

Found = tuple[Campaign, str, list[Row]]
"""GPU, suite, and the rows that a table shows of it."""


def gpu_table(
    name: str, caption: str, columns: Sequence[Column], found: Sequence[Found], notes: Sequence[str] = ()
) -> Table:
    """Return a table of measured GPUs, or one line that says how to measure.

    Parameters
    ----------
    name, caption : str
        Name and caption of the table.
    columns : sequence of Column
        Columns; those without any value are left out.
    found : sequence of Found
        Rows by GPU and suite.
    notes : sequence of str
        Lines under the table. The facts of each record follow them.
    """
    rows = [{"device": campaign.gpu, **row, "evidence": "recorded"} for campaign, _, some in found for row in some]
    if not rows:
        gpus = ", ".join(dict.fromkeys(campaign.gpu for campaign, _, _ in found))
        nothing = f"Not measured on {gpus} yet." if gpus else NOT_MEASURED
        return Table(name, caption, columns, [], "not measured", "", nothing=nothing)
    shown = [column for column in columns if any(row.get(column.key) not in (None, "") for row in rows)]
    measured = [(campaign, suite) for campaign, suite, some in found if some]
    tables = [table for campaign, suite in measured for table in campaign.compared(suite).values()]
    facts = [campaign.facts(suite) for campaign, suite in measured]
    blind = [line for line in (campaign.blind_facts(suite) for campaign, suite in measured) if line]
    levels = {"measured": "recorded"}
    for prediction in PREDICTIONS:
        made = [
            campaign.level(prediction) for campaign, suite in measured if prediction in campaign.compared(suite)
        ]
        levels |= {prediction: ", ".join(dict.fromkeys(made))} if made else {}
    return Table(
        name,
        caption,
        shown,
        rows,
        joined(levels),
        commits(tables),
        notes=[*notes, *dict.fromkeys(facts), *dict.fromkeys(blind)],
    )


def each(results: Results, suite: str, rows: Callable[[Campaign], list[Row]]) -> list[Found]:
    """Return the rows of a suite for every GPU, none where the suite was not measured."""
    return [(campaign, suite, rows(campaign) if campaign.has(suite) else []) for campaign in campaigns(results)]


def scored(campaign: Campaign, suite: str, by: Sequence[str]) -> list[Row]:
    """Return the groups of a suite with the errors of both predictions, prefixed by the prediction's name."""
    found: dict[tuple[str, ...], Row] = {}
    for name, table in campaign.compared(suite).items():
        for row in table.rows:
            key = tuple(str(row.get(column, "")) for column in by)
            if row["group"] == "all":
                continue
            out = found.setdefault(key, dict(zip(by, key)))
            out |= {f"{name}_{column.key}": row.get(column.key) for column in ERRORS if column.key in row}
            out.setdefault("naive_median_ape", row.get("naive_median_ape"))
            if row.get("floor_kind") == "repeat":
                out.setdefault("floor_median", row["floor_median"])
    return list(found.values())


def _score_columns(name: str) -> list[Column]:
    """Return the error columns of one prediction."""
    return [
        Column(f"{name}_n", f"{name}: n", digits=0),
        percent_column(f"{name}_median_ape", f"{name}: median error"),
        percent_column(f"{name}_p90_ape", f"{name}: 90th percentile"),
        percent_column(f"{name}_bias", f"{name}: bias", signed=True),
        percent_column(f"{name}_coverage", f"{name}: inside 90 % interval", digits=0),
        Column(f"{name}_width", f"{name}: median upper / lower end", digits=2),
    ]


SCORES = (
    *_score_columns("blind"),
    percent_column("naive_median_ape", "roofline baseline: median error"),
    *_score_columns("calibrated"),
    percent_column("floor_median", "noise floor"),
)
"""Columns for `scored` rows."""
