"""Benchmark plans of a request rate: steady states in closed form, and one whole search.

Run ``python benchmarks/bench_plan.py``. It prints a table and, as its last line, JSON. It asserts nothing.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import numpy as np

from scylla_sim.planning.traffic import Traffic, candidates, highest_rate
from scylla_sim.prediction.scenario import Scenario
from scylla_sim.prediction.served_load import ServedLoad
from scylla_sim.serving.closed_form import curve, saturation
from scylla_sim.serving.limits import Limit
from scylla_sim.serving.loop_state import Replica

DEPLOYMENTS, LOADS = 10_000, 100
"""Deployments with seconds of their own, and loads of each."""
LIMITS = [Limit("tpot", "p95", 0.04), Limit("ttft", "p95", 1.0)]


def replicas(count: int) -> Replica:
    """Return random replicas."""
    rng = np.random.default_rng(0)
    rows = np.unique(np.round(np.geomspace(1.0, 512.0, 60)))
    base, slope, prompt = (rng.uniform(*ends, (count, 1)) for ends in ((3e-3, 2e-2), (2e-5, 2e-4), (5e-3, 0.1)))
    prompts = np.broadcast_to(prompt, (count, rows.size))
    cycles = np.full((count, rows.size), 199.0)
    every = np.ones(count)
    return Replica(
        rows, base + slope * rows, cycles, prompts, 1.1 * prompts, prompt[:, 0], 200 * every, 256 * every, 0 * every
    )


def steady_states() -> int:
    """Evaluate curves, their percentiles and the saturation of all replicas."""
    many = replicas(DEPLOYMENTS)
    found = curve(many, np.geomspace(0.02, 512.0, LOADS))
    found.tpot_quantile(0.95), found.ttft_quantile(0.95), saturation(many)
    return found.rate_per_s.size


def search() -> int:
    """Plan the draft lengths of one deployment."""
    scenario = Scenario(
        "llama-3.3-70b",
        hardware="h100-sxm",
        tp=4,
        precision="fp8",
        draft="eagle3",
        draft_len=[1, 2, 3, 5],
        acceptance=0.7,
    )
    traffic = Traffic(200.0, ServedLoad(2000, 300), LIMITS)
    configs, _ = scenario.speculative_configs()
    found = list(candidates(scenario.target_model(), configs, scenario.deployments(), traffic, schedule=True))
    return sum(bool(highest_rate(one.curve, one.saturation_per_s, traffic)) for one in found)


def main() -> None:
    """Print the CPU seconds of each case."""
    cases: dict[str, Callable[[], int]] = {"steady states": steady_states, "candidates of a deployment": search}
    rows = []
    for name, call in cases.items():
        start = time.process_time()
        count = call()
        seconds = time.process_time() - start
        rows.append({"case": name, "results": count, "seconds": seconds, "per_s": count / seconds})
        print(f"{name:28} {count:9d} {seconds:8.3f} s {count / seconds:12,.0f} a second")
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
