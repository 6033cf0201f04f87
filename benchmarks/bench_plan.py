"""Benchmark plans: whole searches from names to limits, and the steady states in them.

Run ``python benchmarks/bench_plan.py``. It prints a table and, as its last line, JSON. It asserts nothing.

A configuration is one model, GPU, number of TP ranks, precision, draft and draft length at one batch. With a
request rate, the batch is one of the mean batches at which a candidate's steady state is solved. Without one, it is
a whole number of sequences. Step tables are made within the measured time. The first run of a process also reads
the calibrations, which a search of a million configurations does once; the fastest of the others counts.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import product

import numpy as np

from scylla_sim.planning.capacity import Candidates, search
from scylla_sim.planning.traffic import Traffic
from scylla_sim.planning.traffic_search import search_traffic
from scylla_sim.prediction.scenario import Scenario
from scylla_sim.prediction.served_load import ServedLoad
from scylla_sim.serving.closed_form import curve, saturation
from scylla_sim.serving.limits import Limit
from scylla_sim.serving.loop_state import Replica
from scylla_sim.specs.model import Model

DEPLOYMENTS, LOADS = 10_000, 100
"""Replicas of given step tables, and loads of each."""
LIMITS = [Limit("tpot", "p95", 0.04), Limit("ttft", "p95", 1.0)]
HARDWARE, TP, PRECISIONS = ("h100-sxm", "h200-sxm", "b200-sxm"), (2, 4, 8), ("bf16", "fp8")
DRAFTS = {"none": None, "eagle3": [1, 2, 3, 4, 5, 6, 7], "llama-3.2-1b": [1, 2, 3, 4, 5, 6, 7]}
"""Drafts and their lengths."""
BATCHES = list(range(1, 513))
REPEATS = 3
"""Timed runs of each case after the first one."""


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
    """Evaluate curves, their percentiles and the saturation of all replicas; their step tables are given."""
    many = replicas(DEPLOYMENTS)
    found = curve(many, np.geomspace(0.02, 512.0, LOADS))
    found.tpot_quantile(0.95), found.ttft_quantile(0.95), saturation(many)
    return found.rate_per_s.size


def groups() -> tuple[Model, list[Candidates]]:
    """Return the candidates of 18 deployments, with and without drafts, as ``scylla-sim plan`` gathers them."""
    found = []
    for draft, lengths in DRAFTS.items():
        options = {} if lengths is None else {"draft_len": lengths, "acceptance": 0.7}
        one = Scenario("llama-3.3-70b", hardware=HARDWARE[0], draft=draft, **options)
        configs, _ = one.speculative_configs()
        for hardware, tp, precision in product(HARDWARE, TP, PRECISIONS):
            where = replace(one, hardware=hardware, tp=tp, precision=precision).deployments()
            found.append(Candidates(configs, *where))
    return one.target_model(), found


def plan_a_rate() -> int:
    """Search all candidates of a request rate, from their names."""
    model, every = groups()
    found = search_traffic(model, every, Traffic(200.0, ServedLoad(2000, 300), LIMITS))
    return sum(option.served.curve.rate_per_s.size for option in found.options)


def plan_decoding() -> int:
    """Search all candidates of decoding at 512 batches, from their names."""
    model, every = groups()
    return search(model, every, batch=BATCHES, context=2150, tpot_limit_s=0.04).considered * len(BATCHES)


def main() -> None:
    """Print the CPU seconds of each case."""
    cases: dict[str, Callable[[], int]] = {
        "plan of a rate": plan_a_rate,
        "plan of decoding": plan_decoding,
        "steady states alone": steady_states,
    }
    rows = []
    for name, call in cases.items():
        times = []
        for _ in range(1 + REPEATS):
            start = time.process_time()
            count = call()
            times.append(time.process_time() - start)
        first, seconds = times[0], min(times[1:])
        rows.append(
            {"case": name, "configurations": count, "seconds": seconds, "first_s": first, "per_s": count / seconds}
        )
        print(
            f"{name:20} {count:9d} configurations {seconds:8.2f} s, first run {first:.2f} s; "
            f"{1e6 * seconds / count:5.1f} s a million"
        )
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
