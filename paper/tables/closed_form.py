"""Table ``closed-form``: latencies under load in closed form, beside simulated ones."""

from __future__ import annotations

from paper.render.table import EVIDENCE, Column, Table, ms_column, percent_column
from paper.sources.results import Results, commits
from scylla_sim.records import Row

FILE = "serving/closed-form.json"
STATISTICS = {"mean": "mean", "p50": "p50", "p95": "p95", "p99": "p99"}
"""Statistic of the file -> heading."""


def _rows(results: Results) -> list[Row]:
    """Return one row for each deployment, load and latency, with the errors of all statistics."""
    found: dict[tuple[str, float, str], Row] = {}
    for row in results.table(FILE).rows:
        key = (row["case"], row["share"], row["latency"])
        line = found.setdefault(
            key,
            {
                "case": row["case"],
                "share": row["share"],
                "latency": row["latency"].upper() if row["latency"] in ("ttft", "tpot") else row["latency"],
                "doubts": row["doubts"] or None,
                "evidence": "theory",
            },
        )
        line[row["statistic"]] = row["relative_error"]
        if row["statistic"] == "mean":
            line["simulated_s"] = row["simulated_s"]
    return list(found.values())


def closed_form(results: Results) -> Table:
    """Return the errors of the closed form against simulation."""
    rows = _rows(results)
    shown = [name for name in STATISTICS if any(name in row for row in rows)]
    return Table(
        "closed-form",
        "Latencies under load in closed form, relative to simulated ones",
        (
            Column("case", "deployment"),
            percent_column("share", "load", digits=0),
            Column("latency", "latency"),
            ms_column("simulated_s", "simulated mean"),
            *(percent_column(name, f"error of {STATISTICS[name]}", signed=True) for name in shown),
            Column("doubts", "reasons not to trust it"),
            EVIDENCE,
        ),
        rows,
        "theory: both use the same step times",
        commits([results.table(FILE)]),
        notes=[
            "Load is the request rate relative to saturation. Arrivals are Poisson, and all requests have the same "
            "lengths: 1,000 in and 200 out for 8B, 2,000 in and 300 out for 70B. GPUs: 1 and 4 H100. The L4, whose "
            "KV pool is full, has 300 in and 600 out.",
            "Per request: time between two requests that end at saturation. Below 0, the formula serves too many.",
            "Each simulated value is the mean of 3 runs; simulated_requests of config.yaml is the length of a run.",
            "plan names the reasons of the last column, and simulates its best candidates.",
        ],
    )
