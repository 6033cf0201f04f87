"""What-if capacity planning: which deployments fit in memory, meet a latency limit, and serve most for the money.

A deployment is a device, a tensor-parallel degree, a draft with its length, and the batch at which it runs. Each
deployment is run at the largest throughput that its memory and the limit allow.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from scylla_sim.acceptance.speculative_config import SpeculativeConfig
from scylla_sim.checks import FloatArray, positive
from scylla_sim.prediction.steps import Deployment
from scylla_sim.prediction.throughput import Prediction, predict_each
from scylla_sim.specs.model import Model

SECONDS_PER_HOUR = 3600.0
RANKINGS = ("tokens_per_s_per_gpu", "tpot_s", "cost_per_million_tokens")


@dataclass(frozen=True)
class OperatingPoint:
    """The best operating point of one configuration.

    ``cost_per_million_tokens`` is in the currency of the user's prices, ``None`` without them.
    """

    hardware: str
    tp: int
    draft: str
    draft_len: int
    top_k: int
    batch_size: int
    tokens_per_cycle: float
    tpot_s: float
    tokens_per_s: float
    tokens_per_s_per_gpu: float
    speedup: float
    speedup_lower: float
    speedup_upper: float
    bound: str
    cost_per_million_tokens: float | None
    evidence: str


@dataclass(frozen=True)
class Search:
    """What was found and, when nothing was, how close it came."""

    points: list[OperatingPoint]
    considered: int
    too_large: int
    too_slow: int
    fastest_tpot_s: float | None


def cost_per_million(price_per_hour: float, gpus: int, tokens_per_s: FloatArray) -> FloatArray:
    """Price of a million output tokens.

    Examples
    --------
    >>> round(float(cost_per_million(2.0, 4, np.array(1000.0))), 3)
    2.222
    """
    return price_per_hour * gpus / SECONDS_PER_HOUR / tokens_per_s * 1e6


def _best(
    out: Prediction, allowed: NDArray[np.bool_], deployment: Deployment, price: float | None
) -> OperatingPoint:
    rate = np.where(allowed, out.tokens_per_s, -np.inf)
    i = int(np.argmax(rate))
    tokens = float(out.tokens_per_s[i])
    speedup = out.speedup_estimate.broadcast_to(out.batch.shape)
    cost = None if price is None else float(cost_per_million(price, deployment.tp, np.asarray(tokens)))
    return OperatingPoint(
        hardware=deployment.calibration.hardware.name,
        tp=deployment.tp,
        draft=out.config.draft.name,
        draft_len=out.config.draft_len,
        top_k=out.config.top_k,
        batch_size=int(out.batch[i]),
        tokens_per_cycle=out.config.tokens_per_cycle,
        tpot_s=float(out.tpot_s[i]),
        tokens_per_s=tokens,
        tokens_per_s_per_gpu=tokens / deployment.tp,
        speedup=float(out.speedup[i]),
        speedup_lower=float(speedup.lower[i]),
        speedup_upper=float(speedup.upper[i]),
        bound=out.bound()[i],
        cost_per_million_tokens=cost,
        evidence=out.verify.evidence(),
    )


def search(
    model: Model,
    draftings: Sequence[SpeculativeConfig],
    deployments: Sequence[Deployment],
    *,
    batch: Sequence[int],
    context: float,
    tpot_limit_s: float | None = None,
    prices: Mapping[str, float] | None = None,
    rank: str = "tokens_per_s_per_gpu",
) -> Search:
    """Best operating point of every configuration that fits, best first.

    Parameters
    ----------
    batch
        Batches to consider; the best that fits and meets the limit is taken.
    tpot_limit_s
        Highest mean seconds per output token of a sequence; ``None`` means no limit.
    prices
        Price per GPU-hour by hardware name; devices without one rank last by cost.
    """
    if tpot_limit_s is not None:
        positive("tpot", tpot_limit_s)
    sizes = np.asarray(sorted(set(batch)), dtype=np.float64)
    found: list[OperatingPoint] = []
    too_large = too_slow = 0
    fastest: float | None = None
    for deployment in deployments:
        price = (prices or {}).get(deployment.calibration.hardware.name)
        for out in predict_each(model, draftings, deployment, batch=sizes, context=context):
            fits = np.broadcast_to(out.fits_memory, sizes.shape)
            if not fits.any():
                too_large += 1
                continue
            quickest = float(out.tpot_s[fits].min())
            fastest = quickest if fastest is None else min(fastest, quickest)
            allowed = fits if tpot_limit_s is None else fits & (out.tpot_s <= tpot_limit_s)
            if not allowed.any():
                too_slow += 1
                continue
            found.append(_best(out, allowed, deployment, price))
    return Search(_ranked(found, rank), len(deployments) * len(draftings), too_large, too_slow, fastest)


def _ranked(found: list[OperatingPoint], rank: str) -> list[OperatingPoint]:
    if rank == "tokens_per_s_per_gpu":
        return sorted(found, key=lambda item: -item.tokens_per_s_per_gpu)
    if rank == "tpot_s":
        return sorted(found, key=lambda item: item.tpot_s)
    infinite = float("inf")
    return sorted(
        found,
        key=lambda item: infinite if item.cost_per_million_tokens is None else item.cost_per_million_tokens,
    )
