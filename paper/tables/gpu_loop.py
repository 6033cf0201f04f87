"""Table ``gpu-loop``: speed-ups on measured GPUs, predicted without and with the kernels that choose tokens."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence

import numpy as np

from paper.render.table import EVIDENCE, Column, Table, percent_column
from paper.sources.gpu_records import Campaign
from paper.sources.results import Results
from paper.tables.errors import ROOFLINE_NOTE
from paper.tables.gpu_table import BLIND_NOTE, DEVICE, FLOOR_NOTE, GIVEN_NOTE, each, gpu_table
from scylla_sim.records import Row

LOOP_FILE = "gpu/loop.toml"
PAIRS = {"shipped": ("blind", "loop"), "own kernels": ("calibrated", "own_loop")}
"""Calibration -> prediction of the kernels alone, and prediction with the loop."""
SHAPES = ("chains", "trees")
SIDES = ("kernels", "loop")


def errors(rows: Sequence[Row], name: str) -> Row:
    """Return error, bias, coverage and width of the speed-ups that a prediction gives for some rows.

    Examples
    --------
    >>> row = {"speedup": 1.0, "blind_speedup": 1.25, "blind_speedup_lower": 0.75, "blind_speedup_upper": 1.5}
    >>> errors([row], "blind")["bias"], errors([row], "blind")["coverage"], errors([row], "blind")["width"]
    (0.25, 1.0, 2.0)
    """
    value, lower, upper = (
        np.array([row[f"{name}_{column}"] for row in rows], dtype=np.float64)
        for column in ("speedup", "speedup_lower", "speedup_upper")
    )
    measured = np.array([row["speedup"] for row in rows], dtype=np.float64)
    signed = value / measured - 1.0
    size = np.abs(signed)
    inside = (lower <= measured) & (measured <= upper)
    return {
        **{
            "median": float(np.median(size)),
            "p90": float(np.quantile(size, 0.9)),
            "bias": float(np.median(signed)),
        },
        **{"coverage": float(inside.mean()), "width": float(np.median(upper / lower))},
    }


def _median_gap(rows: Sequence[Row], column: str) -> float | None:
    """Return the median distance of a column from the speed-up, relative to it; ``None`` without values."""
    gaps = [abs(row[column] / row["speedup"] - 1.0) for row in rows if row.get(column) is not None]
    return float(np.median(gaps)) if gaps else None


def _floor(rows: Sequence[Row]) -> float | None:
    """Return the median difference of a second pass, after removing its median ratio."""
    repeated = [row for row in rows if row.get("again_speedup") is not None]
    ratios = np.array([row["again_speedup"] / row["speedup"] for row in repeated])
    return float(np.median(np.abs(ratios / np.median(ratios) - 1.0))) if ratios.size else None


def _rows(campaign: Campaign) -> Iterator[Row]:
    """Yield one row for each calibration and kind of draft shape."""
    cycles = campaign.graphed_cycles()
    for calibration, names in PAIRS.items():
        for shapes in SHAPES:
            some = [
                row
                for row in cycles
                if (row["top_k"] > 1) == (shapes == "trees")
                and all(row.get(f"{name}_speedup") is not None for name in names)
            ]
            if some:
                out: Row = {"calibration": calibration, "shapes": shapes, "n": len(some)}
                out |= {"roofline": _median_gap(some, "blind_naive_speedup"), "floor": _floor(some)}
                for side, name in zip(SIDES, names):
                    out |= {f"{side}_{key}": value for key, value in errors(some, name).items()}
                yield out


def _loop_note(results: Results) -> str:
    """Return the fitted times of the loop in a sentence, or an empty string."""
    if not results.has(LOOP_FILE):
        return ""
    (table,) = tomllib.loads((results.root / LOOP_FILE).read_text("utf-8")).values()
    if "draft_host_s" not in table:
        return "With the loop: too few cycles were measured for its sampling and acceptance, so it adds nothing."
    cycle, one = (table[name] for name in ("draft_host_s", "draft_pass_host_s"))
    return (
        f"With the loop: {cycle['value']:.2f} ms a cycle and {one['value']:.3f} ms a draft pass for sampling and "
        f"acceptance, {cycle['source']}. They are a cycle minus its steps measured alone, so they hold no error of "
        "a prediction. On other GPUs nothing is fitted."
    )


def loop(results: Results) -> Table:
    """Return errors of the speed-up with kernels alone and with the loop."""
    columns = [
        column
        for side, words in zip(SIDES, ("kernels alone", "with the loop"))
        for column in (
            percent_column(f"{side}_median", f"{words}: median error"),
            percent_column(f"{side}_p90", f"{words}: 90th percentile"),
            percent_column(f"{side}_bias", f"{words}: bias", signed=True),
            percent_column(f"{side}_coverage", f"{words}: inside 90 % interval", digits=0),
            Column(f"{side}_width", f"{words}: median upper / lower end", digits=2),
        )
    ]
    note = _loop_note(results)
    return gpu_table(
        "gpu-loop",
        "Speed-ups on measured GPUs, predicted from kernels alone and with the kernels that choose tokens",
        (
            *(DEVICE, Column("calibration", "calibration"), Column("shapes", "drafts"), Column("n", "n", digits=0)),
            percent_column("roofline", "roofline baseline: median error"),
            *(*columns, percent_column("floor", "noise floor"), EVIDENCE),
        ),
        each(results, "specdecode", lambda campaign: list(_rows(campaign))),
        [BLIND_NOTE, GIVEN_NOTE, ROOFLINE_NOTE, FLOOR_NOTE, *([note] if note else [])],
    )
