"""Benchmark of the acceptance functions. It prints a table, and JSON as its last line.

python benchmarks/bench_acceptance.py
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import numpy as np

from scylla_sim.acceptance import (
    draft_shape,
    dynamic_trees,
    generation,
    position_fit,
    positions,
    profiles,
    tau_transfer,
    tree_search,
    trees,
)

REPEATS = 7
"""Timed calls per case."""


def best_of(call: Callable[[], object]) -> float:
    """Return the smallest wall time of `REPEATS` calls, after one warm-up call."""
    call()
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    """Time every case and print the results."""
    rng = np.random.default_rng(0)
    chains = rng.random((1_000_000, 5))
    ranks = np.broadcast_to(profiles.rank_profile(0.7, 10), (10, 10))
    tree = tree_search.best_tree(ranks, 64)
    many = profiles.rank_profile(rng.random((10_000, 10)), 10)
    taus = rng.uniform(1, 5, 10_000)
    mixed = dynamic_trees.mixture_of(positions.position_profile(0.75, 6, exponent=0.6), 10)
    cases: dict[str, tuple[Callable[[], object], int]] = {
        "tau of a chain profile, 5 positions": (lambda: profiles.tokens_per_cycle(chains), len(chains)),
        "tau of a 64-node tree under a 10 x 10 rank profile": (
            lambda: trees.tokens_per_cycle(tree, many),
            len(many),
        ),
        "best 64-node tree of a 10 x 10 rank profile": (lambda: tree_search.best_tree(ranks, 64), 1),
        "beam tree, 10 steps, top-k 10, 64 tokens": (
            lambda: tree_search.beam_tree(ranks, top_k=10, verify_tokens=64),
            1,
        ),
        "rate from tau, chain of 5": (lambda: profiles.iid_rate(taus, 5), len(taus)),
        "rate from tau, reference tree": (
            lambda: tau_transfer.first_rate(5.0, draft_shape.reference(), positions.law_of("eagle2")),
            1,
        ),
        "decay over positions from three taus": (lambda: position_fit.fit_decay([1, 2, 3], [1.8, 2.4, 2.9]), 1),
        "dynamic tree, 2,000 contexts": (
            lambda: dynamic_trees.dynamic_tokens_per_cycle(mixed, top_k=10, verify_tokens=61),
            1,
        ),
        "cycles of 1,024 tokens": (lambda: generation.cycles_distribution(chains[0], 1024), 1),
    }
    results = {}
    for name, (call, count) in cases.items():
        seconds = best_of(call)
        results[name] = {"seconds": seconds, "per_second": count / seconds}
        print(f"{name:52} {seconds * 1e3:9.3f} ms  {count / seconds:14,.0f} /s")
    print(json.dumps(results))


if __name__ == "__main__":
    main()
