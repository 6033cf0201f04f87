"""Choose the constants of a full KV pool on half of some simulated pools, and score them on the other half.

Usage: ``python workflow/fit_full_pool.py``. It prints `scylla_sim.serving.replica.FULL_POOL` beside the constants
chosen on either half, with the errors of the saturation rate on both. Nothing is written.

The cases are Llama-3.1-8B on one H100 with 64 seats. Four further ones with 500 seats on A100 are scored only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from scylla_sim.checks import FloatArray
from scylla_sim.prediction.scenario import Scenario
from scylla_sim.prediction.served_load import ServedLoad
from scylla_sim.serving.batching import MIXED
from scylla_sim.serving.closed_form import saturation
from scylla_sim.serving.configs import configs_of
from scylla_sim.serving.iteration import IterationModel, iteration_model
from scylla_sim.serving.load import Load
from scylla_sim.serving.replica import FULL_POOL, FullPool, replica
from scylla_sim.serving.serve import Settings, saturation_rate
from scylla_sim.serving.workload import Lengths, RequestClass
from scylla_sim.stats.estimate import exact
from scylla_sim.stats.split import column_hash

SEATS, MANY_SEATS = 64, 500
LENGTHS = ((1000, 200), (300, 600), (2000, 300), (200, 1000))
"""Tokens of prompt and answer."""
HELD = (3, 5, 8, 12, 18, 27, 40, 60, 66, 100)
"""Requests that the pool holds."""
GRID = (
    (1.02, 1.04, 1.08, 1.12, 1.2),
    (0.0, 0.25, 0.5, 0.75, 1.0),
    (0.0, 0.25, 0.5, 1.0, 2.0),
)
"""Values of the constants that are tried, in the order of `FullPool`."""


@dataclass(frozen=True)
class Case:
    """One replica with a pool, and its simulated rate at saturation."""

    model: IterationModel
    load: ServedLoad
    simulated_per_s: float


def cases(hardware: str, seats: int, held: Sequence[int], lengths: Sequence[tuple[int, int]]) -> list[Case]:
    """Return replicas of the 8B model with pools of some requests, and simulate each."""
    scenario = Scenario("llama-3.1-8b", hardware=hardware)
    configs, _ = configs_of(scenario, None)
    found = []
    for prompt, answer in lengths:
        load = ServedLoad(prompt, answer)
        made = iteration_model(
            scenario.target_model(),
            configs,
            *scenario.deployments(),
            max_context=prompt + answer,
            mean_context=float(load.context),
            max_num_seqs=seats,
        )
        chat = RequestClass("all", Lengths.parse("input_len", prompt), Lengths.parse("output_len", answer))
        for count in held:
            model = replace(made, kv_tokens=exact(count * (load.context + 1.0)))
            settings = Settings(max_num_seqs=seats)
            rate = saturation_rate(model, Load([chat], rate=1.0), configs, [configs], settings, MIXED)
            found.append(Case(model, load, rate))
    return found


def errors(some: Sequence[Case], constants: FullPool) -> FloatArray:
    """Return the relative errors of the saturation rate by formula."""
    rates = [float(saturation(replica(one.model, one.load, full_pool=constants))) for one in some]
    return np.asarray(np.array(rates) / np.array([one.simulated_per_s for one in some]) - 1.0)


def chosen(some: Sequence[Case]) -> FullPool:
    """Return the constants of the grid with the smallest mean error."""
    return min((FullPool(*values) for values in product(*GRID)), key=lambda one: np.abs(errors(some, one)).mean())


def main() -> None:
    """Print the constants and their errors in per cent: mean and largest, on both halves and on A100."""
    found = cases("h100-sxm", SEATS, HELD, LENGTHS)
    many = cases("a100-sxm", MANY_SEATS, (200, 400), LENGTHS[:2])
    keys = np.array([(held, prompt) for (prompt, _), held in product(LENGTHS, HELD)], dtype=np.float64)
    first = column_hash([keys[:, 0], keys[:, 1]]) % np.uint64(2) == 0
    halves = [[one for one, inside in zip(found, first == half) if inside] for half in (True, False)]
    print(f"{len(halves[0])} and {len(halves[1])} cases, and {len(many)} of {MANY_SEATS} seats on A100")
    rows = {"shipped": FULL_POOL, "first half": chosen(halves[0]), "second half": chosen(halves[1])}
    for name, constants in rows.items():
        scores = [100.0 * np.abs(errors(some, constants)) for some in (*halves, many)]
        words = ", ".join(f"{score.mean():.1f} at most {score.max():.1f}" for score in scores)
        print(f"{name}: {constants.nearly_full} {constants.unused} {constants.smoothing}: {words}")


if __name__ == "__main__":
    main()
