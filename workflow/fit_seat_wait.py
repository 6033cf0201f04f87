"""Choose the weight of the wait for a seat on half of some simulated replicas, and score it on the other half.

Usage: ``python workflow/fit_seat_wait.py``. It prints the mean error of TTFT by formula for several values of
`scylla_sim.serving.closed_form.SEATS_BY_LOAD`, and without the wait, on both halves. Nothing is written.

The replicas have few seats, or a KV pool that is full at some load.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from scylla_sim.planning.candidates import candidates
from scylla_sim.planning.finalists import simulated
from scylla_sim.planning.traffic import Traffic
from scylla_sim.prediction.scenario import Scenario
from scylla_sim.prediction.served_load import ServedLoad
from scylla_sim.serving.closed_form import Curve, share_that_waits
from scylla_sim.serving.replica import replica

SHARES = (0.3, 0.5, 0.6, 0.7, 0.8, 0.85)
"""Rates over that at saturation."""
SEEDS, REQUESTS = 3, 3000
"""Simulated runs at each rate, and requests of a run."""
WEIGHTS = (0.0, 0.25, 0.5, 0.6, 0.7, 0.75, 0.8, 0.9, 1.0)
SMALL: dict[str, Any] = {"model": "llama-3.1-8b", "hardware": "h100-sxm"}
L4: dict[str, Any] = SMALL | {"hardware": "l4"}
LARGE: dict[str, Any] = {"model": "llama-3.3-70b", "hardware": "h100-sxm", "tp": 2, "precision": "fp8"}
DRAFT: dict[str, Any] = {"draft": "eagle3", "draft_len": [3], "acceptance": 0.7}
CASES: tuple[tuple[dict[str, Any], ServedLoad, int | None], ...] = (
    (L4, ServedLoad(300, 600), None),
    (L4, ServedLoad(1000, 200), None),
    (SMALL, ServedLoad(1000, 200), 8),
    (SMALL, ServedLoad(300, 600), 32),
    (SMALL | {"hardware": "l40s"}, ServedLoad(2000, 300), None),
    (L4, ServedLoad(200, 1000), None),
    (L4, ServedLoad(2000, 100), None),
    (LARGE, ServedLoad(2000, 300), None),
    (LARGE, ServedLoad(500, 500), None),
    (SMALL | DRAFT, ServedLoad(1000, 200), 16),
    (SMALL, ServedLoad(500, 500), 64),
    (SMALL, ServedLoad(2000, 300), 64),
)
"""Scenario, lengths of the requests, and seats (``None``: the default); every second one is in the first half."""


@dataclass(frozen=True)
class Point:
    """A replica at one rate: its curve, load, share of seats taken, seats, and simulated TTFT."""

    at: Curve
    load: float
    taken: float
    seats: float
    mean_s: float
    p95_s: float


def points(options: dict[str, Any], load: ServedLoad, seats: int | None) -> list[Point]:
    """Return a replica at all rates, simulated."""
    scenario, traffic = Scenario(**options), Traffic(1.0, load, max_num_seqs=seats)
    configs, _ = scenario.speculative_configs()
    (one,) = candidates(scenario.target_model(), configs, scenario.deployments(), traffic)
    most, found = float(np.max(replica(one.model, load).max_rows)), []
    for share in SHARES:
        rate = share * one.saturation_per_s
        at = one.curve.at_rate([rate])
        run = simulated(one, traffic, rate, seeds=SEEDS, count=REQUESTS)
        taken = float(at.running[0]) / most
        found.append(Point(at, share, taken, most, run["ttft_s mean"], run["ttft_s p95"]))
    return found


def errors(some: Sequence[Point], weight: float | None) -> tuple[float, float]:
    """Return the mean absolute errors of the logarithms of mean and p95; without the wait if there is no weight."""
    found = []
    for one in some:
        waits = 0.0 if weight is None else share_that_waits(one.load, one.taken, one.seats, weight=weight)
        at = replace(one.at, queue=np.array([waits]))
        found.append((at.ttft_s[0] / one.mean_s, at.ttft_quantile(0.95)[0] / one.p95_s))
    mean, p95 = np.abs(np.log(np.array(found))).mean(axis=0).tolist()
    return mean, p95


def main() -> None:
    """Print the errors in per cent on both halves."""
    every = [points(*case) for case in CASES]
    halves = [[one for case in every[start::2] for one in case] for start in (0, 1)]
    for weight in (None, *WEIGHTS):
        scores = [100.0 * np.expm1(errors(half, weight)) for half in halves]
        words = "; ".join(f"mean {mean:.1f}, p95 {p95:.1f}" for mean, p95 in scores)
        print(f"{'without' if weight is None else weight}: {words}")


if __name__ == "__main__":
    main()
