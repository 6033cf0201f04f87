"""The answer of a plan: the best candidates by simulation, never by a formula alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from scylla_sim.planning.candidates import Key
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


def _effort(row: Row) -> tuple[float, float]:
    """Return what a plan minimizes: cost, or GPUs without a price; then the mean time per output token."""
    point = row[0]
    cost = point.gpus if point.cost_per_million_tokens is None else point.cost_per_million_tokens
    return cost, point.latency_s["tpot_mean_s"]


def _unsure(rows: Sequence[Row], leaders: Sequence[TrafficPoint]) -> Row | None:
    """Return a row by formula that comes first, or that leads its deployment and would with one replica less."""
    for row in rows:
        point = row[0]
        fewer = _effort(row)[0] * (point.replicas - 1) / point.replicas
        ahead = row is rows[0] or (0.0 < fewer < _effort(rows[0])[0] and any(point is one for one in leaders))
        if point.method != SIMULATION and ahead:
            return row
    return None


def decide(
    points: Sequence[TrafficPoint],
    options: Sequence[Option],
    traffic: Traffic,
    *,
    finalists: int,
    seed: int = 0,
    gain: bool = True,
) -> Decision:
    """Simulate the best candidates, and every other one that may come first.

    The closed form errs by about one replica. The best candidate of a deployment is therefore simulated too if it
    would come first with one replica less, and so is every candidate that comes first without a simulation.

    Parameters
    ----------
    points, options
        Candidates in the order of the closed form, best first.
    finalists
        Deployments whose best candidate is simulated in any case, beside plain decoding on the GPUs of the first; 0
        simulates none.
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
    leaders: list[TrafficPoint] = []
    keys: list[Key] = []
    for point, option in zip(points, options):
        leads = option.key not in keys
        keys += [option.key] * leads
        baseline = point.draft == "none" and option.key == options[0].key
        chosen = (leads and len(keys) <= finalists) or (finalists > 0 and baseline)
        leaders += [point] * (leads and not chosen)
        rows += simulated((point, option)) if chosen else [(point, option)]
    rows.sort(key=_effort)
    while finalists and (next_row := _unsure(rows, leaders)) is not None:
        others = [row for row in rows if row is not next_row]
        rows = sorted([*simulated(next_row), *others], key=_effort)
    if gain:
        rows = [
            (with_simulated_gain(*row, traffic, seed=seed) if row[0].method == SIMULATION else row[0], row[1])
            for row in rows
        ]
    return Decision([point for point, _ in rows], refuted)
