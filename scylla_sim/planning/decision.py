"""The answer of a plan: the best candidates by simulation, never by a formula alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scylla_sim.planning.finalists import confirm
from scylla_sim.planning.simulated_gain import with_simulated_gain
from scylla_sim.planning.traffic import Traffic
from scylla_sim.planning.traffic_rows import SIMULATION, TrafficPoint
from scylla_sim.planning.traffic_search import Option

Row = tuple[TrafficPoint, Option]
"""Operating point of a candidate, and the candidate."""


@dataclass(frozen=True)
class Decision:
    """Rows of a plan.

    Attributes
    ----------
    rows
        Operating points, best first.
    refuted
        Points by formula whose candidates miss the limits in simulation, at any number of replicas.
    """

    rows: list[TrafficPoint]
    refuted: list[TrafficPoint]


def _effort(row: Row) -> float:
    """Return what a plan minimizes: the cost, or GPUs without a price."""
    point = row[0]
    return point.gpus if point.cost_per_million_tokens is None else point.cost_per_million_tokens


def decide(
    points: Sequence[TrafficPoint],
    options: Sequence[Option],
    traffic: Traffic,
    *,
    finalists: int,
    seed: int = 0,
    gain: bool = True,
) -> Decision:
    """Simulate the best candidates, and every other one that then comes first.

    Parameters
    ----------
    points, options
        Candidates in the order of the closed form, best first.
    finalists
        Candidates to simulate in any case, beside plain decoding on the GPUs of the first; 0 simulates none.
    gain
        Whether to simulate the gain of speculation of simulated rows too.
    """
    refuted: list[TrafficPoint] = []

    def simulated(row: Row) -> list[Row]:
        found = confirm(*row, traffic, seed=seed)
        if found is None:
            refuted.append(row[0])
        return [] if found is None else [(found, row[1])]

    rows: list[Row] = []
    for at, (point, option) in enumerate(zip(points, options)):
        baseline = point.draft == "none" and option.key == options[0].key
        chosen = at < finalists or (finalists > 0 and baseline)
        rows += simulated((point, option)) if chosen else [(point, option)]
    rows.sort(key=_effort)
    while finalists and rows and rows[0][0].method != SIMULATION:
        rows = sorted([*simulated(rows[0]), *rows[1:]], key=_effort)
    if gain:
        rows = [
            (with_simulated_gain(*row, traffic, seed=seed) if row[0].method == SIMULATION else row[0], row[1])
            for row in rows
        ]
    return Decision([point for point, _ in rows], refuted)
