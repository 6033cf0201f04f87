"""Simulation of continuous batching: requests in, times of their first and last tokens out."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from scylla_sim.checks import FloatArray, fail, one_of
from scylla_sim.serving.batching import MIXED, POLICIES, BatchingLoop, Work
from scylla_sim.serving.iteration import IterationModel
from scylla_sim.serving.workload import IntArray, Requests


@dataclass(frozen=True)
class Run:
    """One simulated run.

    Attributes
    ----------
    requests
        Requests; in a closed loop with the arrivals of the run.
    admit_s, first_s, finish_s
        Times at which each request starts, and emits its first and its last token.
    starts_s, ends_s
        Begin and end of the intervals between changes of the batch, shape (intervals,).
    running, kv_tokens
        Requests that run, and tokens in the KV pool (mean), in each interval.
    gap_s, gap_weight
        Seconds between the tokens of a decode in each iteration, with stalls, and its decodes; shape (iterations,).
    gap_end_s
        Ends of the iterations.
    preemptions
        Number of preemptions.
    max_kv_tokens
        Largest number of tokens in the KV pool.
    """

    requests: Requests
    admit_s: FloatArray
    first_s: FloatArray
    finish_s: FloatArray
    starts_s: FloatArray
    ends_s: FloatArray
    running: FloatArray
    kv_tokens: FloatArray
    gap_s: FloatArray
    gap_weight: IntArray
    gap_end_s: FloatArray
    preemptions: int
    max_kv_tokens: float

    @property
    def iterations(self) -> int:
        """Number of iterations."""
        return int(self.gap_s.size)


def plain_work(requests: Requests, model: IterationModel) -> Work:
    """Return the work of requests without speculation: one token per cycle."""
    batches = model.decoding.verify_tokens.size
    return Work(requests.output_tokens[None, :] - 1, np.ones(1), np.zeros(batches, dtype=np.int64))


def simulate(model: IterationModel, requests: Requests, work: Work, *, policy: str = MIXED) -> Run:
    """Run requests through one replica.

    Parameters
    ----------
    model
        Seconds of iterations, and the limits of the scheduler; the KV pool is the value of its range.
    requests, work
        Requests, and the cycles that they need.
    policy
        One of `POLICIES`.

    Raises
    ------
    InputError
        If the largest request does not fit in the KV pool, or a ``mixed`` iteration cannot hold all decodes.

    Examples
    --------
    >>> from scylla_sim.calibration import device_calibration
    >>> from scylla_sim.prediction.steps import Deployment
    >>> from scylla_sim.serving.iteration import iteration_model
    >>> from scylla_sim.serving.workload import closed_loop_arrivals
    >>> from scylla_sim.specs import catalog
    >>> deployment = Deployment(device_calibration.shipped("h100-sxm"), catalog.engine("ideal"))
    >>> model = iteration_model(catalog.model("llama-3.1-8b"), None, deployment, max_context=600, max_num_seqs=8)
    >>> count = np.full(40, 1)
    >>> requests = Requests(closed_loop_arrivals(40, 8), 500 * count, 0 * count, 100 * count, 0 * count)
    >>> run = simulate(model, requests, plain_work(requests, model))
    >>> float(run.running.max()), run.preemptions, bool((run.finish_s > run.first_s).all())
    (8.0, 0, True)
    """
    if one_of("policy", policy, POLICIES) == MIXED:
        _check_budget(model)
    pool = float(model.kv_tokens.value)
    needed = requests.longest + int(model.decoding.verify_tokens.max())
    if needed > pool:
        rule = f"must hold the largest request, {needed} tokens"
        raise fail("kv_tokens", int(pool), rule, "use more GPUs, a smaller precision or shorter requests")
    loop = BatchingLoop(
        requests,
        model.lists,
        work,
        seats=model.max_num_seqs,
        budget=model.max_num_batched_tokens,
        pool=pool,
    )
    loop.run(policy)
    return _run_of(loop, requests)


def _check_budget(model: IterationModel) -> None:
    """Check that the token budget holds the decodes of all seats."""
    widths = model.decoding.verify_tokens
    most = int(np.max(widths * np.arange(widths.size)))
    if most > model.max_num_batched_tokens:
        rule = f"must be at least {most}, the tokens that {model.max_num_seqs} decodes verify"
        raise fail("max_num_batched_tokens", model.max_num_batched_tokens, rule, "or lower max_num_seqs")


def _run_of(loop: BatchingLoop, requests: Requests) -> Run:
    """Return the arrays of a finished loop."""
    starts, ends, running, kv, first, decodes = (np.array(column) for column in zip(*loop.spans))
    times = (np.fromiter(each, np.float64, requests.count) for each in (loop.admit, loop.first, loop.finish))
    admit_s, first_s, finish_s = times
    sizes = np.diff(np.append(first, len(loop.gaps)))
    return Run(
        requests=replace(requests, arrival_s=np.array(loop.arrival)) if loop.closed else requests,
        admit_s=admit_s,
        first_s=first_s,
        finish_s=finish_s,
        starts_s=starts,
        ends_s=ends,
        running=running.astype(np.float64),
        kv_tokens=kv,
        gap_s=np.array(loop.gaps),
        gap_weight=np.repeat(decodes, sizes.astype(np.int64)),
        gap_end_s=np.array(loop.times),
        preemptions=loop.preemptions,
        max_kv_tokens=loop.most_kv,
    )
