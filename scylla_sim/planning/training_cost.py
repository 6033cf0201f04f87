"""GPU-hours that train a draft, against the GPU-hours that it saves at a given traffic."""

from __future__ import annotations

from dataclasses import dataclass

from scylla_sim.checks import in_range, positive
from scylla_sim.laws import theorems
from scylla_sim.stats.estimate import Estimate

SECONDS_PER_HOUR = 3600.0
HOURS_PER_DAY = 24.0


@dataclass(frozen=True)
class TrainingCost:
    """Cost of training a draft, and its return.

    Attributes
    ----------
    train_flop
        FLOPs of the training.
    train_gpu_hours
        Hours of one GPU that trains it.
    plain_gpus, draft_gpus
        GPUs that decode the traffic without and with the draft, without any reserve.
    saved_gpu_hours_per_day
        GPU-hours that the draft saves in a day, with the interval of the speed-up; negative if it is slower.
    payback_days
        Days until the saved GPU-hours exceed those of the training, with their interval; infinite without a gain.
    """

    train_flop: float
    train_gpu_hours: float
    plain_gpus: float
    draft_gpus: float
    saved_gpu_hours_per_day: Estimate
    payback_days: Estimate


def utilization() -> float:
    """Return the share of the dense peak at which training runs, unless a user knows better.

    Notes
    -----
    Source: Llama 3, arXiv 2407.21783, Table 4.

    Examples
    --------
    >>> utilization()
    0.4
    """
    return theorems.constants("training")["utilization"]


def training_cost(
    train_flop: float,
    speedup: Estimate,
    *,
    tokens_per_s: float,
    traffic: float,
    tp: int,
    peak_flop_per_s: float,
    used: float,
) -> TrainingCost:
    """Return the cost of training a draft, and the time until it is paid back.

    Parameters
    ----------
    train_flop
        FLOPs of the training.
    speedup
        Speed-up over the autoregressive baseline, with its interval.
    tokens_per_s
        Throughput of one replica with the draft.
    traffic
        Output tokens per second of all replicas.
    tp
        GPUs of a replica.
    peak_flop_per_s
        Dense peak of the GPU that trains.
    used
        Share of that peak that training reaches, in (0, 1].

    Examples
    --------
    >>> gpu = {"tp": 1, "peak_flop_per_s": 1e15, "used": 0.5}
    >>> cost = training_cost(3.6e18, Estimate.of(2.0, 1.0, 3.0), tokens_per_s=100.0, traffic=1e3, **gpu)
    >>> cost.train_gpu_hours, cost.plain_gpus, cost.draft_gpus
    (2.0, 20.0, 10.0)
    >>> float(cost.saved_gpu_hours_per_day.value), float(cost.payback_days.value)
    (240.0, 0.008333333333333333)
    """
    positive("traffic", traffic)
    share = float(in_range("train_utilization", used, 0, 1, above=True))
    hours = train_flop / (share * peak_flop_per_s) / SECONDS_PER_HOUR
    draft = traffic * tp / tokens_per_s
    plain = draft * float(speedup.value)

    def saved(ratio: float) -> float:
        """Return the GPU-hours of a day at a speed-up; the baseline is known better than the draft."""
        return (plain - plain / ratio) * HOURS_PER_DAY

    ends = [saved(float(ratio)) for ratio in (speedup.value, speedup.lower, speedup.upper)]
    days = [hours / one if one > 0 else float("inf") for one in ends]
    return TrainingCost(
        train_flop=train_flop,
        train_gpu_hours=hours,
        plain_gpus=plain,
        draft_gpus=draft,
        saved_gpu_hours_per_day=Estimate.of(*ends),
        payback_days=Estimate.of(days[0], days[2], days[1]),
    )
