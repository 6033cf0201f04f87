"""Benchmark the simulation of continuous batching.

Run ``python benchmarks/bench_serving.py``. It prints a table and, as its last line, JSON. It asserts nothing.
"""

from __future__ import annotations

import json
import time

import numpy as np

from scylla_sim.prediction.scenario import Scenario
from scylla_sim.serving.configs import configs_of
from scylla_sim.serving.load import Load
from scylla_sim.serving.serve import Settings, model_of, saturation_rate, work_of
from scylla_sim.serving.simulation import simulate
from scylla_sim.serving.workload import Lengths, RequestClass

LOADS = (0.02, 0.3, 0.5, 0.8, 0.9, 1.2)
"""Rates over the rate at saturation."""
REQUESTS = 5000
REPEATS = 3
"""Timed runs of each case, of which the fastest counts."""


def main() -> None:
    """Time runs at several loads, with and without a draft, and print CPU seconds."""
    one = RequestClass("all", Lengths.parse("input_len", 1000), Lengths.parse("output_len", 200))
    settings, rows = Settings(max_num_seqs=256, max_num_batched_tokens=8192), []
    for draft in ("none", "eagle3"):
        scenario = Scenario(
            "llama-3.1-8b", hardware="h100-sxm", draft=draft, acceptance=0.7 if draft != "none" else None
        )
        configs, _ = configs_of(scenario, None)
        load = Load([one], rate=1.0)
        requests = load.draw(np.random.default_rng(0), REQUESTS)
        start = time.process_time()
        model = model_of(scenario, configs, [requests], settings)
        built = time.process_time() - start
        most = saturation_rate(model, load, configs, [configs], settings, "mixed")
        for share in LOADS:
            rng = np.random.default_rng(1)
            requests = Load([one], rate=share * most).draw(rng, REQUESTS)
            work = work_of(requests, configs, [configs], rng, seats=model.max_num_seqs)
            times = []
            for _ in range(REPEATS):
                start = time.process_time()
                run = simulate(model, requests, work)
                times.append(time.process_time() - start)
            seconds = min(times)
            rows.append(
                {
                    "draft": draft,
                    "load": share,
                    "iterations": run.iterations,
                    "seconds": seconds,
                    "iterations_per_s": run.iterations / seconds,
                    "model_seconds": built,
                }
            )
    for row in rows:
        print(
            f"{row['draft']:7} load {row['load']:4.2f} {row['iterations']:9d} iterations "
            f"{row['seconds']:6.3f} s {row['iterations_per_s']:12,.0f} a second"
        )
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
