"""Search for the cheapest deployment of a request rate, over hardware, TP ranks, precisions and drafts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from scylla_sim.acceptance.speculative_config import no_drafting
from scylla_sim.planning.candidates import Key, candidates_of_drafts, key_of
from scylla_sim.planning.capacity import Candidates, label_of
from scylla_sim.planning.traffic import Served, Traffic
from scylla_sim.planning.traffic_rows import TrafficPoint, traffic_point
from scylla_sim.prediction.steps import Deployment
from scylla_sim.specs.draft import Draft
from scylla_sim.specs.model import Model


@dataclass(frozen=True)
class Option:
    """One candidate with plain decoding on the same GPUs.

    Attributes
    ----------
    served, plain
        The candidate, and plain decoding; the same object for the baseline itself.
    price
        Price of one GPU for one hour; ``None`` without prices.
    """

    served: Served
    plain: Served
    price: float | None = None

    @property
    def key(self) -> Key:
        """The deployment."""
        return key_of(self.served.deployment)

    @property
    def label(self) -> str:
        """The deployment and the draft in words."""
        lengths = dict.fromkeys(config.draft_len for config in self.served.configs.values())
        draft = next(iter(self.served.configs.values())).draft
        where = label_of(self.served.deployment)
        return where if draft.kind == "none" else f"{where} {draft.name} K={'/'.join(map(str, lengths))}"

    def effort(self, traffic: Traffic, ranks_by_cost: bool) -> tuple[float, float]:
        """Return what a plan minimizes: price or GPUs, and for ties the mean time per output token."""
        each = self.price if ranks_by_cost and self.price is not None else 1.0
        if ranks_by_cost and self.price is None:
            each = float("inf")
        return each * self.served.replicas(traffic) * self.served.deployment.tp, self.served.tpot_s


@dataclass(frozen=True)
class TrafficPlan:
    """Result of a search.

    Attributes
    ----------
    traffic
        The load.
    options
        All candidates that fit in memory, best first; those that miss a limit last.
    left_out
        Names of the deployments whose candidates do not fit in memory, one for each candidate.
    """

    traffic: Traffic
    options: Sequence[Option]
    left_out: Sequence[str]

    @property
    def feasible(self) -> list[Option]:
        """Candidates that can meet all limits, best first."""
        return [option for option in self.options if option.served.rate_per_s > 0.0]

    @property
    def too_slow(self) -> list[str]:
        """Names of the candidates that miss a limit even without load."""
        return [option.label for option in self.options if option.served.rate_per_s == 0.0]

    def best_of_each(self) -> list[Option]:
        """Return the best candidate of each deployment, best first."""
        found: dict[Key, Option] = {}
        for option in self.feasible:
            found.setdefault(option.key, option)
        return list(found.values())


def search_traffic(
    model: Model,
    groups: Sequence[Candidates],
    traffic: Traffic,
    *,
    prices: Mapping[str, float] | None = None,
    schedule: bool = False,
) -> TrafficPlan:
    """Return all candidates under a load, by price if there are prices, otherwise by GPUs.

    Parameters
    ----------
    groups
        Configurations of one draft on one deployment each. Plain decoding is added where it is missing, to compare
        with, and not ranked.
    prices
        Price per GPU-hour by hardware name; a device without one ranks last.
    schedule
        Whether schedules of draft lengths by batch are candidates too.
    """
    without = [no_drafting(Draft("none", "none"))]
    plain = {key_of(group.deployment): (without, _where(group)) for group in reversed(groups)}
    drafts = [group for group in groups if group.configs[0].draft.kind != "none"]
    asked = [*plain.values(), *((group.configs, _where(group)) for group in drafts)]
    found = iter(candidates_of_drafts(model, asked, traffic, schedule=schedule))
    baselines = {key: next(found) for key in plain}
    options: list[Option] = []
    left_out: list[str] = []
    for group in sorted(groups, key=lambda one: one.configs[0].draft.kind != "none"):
        key = key_of(group.deployment)
        plain_there = baselines[key]
        served = plain_there if group.configs[0].draft.kind == "none" else next(found)
        options += [Option(one, (*plain_there, one)[0], (prices or {}).get(key[0])) for one in served]
        left_out += [group.label] * (0 if served else len(group.configs))
    options.sort(key=lambda option: option.effort(traffic, bool(prices)))
    return TrafficPlan(traffic, options, left_out)


def _where(group: Candidates) -> tuple[Deployment, Deployment]:
    """Return the deployments of the target and of the draft."""
    return group.deployment, group.draft_deployment or group.deployment


def points(model: Model, chosen: Sequence[Option], traffic: Traffic) -> list[TrafficPoint]:
    """Return the operating points of some candidates."""
    return [traffic_point(model, one.served, one.plain, traffic, one.price) for one in chosen]
