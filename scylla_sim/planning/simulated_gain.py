"""Gain of speculation in the rate that the limits of a plan allow, by simulation."""

from __future__ import annotations

from dataclasses import replace

from scylla_sim.planning.finalists import holds, simulated, simulated_saturation
from scylla_sim.planning.traffic import Served, Traffic
from scylla_sim.planning.traffic_rows import SIMULATION, TrafficPoint
from scylla_sim.planning.traffic_search import Option
from scylla_sim.prediction.verdict import probability_below, verdict
from scylla_sim.stats.estimate import Estimate

SEEDS = 2
"""Runs at each rate; both searches have the same requests, so that their noise cancels in part."""
RESOLUTION = 0.02
"""Relative width of the interval in which a search for a rate ends."""
MAX_TRIALS = 12
"""Largest number of rates that a search simulates."""


def allowed_rate(served: Served, traffic: Traffic, *, seed: int = 0) -> float:
    """Return the highest rate of one replica at which simulated runs meet all limits; 0 if none was found.

    The search starts at the rate of the closed form, and never exceeds the highest planned load.
    """
    highest = traffic.max_load * simulated_saturation(served, traffic, seed=seed)

    def good(rate: float) -> bool:
        return holds(simulated(served, traffic, rate, seed=seed, seeds=SEEDS), traffic, rate)

    if not traffic.limits or good(highest):
        return highest
    low, high = 0.0, highest
    rate = min(served.rate_per_s, (1.0 - RESOLUTION) * highest) or 0.5 * highest
    for _ in range(MAX_TRIALS):
        low, high = (rate, high) if good(rate) else (low, rate)
        if high - low <= RESOLUTION * high:
            break
        step = 1.0 + 4.0 * RESOLUTION  # the estimate is near: leave it by small steps first
        rate = min(rate * step, 0.5 * (low + high)) if low else rate / step
        rate = 0.5 * (low + high) if not low < rate < high else rate
    return low


def with_simulated_gain(point: TrafficPoint, option: Option, traffic: Traffic, *, seed: int = 0) -> TrafficPoint:
    """Return an operating point with the simulated gain over plain decoding on the same GPUs.

    The ends of the gain keep their ratio to its value, because they are errors of the steps. They are wider by the
    resolution of the two searches. The point stays as it is without a draft, or if plain decoding meets the limits
    at no rate.
    """
    if option.served is option.plain or not option.plain.rate_per_s:
        return point
    plain = allowed_rate(option.plain, traffic, seed=seed)
    if not plain:
        return point
    value = allowed_rate(option.served, traffic, seed=seed) / plain
    ratio = value / point.gain
    gain = Estimate.of(
        value, ratio * point.gain_lower * (1.0 - RESOLUTION), ratio * point.gain_upper * (1.0 + RESOLUTION)
    )
    p_slower = float(probability_below(1.0, gain))
    return replace(
        point,
        gain=value,
        gain_lower=float(gain.lower),
        gain_upper=float(gain.upper),
        gain_method=SIMULATION,
        p_slower=p_slower,
        verdict=verdict(p_slower, speculates=True),
    )
