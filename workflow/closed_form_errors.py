"""Errors of the closed form of a served load against simulation, as a result file.

Usage: ``python workflow/closed_form_errors.py OUT.json REQUESTS``. A simulated run has REQUESTS. Each row is
a deployment, a share of saturation, a latency and a statistic; see `scylla_sim.planning.closed_form_errors`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from scylla_sim.planning.candidates import candidates
from scylla_sim.planning.closed_form_errors import error_rows
from scylla_sim.planning.traffic import Traffic
from scylla_sim.prediction.scenario import Scenario
from scylla_sim.prediction.served_load import ServedLoad
from scylla_sim.records import Row, dump_json, table, write_text

SMALL: dict[str, Any] = {"model": "llama-3.1-8b", "hardware": "h100-sxm"}
LARGE: dict[str, Any] = {"model": "llama-3.3-70b", "hardware": "h100-sxm", "tp": 4, "precision": "fp8"}
DRAFT: dict[str, Any] = {"draft": "eagle3", "draft_len": [2], "acceptance": 0.7}
CASES: dict[str, tuple[dict[str, Any], ServedLoad, int]] = {
    "8B": (SMALL, ServedLoad(1000, 200), 8192),
    "8B, EAGLE-3": (SMALL | DRAFT, ServedLoad(1000, 200), 8192),
    "70B": (LARGE, ServedLoad(2000, 300), 8192),
    "70B, EAGLE-3": (LARGE | DRAFT, ServedLoad(2000, 300), 8192),
    "70B, budget 512": (LARGE, ServedLoad(2000, 300), 512),
    "8B on L4": ({"model": "llama-3.1-8b", "hardware": "l4"}, ServedLoad(300, 600), 2048),
}
"""Name -> scenario, lengths of the requests, and tokens of an iteration. The KV pool of the last one is full."""


def rows(requests: int) -> list[Row]:
    """Return the errors of all cases, with some requests in each simulated run."""
    found: list[Row] = []
    for name, (options, load, budget) in CASES.items():
        scenario = Scenario(**options)
        traffic = Traffic(1.0, load, max_num_seqs=256, max_num_batched_tokens=budget)
        configs, _ = scenario.speculative_configs()
        for one in candidates(scenario.target_model(), configs, scenario.deployments(), traffic):
            found += error_rows(name, one, traffic, count=requests)
    return found


if __name__ == "__main__":
    write_text(Path(sys.argv[1]), dump_json(table("scylla-sim/closed-form-errors/1", rows(int(sys.argv[2])))))
