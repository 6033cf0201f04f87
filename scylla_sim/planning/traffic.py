"""Capacity for a request rate: replicas, GPUs and latencies of deployments, in closed form.

A candidate is one deployment with one draft configuration, or with a schedule of draft lengths by batch. It serves
the highest rate at which all limits hold and its load stays below a share of saturation. The share is checked even
without limits, because time per token can meet a limit while the queue diverges.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from scylla_sim.checks import FloatArray, in_range, positive
from scylla_sim.planning.candidate_tables import Configs
from scylla_sim.prediction.served_load import ServedLoad
from scylla_sim.prediction.steps import Deployment
from scylla_sim.serving.closed_form import Curve, curve, saturation
from scylla_sim.serving.configs import defaults_of
from scylla_sim.serving.iteration import IterationModel
from scylla_sim.serving.limits import Limit
from scylla_sim.serving.replica import SEATS, replica
from scylla_sim.serving.workload import Lengths, check_burstiness

MAX_LOAD = 0.9
"""Highest planned share of saturation. Beyond it, a step that is 1 % slower makes latency 10 % longer or more."""
VARIABLE_LENGTHS, BURSTS = "variable lengths", "bursts"
"""Reasons for which the closed form does not hold, beside those of `scylla_sim.serving.replica`."""
SATURATION = "saturation"
"""Name of the limit by which a rate stays below `MAX_LOAD`."""
LOADS = np.concatenate([[0.0], np.geomspace(2e-5, 1.0, 220)])
"""Mean decoding requests of a curve, over the largest."""
_RATES = np.concatenate([[0.0], np.geomspace(1e-4, 0.1, 150, endpoint=False), np.linspace(0.1, 1.0, 361)])
"""Rates at which limits are checked, over the highest one; latencies rise fast from an idle replica."""
_BETWEEN = 65
"""Rates between the last that meets a limit and the next one, at which the limit is checked again."""
Z_999 = 3.0902
"""Quantile of the normal distribution at 0.999."""


@dataclass(frozen=True)
class Traffic:
    """Requests that a plan must serve.

    Attributes
    ----------
    rate_per_s
        Requests per second of all replicas together.
    load
        Mean lengths of the requests.
    limits
        Upper limits on latencies.
    max_load
        Highest share of saturation, in (0, 1).
    max_num_seqs, max_num_batched_tokens
        Limits of the scheduler; ``None`` for the defaults of the engine on the GPU. Fewer requests run together
        where the KV pool or the budget is smaller.
    input_lengths, output_lengths
        Distributions of the lengths, for simulation; default: the means.
    burstiness
        Shape of the gamma distribution of the gaps between arrivals, for simulation; 1 is Poisson.
    """

    rate_per_s: float
    load: ServedLoad
    limits: Sequence[Limit] = ()
    max_load: float = MAX_LOAD
    max_num_seqs: int | None = None
    max_num_batched_tokens: int | None = None
    input_lengths: Lengths | None = None
    output_lengths: Lengths | None = None
    burstiness: float = 1.0

    def __post_init__(self) -> None:
        """Check the fields."""
        positive("rate", self.rate_per_s)
        in_range("max_load", self.max_load, 0, 1, above=True)
        check_burstiness(self.burstiness)

    def limits_on(self, deployment: Deployment) -> tuple[int, int]:
        """Return ``max_num_seqs`` and ``max_num_batched_tokens`` on a deployment."""
        default = defaults_of(deployment)
        return (
            default.max_num_seqs if self.max_num_seqs is None else self.max_num_seqs,
            default.max_num_batched_tokens if self.max_num_batched_tokens is None else self.max_num_batched_tokens,
        )

    @property
    def lengths(self) -> tuple[Lengths, Lengths]:
        """Distributions of the tokens of prompts and answers; lognormal ones are cut as `longest` says."""
        given = (self.input_lengths, self.output_lengths)
        means = (self.load.input_len, self.load.output_len)
        known = (one or Lengths("constant", mean, mean) for one, mean in zip(given, means))
        prompt, answer = (replace(one, most=max(np.floor(longest_of(one)), 1.0)) for one in known)
        return prompt, answer

    @property
    def longest(self) -> int:
        """Largest number of tokens of a request; of a lognormal length, a thousandth exceed it."""
        return int(np.ceil(sum(longest_of(one) for one in self.lengths)))

    @property
    def varies(self) -> list[str]:
        """What of a load the closed form takes as constant lengths, or as Poisson arrivals."""
        found = [VARIABLE_LENGTHS] if any(one.kind != "constant" for one in self.lengths) else []
        return found + ([BURSTS] if self.burstiness != 1.0 else [])


@dataclass(frozen=True)
class Served:
    """One candidate under a load.

    Attributes
    ----------
    configs
        Configurations by batch.
    deployment, draft_deployment
        Where target and draft run.
    made
        Function that returns `model`; it is called once, if at all.
    saturation_per_s
        Rate beyond which the queue of one replica grows for ever.
    rate_per_s
        Highest rate of one replica at which all limits hold; 0 if a limit fails without load.
    binds
        The limit that decides ``rate_per_s``.
    tpot_s
        Mean seconds per output token at the planned rate of a replica, by which ties are broken.
    curve
        Steady states along rising load.
    """

    configs: Configs
    deployment: Deployment
    draft_deployment: Deployment
    made: Callable[[], IterationModel] = field(repr=False)
    saturation_per_s: float
    rate_per_s: float
    binds: str
    tpot_s: float
    curve: Curve = field(repr=False)

    @cached_property
    def model(self) -> IterationModel:
        """Seconds of its iterations, for simulation and for intervals."""
        return self.made()

    def replicas(self, traffic: Traffic) -> float:
        """Return the replicas that the load needs, at least 1; infinite if a limit fails without load."""
        return replicas_for(traffic.rate_per_s, self.rate_per_s)


def replicas_for(rate_per_s: float, most_per_s: float) -> float:
    """Return the replicas that serve a rate, at least 1, if each serves another at most; infinite if that is 0.

    Examples
    --------
    >>> replicas_for(10.0, 4.0), replicas_for(1e-12, 4.0), replicas_for(10.0, 0.0)
    (3.0, 1.0, inf)
    """
    return max(float(np.ceil(rate_per_s / most_per_s - 1e-9)), 1.0) if most_per_s else float(np.inf)


def longest_of(lengths: Lengths) -> float:
    """Return the largest length, or the one that a thousandth of the lognormal ones exceed."""
    if lengths.kind != "lognormal":
        return lengths.second
    spread = float(np.sqrt(np.log1p(lengths.second**2)))
    return lengths.first * float(np.exp(Z_999 * spread - spread**2 / 2.0))


def statistic(found: Curve, limit: Limit) -> FloatArray:
    """Return the latency that a limit bounds."""
    if limit.probability is None:
        return found.ttft_s if limit.metric == "ttft" else found.tpot_s
    quantile = found.ttft_quantile if limit.metric == "ttft" else found.tpot_quantile
    return quantile(limit.probability)


def _conditions(traffic: Traffic) -> list[tuple[str, Callable[[Curve], NDArray[np.bool_]]]]:
    """Return what a rate must not exceed, by name, as functions that say where a curve does."""

    def over(limit: Limit) -> Callable[[Curve], NDArray[np.bool_]]:
        return lambda at: np.asarray(statistic(at, limit) > limit.seconds)

    full = (SEATS, lambda at: np.asarray(at.running > at.max_rows))
    return [full, *((str(limit), over(limit)) for limit in traffic.limits)]


def highest_rates(found: Curve, saturation_per_s: FloatArray, traffic: Traffic) -> list[tuple[float, str]]:
    """Return the highest rate of each replica at which all limits hold, and the limit that decides it.

    No more requests run in the mean than seats and KV pool hold, whatever the limits.

    Parameters
    ----------
    found
        Curves of replicas, shape (replicas, loads).
    saturation_per_s
        Shape (replicas,).
    """
    rates = _RATES * traffic.max_load * saturation_per_s[:, None]
    at = found.at_rate(rates)
    best, binds = rates[:, -1], [SATURATION] * rates.shape[0]
    for name, beyond in _conditions(traffic):
        over = beyond(at)
        first = np.argmax(over, axis=-1)
        start, end = (np.take_along_axis(rates, place[:, None], axis=-1)[:, 0] for place in (first - 1, first))
        step = ((end - start) / (_BETWEEN - 1))[:, None]
        between = np.arange(_BETWEEN) * step + start[:, None]  # a median can jump between two rates
        between[:, -1] = end
        kept = ~beyond(found.at_rate(between))
        place = np.maximum(np.argmin(kept, axis=-1) - 1, 0)
        reached = np.take_along_axis(between, place[:, None], axis=-1)[:, 0]
        reached = np.where(over.any(axis=-1), np.where(first == 0, 0.0, reached), np.inf)
        binds = [name if less else other for less, other in zip(reached < best, binds)]
        best = np.minimum(best, reached)
    return list(zip(best.tolist(), binds))


def highest_rate(found: Curve, saturation_per_s: float, traffic: Traffic) -> tuple[float, str]:
    """Return the highest rate of one replica at which all limits hold, and the limit that decides it.

    Parameters
    ----------
    found
        Curve of one replica, shape (loads,).
    """
    return highest_rates(found.one(None), np.array([saturation_per_s]), traffic)[0]


def planned_tpots(found: Curve, highest_per_s: Sequence[float], traffic: Traffic) -> list[float]:
    """Return the mean seconds per output token of replicas that share the load; infinite if a limit fails without.

    Parameters
    ----------
    found
        Curves of replicas, shape (replicas, loads).
    highest_per_s
        Highest rate of each replica.
    """
    most = np.asarray(highest_per_s)
    count = np.array([replicas_for(traffic.rate_per_s, rate) for rate in highest_per_s])
    tpot = found.at_rate((traffic.rate_per_s / count)[:, None]).tpot_s[:, 0]
    return [float(one) for one in np.where(most > 0.0, tpot, np.inf)]


def steady_states(model: IterationModel, deployment: Deployment, traffic: Traffic) -> tuple[Curve, FloatArray]:
    """Return the steady states of the replicas of a model, and their rates at saturation."""
    one = replica(model, traffic.load, prefill_first=defaults_of(deployment).prefill_first)
    full = saturation(one)
    return curve(one, LOADS * float(one.rows[-1]), full_per_s=full), full


def served(
    configs: Configs, where: tuple[Deployment, Deployment], model: IterationModel, traffic: Traffic
) -> Served:
    """Return a candidate under a load, with the highest rate that its limits allow."""
    found, full = steady_states(model, where[0], traffic)
    best, binds = highest_rate(found, float(full), traffic)
    (tpot,) = planned_tpots(found.one(None), [best], traffic)
    return Served(configs, *where, lambda: model, float(full), best, binds, tpot, found)
