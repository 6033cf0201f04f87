"""The speed-up over the batch, drawn as text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from scylla_sim.checks import FloatArray, fail
from scylla_sim.planning.crossover import crossover_batch
from scylla_sim.prediction.counts import counts
from scylla_sim.prediction.report import point_labels
from scylla_sim.prediction.scenario import Scenario
from scylla_sim.records import Row
from scylla_sim.text.charts import Curve, chart
from scylla_sim.text.digits import interval

LAST_BATCH = 512
"""Last batch that is drawn, unless a larger one was given."""
MAX_CURVES = 8
"""Most curves of one chart."""


def speedup_chart(scenarios: Sequence[Scenario]) -> str:
    """Return a chart of the speed-up over all batches, one curve per configuration and context.

    Raises
    ------
    InputError
        If there is no draft, or more than `MAX_CURVES` curves, or verified tokens differ between batches.
    """
    drafting = [scenario for scenario in scenarios if scenario.draft != "none"]
    if not drafting:
        raise fail("draw", True, "needs a draft", "the chart shows the speed-up")
    rows: list[Row] = []
    for scenario in drafting:
        if len(scenario.verify_groups()) > 1:
            raise fail("draw", True, "must be given with one value of --verify-tokens")
        last = max(LAST_BATCH, *counts("batch", scenario.batch))
        swept = replace(scenario, batch=list(range(1, last + 1)), measured_plain_tpot=None)
        rows += swept.predict().rows()
    labels = point_labels(rows, batch=False)
    by_curve = {label: [row for row, own in zip(rows, labels) if own == label] for label in dict.fromkeys(labels)}
    if len(by_curve) > MAX_CURVES:
        raise fail("draw", True, f"must have at most {MAX_CURVES} curves", f"these options give {len(by_curve)}")
    curves: list[Curve] = []
    marks: dict[float, str] = {}
    for label, points in by_curve.items():
        value, lower, upper = (
            np.array([row[key] for row in points]) for key in ("speedup", "speedup_lower", "speedup_upper")
        )
        x = [row["batch_size"] for row in points]
        curves.append(Curve(label, x, value.tolist(), lower.tolist(), upper.tolist()))
        position, text = _crossover(label if len(by_curve) > 1 else "", value, lower, upper)
        marks[position] = f"{marks[position]}; {text}" if position in marks else text
    return chart(curves, x_name="batch", y_name="speed-up over plain decoding", reference=1.0, marks=marks)


def _crossover(label: str, value: FloatArray, lower: FloatArray, upper: FloatArray) -> tuple[float, str]:
    """Return the position of the crossover on the x axis, and its text."""
    batch, first, last = (crossover_batch(each) for each in (value, lower, upper))
    name = f"{label}: " if label else ""
    if batch is None:
        return float(value.size), f"{name}drafting pays up to batch {value.size} and beyond"
    ends = interval(batch, first if first is not None else "never", last if last is not None else "never")
    return float(batch), f"{name}plain decoding is as fast from batch {ends}"
