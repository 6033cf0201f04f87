"""Check the best candidates of a plan by simulation, and correct their replicas.

The closed form gives the first number of replicas. A simulation of one replica then decides: as long as a limit
fails, there are more replicas; as long as all hold with one less, there is one less. The load is a share of the
simulated saturation, which the closed form exceeds where the KV pool is full: it has no preemptions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from scylla_sim.planning.capacity import cost_per_million
from scylla_sim.planning.traffic import SATURATION, Served, Traffic
from scylla_sim.planning.traffic_rows import LATENCIES, SIMULATION, TrafficPoint, amplification, at_ends
from scylla_sim.planning.traffic_search import Option
from scylla_sim.serving.configs import policy_of
from scylla_sim.serving.load import Load
from scylla_sim.serving.metrics import counted, summary
from scylla_sim.serving.serve import COOLDOWN, WARMUP, Settings, saturation_rate, work_of
from scylla_sim.serving.simulation import simulate
from scylla_sim.serving.workload import RequestClass, Requests, cached_tokens, gamma_arrivals

SEEDS = 3
"""Runs of each candidate and number of replicas."""
REQUESTS, MIN_REQUESTS = 4000, 800
"""Requests of a run, and the fewest where a small budget cuts prompts into many chunks."""
MAX_CHUNKS = 80_000
"""Chunks of prompts in a run; with more of them a run has fewer requests."""
MAX_STEPS = 20
"""Largest number of trials of a search."""
RESOLUTION = 0.01
"""Share of the replicas that a search leaves open."""
MIN_SHARE = 0.95
"""Least share of the offered rate that a stable run completes."""


def simulated(
    served: Served,
    traffic: Traffic,
    rate_per_s: float,
    *,
    seed: int = 0,
    seeds: int = SEEDS,
    count: int | None = None,
) -> dict[str, float]:
    """Return the metrics of one replica at a rate, as means over some runs.

    The metrics are those of `scylla_sim.serving.metrics.summary`.

    Parameters
    ----------
    seed, seeds
        Seed of the first run, and number of runs.
    count
        Requests of a run; default: `REQUESTS`, or fewer with a small budget.
    """
    count = _requests_of_run(served, traffic) if count is None else count
    policy = policy_of(served.deployment)
    found = []
    for number in range(seed, seed + seeds):
        rng = np.random.default_rng(number)
        requests = _requests(traffic, rng, rate_per_s, count)
        work = work_of(requests, served.configs, [served.configs], rng, seats=served.model.max_num_seqs)
        run = simulate(served.model, requests, work, policy=policy)
        time = counted(run, warmup=WARMUP, cooldown=COOLDOWN)
        found.append(summary(run, time, pool=float(served.model.kv_tokens.value)))
    return {name: float(np.mean([one[name] for one in found])) for name in found[0]}


def _requests_of_run(served: Served, traffic: Traffic) -> int:
    """Return the requests of a run, by the chunks in which the budget cuts their prompts."""
    chunks = max(traffic.load.new_tokens / served.model.max_num_batched_tokens, 1.0)
    return int(min(REQUESTS, max(MAX_CHUNKS / chunks, MIN_REQUESTS)))


def simulated_saturation(served: Served, traffic: Traffic, *, seed: int = 0) -> float:
    """Return the requests per second of one replica that always has more of them waiting."""
    prompt, answer = traffic.lengths
    load = Load([RequestClass("all", prompt, answer, prefix_hit=traffic.load.prefix_hit)], rate=traffic.rate_per_s)
    settings = Settings(seed=seed)
    policy = policy_of(served.deployment)
    return saturation_rate(served.model, load, served.configs, [served.configs], settings, policy)


def _requests(traffic: Traffic, rng: np.random.Generator, rate_per_s: float, count: int) -> Requests:
    """Return the requests of one run."""
    prompt, answer = (lengths.draw(rng, count) for lengths in traffic.lengths)
    return Requests(
        arrival_s=gamma_arrivals(rng, count, rate=rate_per_s, burstiness=traffic.burstiness),
        input_tokens=prompt,
        cached_tokens=cached_tokens(prompt, traffic.load.prefix_hit),
        output_tokens=answer,
        class_index=np.zeros(count, dtype=np.int64),
    )


def holds(found: Mapping[str, float], traffic: Traffic, rate_per_s: float) -> bool:
    """Return whether a run meets all limits and completes what is offered."""
    met = all(found[f"{limit.metric}_s {limit.statistic}"] <= limit.seconds for limit in traffic.limits)
    return met and found["requests_per_s"] >= MIN_SHARE * rate_per_s


def fewest_that(good: Callable[[int], bool], start: int) -> int | None:
    """Return the smallest number that is good, if larger ones are good too; ``None`` if none was found.

    The search starts at an estimate and doubles its steps, then halves the gap, down to `RESOLUTION`. It takes at
    most `MAX_STEPS` trials.

    Examples
    --------
    >>> fewest_that(lambda count: count >= 37, 30), fewest_that(lambda count: count >= 37, 60)
    (37, 37)
    """
    step = max(round(RESOLUTION * start), 1)
    bad, found = (0, start) if good(start) else (start, None)
    for _ in range(MAX_STEPS):
        if found is None:
            bad, found = (bad + step, None) if not good(bad + step) else (bad, bad + step)
        elif found > start or bad > 0:
            if found - bad <= max(round(RESOLUTION * found), 1):
                break
            middle = (found + bad) // 2
            bad, found = (bad, middle) if good(middle) else (middle, found)
            continue
        elif found > 1:
            lower = max(found - step, 1)
            bad, found = (bad, lower) if good(lower) else (lower, found)
        else:
            break
        step *= 2
    return found


def confirm(point: TrafficPoint, option: Option, traffic: Traffic, *, seed: int = 0) -> TrafficPoint | None:
    """Return an operating point with the replicas and latencies of simulated runs; ``None`` if no number suffices.

    Parameters
    ----------
    point
        Operating point of the closed form.
    seed
        Seed of the first run.

    Notes
    -----
    The ends of the replicas move with their value, because their errors are those of the steps.
    """
    runs: dict[int, dict[str, float]] = {}
    full = simulated_saturation(option.served, traffic, seed=seed)
    highest = traffic.max_load * full

    def good(replicas: int) -> bool:
        rate = traffic.rate_per_s / replicas
        if replicas < 1 or rate > highest * (1.0 + 1e-9):
            return False
        if replicas not in runs:
            runs[replicas] = simulated(option.served, traffic, rate, seed=seed)
        return holds(runs[replicas], traffic, rate)

    count = fewest_that(good, point.replicas)
    if count is None:
        return None
    simulated_option = replace(option, served=replace(option.served, saturation_per_s=full))
    return _with_runs(point, simulated_option, traffic, count, runs[count])


def _binds(found: Mapping[str, float], traffic: Traffic, load: float) -> str:
    """Return the limit that a run comes closest to."""
    shares = {SATURATION: load / traffic.max_load}
    shares |= {str(limit): found[f"{limit.metric}_s {limit.statistic}"] / limit.seconds for limit in traffic.limits}
    return max(shares, key=lambda name: shares[name])


def _with_runs(
    point: TrafficPoint, option: Option, traffic: Traffic, count: int, found: Mapping[str, float]
) -> TrafficPoint:
    """Return a point with another number of replicas and the metrics of a run."""
    ratio, rate = count / point.replicas, traffic.rate_per_s / count
    _, (fast, slow) = at_ends(option.served, traffic, rate)
    tokens = traffic.rate_per_s * traffic.load.output_len
    gpus = count * point.tp
    cost = None if option.price is None else float(cost_per_million(option.price, gpus, np.asarray(tokens)))
    fewest, most = (
        float(np.floor(point.replicas_lower * ratio)),
        float(np.ceil(point.replicas_upper * ratio)) if np.isfinite(point.replicas_upper) else np.inf,
    )
    return replace(
        point,
        replicas=count,
        replicas_lower=max(fewest, 1.0),
        replicas_upper=most,
        gpus=gpus,
        gpus_lower=max(fewest, 1.0) * point.tp,
        gpus_upper=most * point.tp,
        rate_per_s=rate,
        saturation_per_s=option.served.saturation_per_s,
        amplification=amplification(option.served, rate),
        tpot_mean_lower_s=fast,
        tpot_mean_upper_s=slow,
        load=rate / option.served.saturation_per_s,
        binds=_binds(found, traffic, rate / option.served.saturation_per_s),
        running=found["running"],
        kv_use=found["kv_use"],
        latency_s={
            f"{metric}_{name}_s": found[f"{metric}_s {name}"] for metric in ("ttft", "tpot") for name in LATENCIES
        },
        tokens_per_s_per_gpu=tokens / gpus,
        tokens_per_s_per_user=1.0 / found["tpot_s mean"],
        cost_per_million_tokens=cost,
        method=SIMULATION,
    )
