"""Laws of served loads: the closed form of a replica, and simulated runs of requests."""

from __future__ import annotations

from dataclasses import fields, replace
from itertools import pairwise

import numpy as np

from scylla_sim.serving.closed_form import curve, saturation
from scylla_sim.serving.iteration import IterationModel
from scylla_sim.serving.loop_state import Replica
from scylla_sim.serving.metrics import counted, summary
from scylla_sim.serving.simulation import Run, plain_work, simulate
from scylla_sim.serving.workload import Requests
from scylla_sim.testing.requirement import close, never_below, require

_LOADS = np.concatenate([[0.0], np.geomspace(0.05, 256.0, 60)])
_SHARES = np.linspace(0.0, 0.9, 40)
_TIMES = ("cycle_s", "prompt_s", "next_prompt_s", "alone_s")
_FASTER, _SLOWER = 0.7, 3.0


def _with_times(replica: Replica, factor: float) -> Replica:
    """Return a replica with all its seconds multiplied."""
    return replace(replica, **{name: factor * getattr(replica, name) for name in _TIMES})


def check_replica(replica: Replica) -> None:
    """Check the closed form of a replica: Little's law, ordered percentiles, and the effect of load and speed.

    Raises
    ------
    AssertionError
        The message names the law and a rate.
    """
    name, full = "replica", float(saturation(replica))
    found = curve(replica, _LOADS)
    for item in fields(found):
        require(name, f"{item.name} is finite", np.isfinite(getattr(found, item.name)))
    stay = found.tpot_s * (replica.output_len - 1.0)
    require(name, "requests in flight are the rate times the stay", close(found.running, found.rate_per_s * stay))
    at = found.at_rate(_SHARES * full)
    for label in ("tpot_s", "ttft_s", "running"):
        values = getattr(at, label)
        rising = np.diff(values) >= -1e-4 * values[:-1]
        require(name, f"a higher rate never lowers {label}", rising, rate_per_s=at.rate_per_s[:-1])
    for label, quantile, floor in (
        ("TPOT", at.tpot_quantile, at.tpot_floor_s),
        ("TTFT", at.ttft_quantile, np.minimum(at.alone_s, at.wait_floor_s)),
    ):
        values = [floor, *(quantile(p) for p in (0.5, 0.9, 0.95, 0.99))]
        for low, high in pairwise(values):
            require(name, f"percentiles of {label} rise", never_below(high, low), rate_per_s=at.rate_per_s)
    fast = _with_times(replica, _FASTER)
    require(name, "a faster replica serves more", float(saturation(fast)) > full)
    quick = curve(fast, _LOADS).at_rate(at.rate_per_s)
    for label in ("tpot_s", "ttft_s", "running"):
        shorter = getattr(quick, label) <= getattr(at, label) * (1 + 1e-3)
        require(name, f"a faster replica never raises {label}", shorter, rate_per_s=at.rate_per_s)
    other = curve(_with_times(replica, _SLOWER), _LOADS)
    require(name, "the unit of time does not matter", close(other.tpot_s, _SLOWER * found.tpot_s))


def check_workload(requests: Requests, model: IterationModel, *, policy: str = "mixed") -> Run:
    """Check a simulated run of requests: limits of the scheduler, conservation of tokens, and Little's law.

    Parameters
    ----------
    model
        Seconds of iterations, and the limits of the scheduler.
    policy
        One of `scylla_sim.serving.batching.POLICIES`.

    Returns
    -------
    Run
        The run.

    Raises
    ------
    AssertionError
        The message names the law and a request.
    """
    run = simulate(model, requests, plain_work(requests, model), policy=policy)
    name, request = f"{policy} run of {requests.count} requests", np.arange(requests.count)
    require(name, "every request ends", np.isfinite(run.finish_s), request=request)
    started = (run.requests.arrival_s <= run.admit_s + 1e-12) & (run.admit_s < run.first_s)
    require(name, "a request arrives, starts and then has its first token", started, request=request)
    require(name, "no request ends before its first token", run.first_s <= run.finish_s, request=request)
    require(name, "no more requests run than there are seats", run.running <= model.max_num_seqs)
    pool = float(model.kv_tokens.value)
    require(name, "the KV pool is never overfull", run.max_kv_tokens <= pool + 1e-6, pool=pool)
    tokens, gaps = int((run.requests.output_tokens - 1).sum()), int(run.gap_weight.sum())
    law = "each output token after the first has one gap"
    require(name, law, gaps == tokens if not run.preemptions else gaps >= tokens, tokens=tokens, gaps=gaps)
    lengths = run.ends_s - run.starts_s
    if not run.preemptions:
        residence = float((run.finish_s - run.admit_s).sum())
        law = "requests that run, over time, are the sum of their residences"
        require(name, law, close(float(lengths @ run.running), residence))
    whole = counted(run, warmup=0.0, cooldown=0.0)
    found = summary(run, whole)
    inside = float((run.finish_s - run.requests.arrival_s).sum()) / (whole.end_s - whole.start_s)
    law = "running and waiting requests are all that are in flight"
    require(name, law, close(found["running"] + found["waiting"], inside), in_flight=inside)
    order = np.argsort(run.requests.arrival_s, kind="stable")
    reached = np.maximum.accumulate(run.finish_s[order])
    start = run.requests.arrival_s[order]
    idle = np.maximum(start[1:] - reached[:-1], 0.0).sum() + start[0]
    busy = close(lengths.sum(), run.finish_s.max() - idle)
    require(name, "the replica never idles while requests are there", busy, idle_s=idle)
    return run
