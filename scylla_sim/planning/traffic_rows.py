"""Operating points of a plan with traffic: replicas, latencies, cost and their intervals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from scylla_sim.acceptance.speculative_config import SpeculativeConfig
from scylla_sim.checks import FloatArray
from scylla_sim.ops.memory import MemoryPlan, weight_bytes
from scylla_sim.planning.capacity import cost_per_million
from scylla_sim.planning.traffic import Served, Traffic, highest_rate, replicas_for, steady_states
from scylla_sim.prediction.throughput import Prediction, predict_each
from scylla_sim.prediction.verdict import probability_below, verdict
from scylla_sim.serving.configs import defaults_of
from scylla_sim.serving.replica import doubtful
from scylla_sim.specs.dtypes import precision_name
from scylla_sim.specs.model import Model
from scylla_sim.stats.estimate import Estimate

LATENCIES = ("mean", "p50", "p90", "p95", "p99")
"""Statistics of each latency in a row."""
FORMULA, SIMULATION = "formula", "simulation"
"""Values of ``method``."""
PREFILL_FIRST = "prompts in iterations of their own"
"""Reason for doubt: the closed form waits for decodes that such an engine does not run beside a prompt."""


@dataclass(frozen=True)
class TrafficPoint:
    """One candidate with as many replicas as a load needs.

    Attributes
    ----------
    hardware, tp, precision, kv_precision
        The deployment.
    draft, draft_len, schedule
        Draft and its length; ``schedule`` has the first batch and the length of each range, or is empty.
    tokens_per_cycle
        Mean tokens of a cycle, at the running batch.
    replicas, replicas_lower, replicas_upper
        Replicas, and those with all steps at the fast and at the slow end of their 90 % interval; infinite if no
        number suffices.
    gpus, gpus_lower, gpus_upper
        The same in GPUs.
    rate_per_s, max_rate_per_s, saturation_per_s
        Requests per second of one replica: planned, allowed by the limits, and at saturation.
    load
        Planned rate over saturation.
    amplification
        Relative increase of the time per token if every step is slower by a small share, over that share.
    binds
        The limit that decides the replicas.
    running, running_p99
        Requests that decode in one replica: mean, and exceeded in 1 % of the iterations.
    kv_use
        Mean share of the KV pool in use.
    weights_bytes
        Weights on each GPU.
    latency_s
        Seconds by name, such as ``ttft_p95_s``; means over requests.
    tpot_mean_lower_s, tpot_mean_upper_s
        Mean time per token at the planned rate, at the fast and at the slow end of the steps; the slow one is
        infinite where that rate saturates a replica.
    tokens_per_s_per_gpu, tokens_per_s_per_user
        Output tokens per second of each GPU, and of each running request.
    cost_per_million_tokens
        Price of a million output tokens; ``None`` without a price.
    gain, gain_lower, gain_upper
        Allowed rate over that of plain decoding on the same GPUs, with its 90 % interval.
    gain_method
        How the gain was found, as ``method``.
    p_slower, verdict
        Probability that the gain is below 1, and a word for it.
    method, doubts
        How latencies were found, and why the closed form may not hold.
    bound, evidence, acceptance_evidence
        As in `scylla_sim.planning.capacity.OperatingPoint`, at the running batch.
    """

    hardware: str
    tp: int
    precision: str
    kv_precision: str
    draft: str
    draft_len: int
    schedule: tuple[tuple[int, int], ...]
    tokens_per_cycle: float
    replicas: int
    replicas_lower: float
    replicas_upper: float
    gpus: int
    gpus_lower: float
    gpus_upper: float
    rate_per_s: float
    max_rate_per_s: float
    saturation_per_s: float
    load: float
    amplification: float
    binds: str
    running: float
    running_p99: float
    kv_use: float
    weights_bytes: float
    latency_s: Mapping[str, float]
    tpot_mean_lower_s: float
    tpot_mean_upper_s: float
    tokens_per_s_per_gpu: float
    tokens_per_s_per_user: float
    cost_per_million_tokens: float | None
    gain: float
    gain_lower: float
    gain_upper: float
    gain_method: str
    p_slower: float
    verdict: str
    method: str
    doubts: tuple[str, ...]
    bound: str
    evidence: str
    acceptance_evidence: str


def _config_at(served: Served, batch: float) -> int:
    """Return the first batch of the range of a schedule that holds a batch."""
    return max(start for start in served.configs if start <= max(round(batch), 1))


def _predicted(model: Model, served: Served, *, batch: float, context: int) -> Prediction:
    """Return the prediction of decoding at the running batch."""
    config = served.configs[_config_at(served, batch)]
    (found,) = predict_each(
        model,
        [config],
        served.deployment,
        batch=[max(float(round(batch)), 1.0)],
        context=context,
        draft_deployment=served.draft_deployment,
    )
    return found


def rate_gain(served: Served, plain: Served, speedup: Estimate, traffic: Traffic) -> Estimate:
    """Return the allowed rate over that of plain decoding, with its 90 % interval.

    Errors that speculation shares with plain decoding cancel in the speed-up of decoding. The ends of its interval
    make all cycles slower or faster, and the rate follows through the loop of queue and batch.

    Parameters
    ----------
    speedup
        Speed-up of decoding at the running batch, shape (1,).
    """
    if plain.rate_per_s == 0.0:
        return Estimate.of(np.inf, np.inf, np.inf)
    ends = []
    for end in (speedup.lower, speedup.upper):
        changed = served.model.scaled(float((speedup.value / end)[0]))
        found, full = steady_states(changed, served.deployment, traffic)
        ends.append(highest_rate(found, float(full), traffic)[0] / plain.rate_per_s)
    value = served.rate_per_s / plain.rate_per_s
    return Estimate.of(value, min(ends[0], value), max(ends[1], value))


def amplification(served: Served, rate_per_s: float) -> float:
    """Return the elasticity of the mean time per token to the seconds of every step.

    If all seconds grow by a factor, a replica at some rate behaves like the old one at the rate times the factor.
    """
    step = 0.01
    at = served.curve.at_rate(np.array([1.0 - step, 1.0 + step]) * rate_per_s)
    return 1.0 + float(np.log(at.tpot_s[1] / at.tpot_s[0]) / np.log((1.0 + step) / (1.0 - step)))


def at_ends(served: Served, traffic: Traffic, rate_per_s: float) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return replicas and mean time per token at both ends of the steps, fast and slow."""
    counts, times = [], []
    for end in ("lower", "upper"):
        found, full = steady_states(served.model.at_end(end), served.deployment, traffic)
        best, _ = highest_rate(found, float(full), traffic)
        counts.append(replicas_for(traffic.rate_per_s, best))
        times.append(float(found.at_rate([rate_per_s]).tpot_s[0]) if rate_per_s < full else np.inf)
    return (counts[0], counts[1]), (times[0], times[1])


def latencies(served: Served, rate_per_s: float) -> dict[str, float]:
    """Return all statistics of both latencies in closed form."""
    at = served.curve.at_rate([rate_per_s])
    found = {"ttft_mean_s": at.ttft_s, "tpot_mean_s": at.tpot_s}
    for name in LATENCIES[1:]:
        found[f"ttft_{name}_s"] = at.ttft_quantile(int(name[1:]) / 100.0)
        found[f"tpot_{name}_s"] = at.tpot_quantile(int(name[1:]) / 100.0)
    return {name: float(value[0]) for name, value in sorted(found.items(), reverse=True)}


def doubts_at(served: Served, traffic: Traffic, rate_per_s: float) -> tuple[str, ...]:
    """Return the reasons for which the closed form may not hold at a rate."""
    at = served.curve.at_rate([rate_per_s])
    share: FloatArray = np.array([rate_per_s / served.saturation_per_s])
    found = doubtful(at, served.model, traffic.load, share=share)
    reasons = (*(name for name, where in found.items() if where[0]), *traffic.varies)
    return (*reasons, PREFILL_FIRST) if defaults_of(served.deployment).prefill_first else reasons


def _memory(model: Model, served: Served) -> float:
    """Return the bytes of weights on each GPU."""
    where, draft = served.deployment, served.draft_deployment
    config = max(served.configs.values(), key=lambda one: one.verify_tokens)
    return weight_bytes(
        MemoryPlan(
            model,
            config.draft,
            tp=where.tp,
            dtype=where.dtype,
            draft_dtype=draft.dtype,
            kv_dtype=where.kv_dtype,
            draft_tp=draft.tp,
            op_dtypes=where.op_dtypes,
        )
    )


def _place(served: Served, config: SpeculativeConfig) -> dict[str, Any]:
    """Return the fields that say what runs where."""
    where, lengths = served.deployment, [(start, one.draft_len) for start, one in served.configs.items()]
    return {
        "hardware": where.calibration.hardware.name,
        "tp": where.tp,
        "precision": precision_name(where.dtype),
        "kv_precision": precision_name(where.kv_dtype),
        "draft": config.draft.name,
        "draft_len": config.draft_len,
        "schedule": tuple(lengths) if len(lengths) > 1 else (),
        "tokens_per_cycle": config.tokens_per_cycle,
        "acceptance_evidence": config.acceptance_evidence,
    }


def _size(served: Served, traffic: Traffic, price: float | None) -> dict[str, Any]:
    """Return the fields of replicas, GPUs and cost, and those of the time per token at the ends of the steps."""
    count, tp = served.replicas(traffic), served.deployment.tp
    (fewest, most), (fast, slow) = at_ends(served, traffic, traffic.rate_per_s / count)
    lower, upper, gpus = min(fewest, count), max(most, count), int(count) * tp
    tokens = traffic.rate_per_s * traffic.load.output_len
    return {
        "replicas": int(count),
        "replicas_lower": lower,
        "replicas_upper": upper,
        "gpus": gpus,
        "gpus_lower": lower * tp,
        "gpus_upper": upper * tp,
        "tpot_mean_lower_s": fast,
        "tpot_mean_upper_s": slow,
        "tokens_per_s_per_gpu": tokens / gpus,
        "cost_per_million_tokens": None
        if price is None
        else float(cost_per_million(price, gpus, np.asarray(tokens))),
    }


def _gain(served: Served, plain: Served, out: Prediction, traffic: Traffic) -> dict[str, Any]:
    """Return the fields of the gain of speculation, by formula."""
    speculates = out.config.draft.kind != "none"
    gain = rate_gain(served, plain, out.speedup_estimate, traffic) if speculates else Estimate.of(1.0, 1.0, 1.0)
    p_slower = float(probability_below(1.0, gain)) if np.isfinite(gain.value) else 0.0
    return {
        "gain": float(gain.value),
        "gain_lower": float(gain.lower),
        "gain_upper": float(gain.upper),
        "gain_method": FORMULA,
        "p_slower": p_slower,
        "verdict": verdict(p_slower, speculates=speculates),
    }


def traffic_point(
    model: Model, served: Served, plain: Served, traffic: Traffic, price: float | None = None
) -> TrafficPoint:
    """Return the operating point of a candidate that can meet all limits.

    Parameters
    ----------
    plain
        Plain decoding on the same deployment, for the gain.
    price
        Price of one GPU for one hour.
    """
    rate = traffic.rate_per_s / served.replicas(traffic)
    at = served.curve.at_rate([rate])
    running = float(at.running[0])
    out = _predicted(model, served, batch=running, context=traffic.load.context)
    return TrafficPoint(
        **_place(served, out.config),
        **_size(served, traffic, price),
        **_gain(served, plain, out, traffic),
        rate_per_s=rate,
        max_rate_per_s=served.rate_per_s,
        saturation_per_s=served.saturation_per_s,
        load=rate / served.saturation_per_s,
        amplification=amplification(served, rate),
        binds=served.binds,
        running=running,
        running_p99=float(at.tail_rows[0]),
        kv_use=running * traffic.load.context / float(served.model.kv_tokens.value),
        weights_bytes=_memory(model, served),
        latency_s=latencies(served, rate),
        tokens_per_s_per_user=float(1.0 / at.tpot_s[0]),
        method=FORMULA,
        doubts=doubts_at(served, traffic, rate),
        bound=out.bound()[0],
        evidence=out.evidence[0],
    )
