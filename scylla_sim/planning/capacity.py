"""Capacity planning: deployments that fit in memory and meet a latency limit, ranked by throughput or by cost.

A candidate is a device, its number of TP ranks, and a draft with its length. Each candidate runs at the batch with
the highest throughput that its memory and the latency limit allow.
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
from scylla_sim.prediction.verdict import verdict
from scylla_sim.specs.dtypes import precision_name
from scylla_sim.specs.model import Model

SECONDS_PER_HOUR = 3600.0
MAX_BATCH = 8192
"""Largest batch that is derived from memory: decodes of one iteration, which the largest fitted GEMM has."""
RANKINGS = ("tokens_per_s_per_gpu", "tpot_s", "cost_per_million_tokens")
"""Fields of `OperatingPoint` by which a search can rank."""


@dataclass(frozen=True)
class OperatingPoint:
    """Best operating point of one candidate.

    Attributes
    ----------
    precision
        Precision of the weights.
    batch_size
        Batch with the highest throughput that memory and the latency limit allow.
    tpot_s
        Seconds per output token of one sequence.
    tokens_per_s, tokens_per_s_per_gpu
        Throughput of all sequences together, and the same divided by the TP ranks.
    speedup, speedup_lower, speedup_upper
        Speed-up over the autoregressive baseline at the same batch, with its 90 % interval.
    cost_per_million_tokens
        In the currency of the prices; ``None`` without a price.
    evidence
        Level of evidence of the weakest large part of a cycle, see `scylla_sim.prediction.evidence`.
    acceptance_evidence
        Origin of the tokens per cycle, see `scylla_sim.acceptance.speculative_config.ACCEPTANCE_EVIDENCE`.
    p_slower, verdict
        Probability that the speed-up is below 1, and a word for it; see `scylla_sim.prediction.verdict`.
    """

    hardware: str
    tp: int
    precision: str
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
    acceptance_evidence: str
    p_slower: float
    verdict: str


def label_of(where: Deployment) -> str:
    """Return a deployment in words, such as ``4x h100-sxm fp8``."""
    return f"{where.tp}x {where.calibration.hardware.name} {precision_name(where.dtype)}"


@dataclass(frozen=True)
class Candidates:
    """Draft configurations on one deployment.

    Attributes
    ----------
    configs
        Draft configurations; include one without drafting to compare with the baseline.
    deployment
        Device with its engine, precision and TP ranks.
    draft_deployment
        Deployment of the drafts, if their precision or their TP ranks differ from the target's.
    """

    configs: Sequence[SpeculativeConfig]
    deployment: Deployment
    draft_deployment: Deployment | None = None

    @property
    def label(self) -> str:
        """The deployment in words."""
        return label_of(self.deployment)


@dataclass(frozen=True)
class Search:
    """Result of a search.

    Attributes
    ----------
    points
        Operating points of all feasible candidates, best first.
    considered
        Number of candidates.
    too_large, too_slow
        Names of the candidates that do not fit in memory, and that miss the latency limit.
    fastest_tpot_s
        Lowest seconds per output token of all candidates that fit; ``None`` if none fits.
    """

    points: list[OperatingPoint]
    considered: int
    too_large: Sequence[str]
    too_slow: Sequence[str]
    fastest_tpot_s: float | None


def cost_per_million(price_per_hour: float, gpus: int, tokens_per_s: FloatArray) -> FloatArray:
    """Return the price of a million output tokens.

    Parameters
    ----------
    price_per_hour
        Price of one GPU for one hour.
    gpus
        Number of GPUs.
    tokens_per_s
        Throughput of all GPUs together.

    Examples
    --------
    >>> round(float(cost_per_million(2.0, 4, np.array(1000.0))), 3)
    2.222
    """
    return price_per_hour * gpus / SECONDS_PER_HOUR / tokens_per_s * 1e6


def derived_batches(model: Model, candidates: Sequence[Candidates], *, context: float) -> list[int]:
    """Return the batches 1, 2, 3, 4, 6, 8, 12, ... up to the most sequences that any candidate holds in memory.

    The last one is that number itself, up to `MAX_BATCH`.
    """
    most = 1.0
    for group in candidates:
        where = (group.deployment, group.draft_deployment)
        for out in predict_each(
            model, group.configs, where[0], batch=1, context=context, draft_deployment=where[1]
        ):
            most = max(most, float(out.max_sequences[0]))
    last = int(min(most, MAX_BATCH))
    steps = (size << power for power in range(last.bit_length()) for size in (2, 3))
    return sorted({1, last, *(size for size in steps if size < last)})


def _best(
    out: Prediction, allowed: NDArray[np.bool_], deployment: Deployment, price: float | None
) -> OperatingPoint:
    """Return the operating point at the allowed batch with the highest throughput."""
    i = int(np.argmax(np.where(allowed, out.tokens_per_s, -np.inf)))
    tokens = float(out.tokens_per_s[i])
    speedup = out.speedup_estimate.broadcast_to(out.batch.shape)
    p_slower = float(np.broadcast_to(out.p_slower, out.batch.shape)[i])
    cost = None if price is None else float(cost_per_million(price, deployment.tp, np.asarray(tokens)))
    return OperatingPoint(
        hardware=deployment.calibration.hardware.name,
        tp=deployment.tp,
        precision=precision_name(deployment.dtype),
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
        evidence=out.evidence[i],
        acceptance_evidence=out.config.acceptance_evidence,
        p_slower=p_slower,
        verdict=verdict(p_slower, speculates=out.config.draft.kind != "none"),
    )


def search(
    model: Model,
    candidates: Sequence[Candidates],
    *,
    batch: Sequence[int],
    context: float,
    tpot_limit_s: float | None = None,
    prices: Mapping[str, float] | None = None,
    rank: str = "tokens_per_s_per_gpu",
) -> Search:
    """Find the best operating point of every configuration on every deployment.

    Parameters
    ----------
    model
        Target model.
    candidates
        Draft configurations and the deployments that they run on.
    batch
        Batches to consider.
    context
        Tokens in the KV cache of each sequence.
    tpot_limit_s
        Highest allowed mean seconds per output token of a sequence; ``None`` means no limit.
    prices
        Price per GPU-hour by hardware name. Devices without a price rank last by cost.
    rank
        One of `RANKINGS`: throughput per GPU is ranked from high to low, the others from low to high.

    Raises
    ------
    InputError
        When the limit is not positive.
    """
    if tpot_limit_s is not None:
        positive("tpot", tpot_limit_s)
    sizes = np.asarray(sorted(set(batch)), dtype=np.float64)
    found: list[OperatingPoint] = []
    too_large: list[str] = []
    too_slow: list[str] = []
    fastest: float | None = None
    for group in candidates:
        deployment = group.deployment
        price = (prices or {}).get(deployment.calibration.hardware.name)
        for out in predict_each(
            model, group.configs, deployment, batch=sizes, context=context, draft_deployment=group.draft_deployment
        ):
            fits = np.broadcast_to(out.fits_memory, sizes.shape)
            if not fits.any():
                too_large.append(group.label)
                continue
            quickest = float(out.tpot_s[fits].min())
            fastest = quickest if fastest is None else min(fastest, quickest)
            allowed = fits if tpot_limit_s is None else fits & (out.tpot_s <= tpot_limit_s)
            if not allowed.any():
                too_slow.append(group.label)
                continue
            found.append(_best(out, allowed, deployment, price))
    return Search(
        _ranked(found, rank), sum(len(group.configs) for group in candidates), too_large, too_slow, fastest
    )


def _ranked(found: list[OperatingPoint], rank: str) -> list[OperatingPoint]:
    """Sort operating points, best first."""
    if rank == "tokens_per_s_per_gpu":
        return sorted(found, key=lambda item: -item.tokens_per_s_per_gpu)
    if rank == "tpot_s":
        return sorted(found, key=lambda item: item.tpot_s)
    infinite = float("inf")
    return sorted(
        found,
        key=lambda item: infinite if item.cost_per_million_tokens is None else item.cost_per_million_tokens,
    )
