"""The Pareto front of ``scylla-sim plan --pareto``, as a table and as a figure."""

from __future__ import annotations

from typing import Any

from scylla_sim.cli._plot import draw_series
from scylla_sim.planning.pareto import FrontPoint, front
from scylla_sim.planning.traffic_search import TrafficPlan
from scylla_sim.text.charts import Curve, chart
from scylla_sim.text.tables import Column

TABLE_COLUMNS = (
    Column("tokens_per_s_per_user", "tokens/s/user"),
    Column("tokens_per_s_per_gpu", "tokens/s/GPU"),
    Column("where", "each"),
    Column("precision", fold=True),
    Column("draft", fold=True),
    Column("lengths", "K", fold=True, right=True),
    Column("running", "running"),
    Column("rate_per_s", "requests/s"),
    Column("load", "load %", scale=100.0, decimals=0),
    Column("ttft_mean_s", "TTFT ms", scale=1e3),
    Column("ttft_p95_s", "p95", scale=1e3),
)
"""Columns of the table of the front."""
X_NAME, Y_NAME = "tokens/s of a user", "tokens/s of a GPU"


def _where(point: FrontPoint) -> dict[str, Any]:
    """Return the candidate of a point."""
    served = point.option.served
    lengths = dict.fromkeys(config.draft_len for config in served.configs.values())
    draft = next(iter(served.configs.values())).draft
    return {
        "where": f"{served.deployment.tp}x {served.deployment.calibration.hardware.name}",
        "hardware": served.deployment.calibration.hardware.name,
        "tp": served.deployment.tp,
        "precision": served.deployment.dtype,
        "draft": draft.name,
        "lengths": "-" if draft.kind == "none" else "/".join(map(str, lengths)),
    }


def rows(plan: TrafficPlan) -> list[dict[str, Any]]:
    """Return the front as rows, from the fastest user to the busiest GPU."""
    keys = ("load", "rate_per_s", "running", "tokens_per_s_per_user", "tokens_per_s_per_gpu")
    return [
        {**_where(one), **{name: getattr(one, name) for name in (*keys, "ttft_mean_s", "ttft_p95_s")}}
        for one in front(plan.options, plan.traffic)
    ]


def _series(plan: TrafficPlan) -> dict[str, list[tuple[float, float]]]:
    """Return the points of the front by candidate."""
    series: dict[str, list[tuple[float, float]]] = {}
    for row in rows(plan):
        name = f"{row['where']}, {row['draft']}" + ("" if row["lengths"] == "-" else f" K = {row['lengths']}")
        series.setdefault(name, []).append((row["tokens_per_s_per_user"], row["tokens_per_s_per_gpu"]))
    return series


def draw(path: str, plan: TrafficPlan) -> None:
    """Draw the front, with one series for each candidate on it."""
    draw_series(path, _series(plan), x_name=X_NAME, y_name=Y_NAME)


def as_text(plan: TrafficPlan) -> str:
    """Return the front as a chart for a terminal; empty without a candidate."""
    series = {name: sorted(points) for name, points in _series(plan).items()}
    curves = [Curve(name, [x for x, _ in points], [y for _, y in points]) for name, points in series.items()]
    return chart(curves, x_name=X_NAME, y_name=Y_NAME).rstrip("\n") if curves else ""
