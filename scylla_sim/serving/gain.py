"""Gain of speculation under a load: the same requests with and without a draft."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from scylla_sim.acceptance.speculative_config import no_drafting
from scylla_sim.checks import FloatArray
from scylla_sim.prediction.scenario import Scenario
from scylla_sim.prediction.verdict import UNDECIDED, probability_below, verdict
from scylla_sim.serving.iteration import IterationModel
from scylla_sim.serving.load import Load
from scylla_sim.serving.metrics import counted, over_seeds, summary
from scylla_sim.serving.serve import Served, Settings, model_of, saturation_rate
from scylla_sim.serving.simulation import plain_work, simulate
from scylla_sim.specs.draft import Draft
from scylla_sim.stats.estimate import Estimate, with_deviations

COMPARED = {"tpot_s mean": "TPOT", "ttft_s mean": "TTFT", "e2e_s mean": "E2E"}
"""Metric -> its name in a gain; a gain above 1 is a shorter time with the draft."""
PLAIN = {1: no_drafting(Draft("none", "none"))}
"""Configurations without a draft."""
SATURATION = "rate at saturation"


@dataclass(frozen=True)
class Gain:
    """Gain of speculation in one metric.

    Attributes
    ----------
    metric
        Name of the metric.
    value
        Ratio, above 1 if the draft helps, with its 90 % interval; ``None`` if a queue grows without end.
    verdict
        One of the words of `scylla_sim.prediction.verdict`; undecided if the interval contains 1.
    """

    metric: str
    value: Estimate | None
    verdict: str


def gains(
    served: Served,
    scenario: Scenario,
    load: Load,
    *,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Gain]:
    """Return the gains of a served load over plain decoding of the same requests.

    Errors that both share cancel: plain decoding keeps its steps, and speculation takes the ends of the interval of
    its speed-up (`scylla_sim.prediction.uncertainty`). Plain decoding has the memory of the draft for its cache.
    """
    settings = served.settings
    plain = model_of(replace(scenario, draft="none"), PLAIN, [one for one, _ in served.cases], settings)
    drafting = {end: served.model.against_plain(end) for end in ("lower", "upper")}
    total, done = 3 * len(served.cases), 0

    def summaries(model: IterationModel, *, speculates: bool) -> list[Mapping[str, float]]:
        nonlocal done
        found: list[Mapping[str, float]] = []
        for requests, work in served.cases:
            run = simulate(
                model, requests, work if speculates else plain_work(requests, model), policy=served.policy
            )
            found.append(summary(run, counted(run, warmup=settings.warmup, cooldown=settings.cooldown)))
            progress(done := done + 1, total)
        return found

    without = summaries(plain, speculates=False)
    ends = {end: summaries(model, speculates=True) for end, model in drafting.items()}
    rates = _saturations(served, plain, drafting, load, settings)
    stable = {end: not rates or served.offered < rates[end] for end in ("plain", "value", "lower", "upper")}
    drafted = (served.summaries, ends["lower"], ends["upper"])
    found = [
        _gain(label, [_ratios(without, some, name) for some in drafted])
        if all(stable.values())
        else Gain(label, None, UNDECIDED)
        for name, label in COMPARED.items()
        if name in served.summaries[0]
    ]
    if rates:
        ratios = [np.array([rates[end] / rates["plain"]]) for end in ("value", "lower", "upper")]
        found.append(_gain(SATURATION, ratios))
    return found


def _ratios(
    without: Sequence[Mapping[str, float]], drafting: Sequence[Mapping[str, float]], name: str
) -> FloatArray:
    """Return the time without a draft over the time with it, for each seed."""
    return np.array([one[name] / other[name] for one, other in zip(without, drafting)])


def _saturations(
    served: Served,
    plain: IterationModel,
    drafting: Mapping[str, IterationModel],
    load: Load,
    settings: Settings,
) -> dict[str, float]:
    """Return the rate at saturation without a draft, and with one at its value and both ends; empty if closed."""
    if served.saturation is None:
        return {}
    rates = {
        end: saturation_rate(model, load, served.configs, served.by_class, settings, served.policy)
        for end, model in drafting.items()
    }
    own = [PLAIN] * len(served.by_class)
    without = saturation_rate(plain, load, PLAIN, own, settings, served.policy)
    return {**rates, "value": served.saturation[0], "plain": without}


def _gain(name: str, ratios: Sequence[FloatArray]) -> Gain:
    """Return the gain of ratios at the value, with fast steps and with slow steps."""
    seeds = over_seeds(ratios[0])
    centre = float(seeds.value)
    others = [float(one.mean()) for one in ratios[1:]]
    down, up = centre - min(*others, centre), max(*others, centre) - centre
    value = with_deviations(seeds.value, [seeds.down, np.asarray(down)], [seeds.up, np.asarray(up)])
    kept = Estimate(value.value, np.maximum(value.lower, 1e-3 * centre), value.upper)
    inside = bool(kept.lower <= 1.0 <= kept.upper) and bool(kept.lower < kept.upper)
    return Gain(name, kept, UNDECIDED if inside else verdict(float(probability_below(1.0, kept))))
