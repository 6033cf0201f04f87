"""Published serving runs of a deployment, beside their predictions: the nearest measured row of the page."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from scylla_sim.checks import fail
from scylla_sim.prediction.scenario import Scenario
from scylla_sim.prediction.served_runs import ServedRun, predict_run

MAX_ROWS = 40
"""Rows that a page holds; each takes a prediction."""
COLUMNS = (
    *("source", "series", "engine", "hardware", "model", "tp", "draft", "draft_len", "top_k", "verify_tokens"),
    *("batch", "context", "tokens_per_cycle", "speedup"),
)


@dataclass(frozen=True)
class MeasuredRow:
    """One published speed-up, and its prediction.

    Attributes
    ----------
    source
        Key of the publication.
    engine
        Preset of the run.
    batch, context, draft_len, top_k, verify_tokens
        Where it was measured; ``top_k`` is 1 for a chain.
    measured, predicted
        Speed-up over decoding without a draft.
    """

    source: str
    engine: str
    batch: int
    context: int
    draft_len: int
    top_k: int
    verify_tokens: int
    measured: float
    predicted: float


def _run(row: Mapping[str, str]) -> ServedRun:
    def whole(name: str) -> int:
        return int(float(row.get(name) or 0))

    return ServedRun(
        engine=row["engine"],
        hardware=row["hardware"],
        model=row["model"],
        precision=row.get("precision", ""),
        kv_precision=row.get("kv_precision", ""),
        draft=row["draft"],
        tp=whole("tp"),
        draft_len=whole("draft_len"),
        top_k=whole("top_k"),
        verify_tokens=whole("verify_tokens"),
        batch=whole("batch"),
        context=whole("context"),
        input_len=whole("input_len"),
        output_len=whole("output_len"),
    )


def nearest_rows(scenario: Scenario, runs: str | None) -> list[dict[str, Any]]:
    """Return the published runs of the model, GPU, TP ranks and draft of a scenario, at most `MAX_ROWS`.

    Parameters
    ----------
    runs
        CSV file of serving runs, as ``scylla-sim served --runs`` reads it; ``None`` gives no row.

    Raises
    ------
    InputError
        For a file that cannot be read or lacks a column.
    """
    if runs is None:
        return []
    try:
        with Path(runs).open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError) as error:
        raise fail("runs", runs, f"cannot be read ({error})") from None
    missing = [name for name in COLUMNS if rows and name not in rows[0]]
    if missing:
        raise fail("runs", runs, f"must have the column {missing[0]}", "see scylla-sim served --help")
    wanted = {
        "model": scenario.target_model().name,
        "hardware": scenario.deployments()[0].calibration.hardware.name,
        "draft": scenario.draft_model().name,
        "tp": str(scenario.tp),
    }
    same = [
        row
        for row in rows
        if all(row[name] == value for name, value in wanted.items()) and row["speedup"] and row["tokens_per_cycle"]
    ]
    return [_predicted(row) for row in same[:MAX_ROWS]]


def _predicted(row: Mapping[str, str]) -> dict[str, Any]:
    run = _run(row)
    predicted = float(predict_run(run, float(row["tokens_per_cycle"]))["speedup"])
    return vars(
        MeasuredRow(
            row["source"],
            run.engine,
            run.batch,
            run.context,
            run.draft_len,
            run.top_k,
            run.verify_tokens,
            float(row["speedup"]),
            predicted,
        )
    )
