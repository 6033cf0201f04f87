"""Latency and throughput of continuous batching as formulas, for arrays of replicas and loads.

A replica runs iterations. Each one decodes ``n`` requests and reads the prompts that arrived in the iteration
before. Requests arrive at random (Poisson), all with the same lengths. The mean number ``m`` of decoding requests
per iteration is the parameter: it gives the rate without a search, and `Curve.at_rate` inverts it.

Symbols: ``D(n)`` seconds of an iteration that decodes, ``K`` iterations of a request, ``P`` seconds that one prompt
adds, ``rate * P`` the prefill share.

Notes
-----
===================  =======================================================================================
Quantity             Formula
===================  =======================================================================================
rate                 ``m / (E[K D(n)] + m P)``; ``n`` is gamma with mean ``m`` and the dispersion of the loop
TPOT, mean           ``E[K D(1 + n')] / (1 - rate P) / (O - 1)``; ``n'`` is what a request finds: mean
                     ``m + dispersion - 1``
TPOT, percentiles    gamma above the least time in an empty replica, with the variance of a stay
TTFT, mean           rest of the running iteration, then one iteration with the own prompt and those that
                     arrived in the same iteration; the prompt alone if the replica is idle
TTFT, small budget   where the budget holds one prompt at a time: M/D/1 with vacations
TTFT, percentiles    gamma above one iteration with the prompt, with the first two moments of the wait
wait for a seat      a share ``u^(sqrt(2 c + 2) - 1)`` of the requests waits ``(1 + v^2) / 2 / (saturation - rate)``
                     on average, exponentially distributed; ``c`` seats by scheduler or KV pool, ``v`` relative
                     deviation of ``K``, ``u = load^w (m / c)^(1 - w)``
saturation           ``n / (K D(n) + n (P + A))``, the largest over ``n`` up to the seats and the KV pool; ``A``:
                     seconds of tokens that are computed again because a full pool took them
===================  =======================================================================================

The wait for a seat is that of M/G/c by H. Sakasegawa (Ann. Inst. Stat. Math. 29, 1977), whose ``u`` is the load.
Where prompts limit the rate, more seats are free than the load says, hence `SEATS_BY_LOAD`.

The dispersion is derived in `scylla_sim.serving.load_loop`. `scylla_sim.serving.replica.doubtful` says where these
formulas do not hold. Beyond it, use `scylla_sim.serving.simulation`.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scylla_sim.checks import FloatArray, in_range
from scylla_sim.serving.load_loop import gamma_quantile, stay_variance, two_nodes
from scylla_sim.serving.loop_state import Lookup, LoopState, Replica, mean_over, solve

_MOMENT_OF_UNIFORM = 1.0 / 12.0
_FULL = 1.0 - 1e-4
"""Highest load for which a wait is stated; beyond saturation the queue grows for ever."""
SEATS_BY_LOAD = 0.75
"""Weight of the load, and not of the seats taken, in the share of requests that wait for a seat.

Source: ``workflow/fit_seat_wait.py``, on simulated runs at 30 to 85 % of saturation, of 12 replicas that have few
seats or a small pool. On either half of them, the mean error of TTFT is lowest between 0.75 and 0.9. It is 6 % in
the mean, in place of 62 to 70 % without the wait.
"""
_LUCK = 3.0
"""Standard deviations of the number of cycles between the mean request and the luckiest one."""


@dataclass(frozen=True)
class Curve:
    """Steady states of replicas along rising load; arrays of shape (..., loads).

    Attributes
    ----------
    rate_per_s
        Requests per second of one replica.
    running
        Requests that decode, mean over time.
    prefill_share
        Share of the time that prompts take.
    feedback, spread
        Feedback of the loop, and variance over mean of the decoding requests per iteration.
    tail_rows
        Decoding requests that are exceeded in 1 % of the iterations.
    tpot_s, tpot_floor_s, tpot_deviation_s
        Mean seconds per output token, those of the luckiest request in an empty replica, and the standard deviation
        over requests.
    wait_s, wait_floor_s, wait_deviation_s
        Seconds to the first token in a busy replica: mean, least value and standard deviation.
    idle
        Share of the requests that find an idle replica.
    queue, queue_s
        Share of the requests that wait for a seat, and their mean wait.
    alone_s
        Seconds to the first token in an idle replica.
    output_tokens_per_s
        Output tokens per second of one replica.
    max_rows
        Requests that run together at most. Where ``running`` exceeds it, the formulas do not hold.
    """

    rate_per_s: FloatArray
    running: FloatArray
    prefill_share: FloatArray
    feedback: FloatArray
    spread: FloatArray
    tail_rows: FloatArray
    tpot_s: FloatArray
    tpot_floor_s: FloatArray
    tpot_deviation_s: FloatArray
    wait_s: FloatArray
    wait_floor_s: FloatArray
    wait_deviation_s: FloatArray
    idle: FloatArray
    queue: FloatArray
    queue_s: FloatArray
    alone_s: FloatArray
    output_tokens_per_s: FloatArray
    max_rows: FloatArray

    @property
    def ttft_s(self) -> FloatArray:
        """Mean seconds to the first token."""
        return (1.0 - self.idle) * self.wait_s + self.idle * self.alone_s + self.queue * self.queue_s

    def one(self, index: int | None) -> Curve:
        """Return the curve of one replica, by its place along the first axis; ``None`` adds such an axis."""
        return Curve(*(getattr(self, item.name)[index] for item in fields(self)))

    def tpot_quantile(self, probability: float) -> FloatArray:
        """Return a quantile of the seconds per output token over requests."""
        above = np.maximum(self.tpot_s - self.tpot_floor_s, 0.0)
        return self.tpot_floor_s + gamma_quantile(above, self.tpot_deviation_s, probability)

    def ttft_quantile(self, probability: float) -> FloatArray:
        """Return a quantile of the seconds to the first token; an idle replica is the fastest."""
        busy = np.maximum(1.0 - self.idle, np.finfo(np.float64).tiny)
        left = np.clip((probability - self.idle) / busy, 0.0, 1.0)
        above = gamma_quantile(self.wait_s - self.wait_floor_s, self.wait_deviation_s, left)
        late = self.queue_s * np.log(np.maximum(self.queue / max(1.0 - probability, 1e-12), 1.0))
        busy_s = np.maximum(self.wait_floor_s + above, self.alone_s)
        return np.asarray(np.where(probability <= self.idle, self.alone_s, busy_s) + late)

    def at_rate(self, rate_per_s: ArrayLike) -> Curve:
        """Return the steady states at some rates, interpolated; a rate beyond the last load gives the last one.

        Parameters
        ----------
        rate_per_s
            Shape (..., rates); the leading axes broadcast with those of the curve.
        """
        wanted = np.asarray(rate_per_s, dtype=np.float64)
        rising = np.maximum.accumulate(self.rate_per_s, axis=-1)
        shape = np.broadcast_shapes(rising.shape[:-1], wanted.shape[:-1]) + wanted.shape[-1:]
        loads = rising.shape[-1]
        every = np.broadcast_to(rising, (*shape[:-1], loads)).reshape(-1, loads)
        asked = np.broadcast_to(wanted, shape).reshape(-1, shape[-1])
        places = np.stack([np.searchsorted(row, at) for row, at in zip(every, asked)])
        upper = (places.clip(1, loads - 1) + loads * np.arange(len(every))[:, None]).reshape(shape)

        def taken(values: FloatArray, index: NDArray[np.intp]) -> FloatArray:
            return np.asarray(np.broadcast_to(values, (*shape[:-1], loads)).reshape(-1)[index])

        low, high = taken(rising, upper - 1), taken(rising, upper)
        gap = np.where(high > low, high - low, 1.0)
        share = np.clip((wanted - low) / gap, 0.0, 1.0)
        return Curve(
            *(
                (1.0 - share) * taken(value, upper - 1) + share * taken(value, upper)
                for value in (getattr(self, item.name) for item in fields(self))
            )
        )


def _wait(replica: Replica, loop: LoopState) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return mean, least value and deviation of the seconds to the first token in a busy replica.

    Given the decoding requests, an iteration is ``D`` plus the prompts of the iteration before. Its first three
    moments follow from those of a Poisson number.
    """
    share, prompt = loop.share, loop.prompt_s
    total = first = second = np.zeros_like(loop.rate)
    for node, weight in zip(loop.nodes, loop.weights):
        at = Lookup.of(replica.rows, np.maximum(node, 1.0))
        decode, own, further = at(replica.cycle_s), at(replica.prompt_s), at(replica.next_prompt_s)
        mean = decode / (1.0 - share)
        variance = prompt * share * mean / (1.0 - share**2)
        third = (prompt**2 * share * mean + 3.0 * prompt * share**2 * variance) / (1.0 - share**3)
        seen = mean + variance / mean  # length-biased: an arrival meets long iterations more often
        squared = (third + 3.0 * mean * variance + mean**3) / mean
        each = loop.rate * further
        least = decode + own
        excess = (0.5 + each) * seen
        excess2 = ((0.5 + each) ** 2 + _MOMENT_OF_UNIFORM) * squared + further * each * seen
        one_by_one = _one_by_one(
            at(_over_rows(replica.prompt_iterations, replica)), loop.rate, mean, decode=decode, own=own
        )
        least, excess, excess2 = (
            np.where(one_by_one[0] > 0.0, other, found)
            for other, found in zip(one_by_one, (least, excess, excess2))
        )
        total = total + weight * mean
        first = first + weight * mean * (least + excess)
        second = second + weight * mean * (least**2 + 2.0 * least * excess + excess2)
    average = first / total
    floor = (
        np.maximum(replica.prompt_iterations[..., :1], 1.0) * replica.cycle_s[..., :1] + replica.prompt_s[..., :1]
    )
    return average, np.minimum(floor, average), np.sqrt(np.maximum(second / total - average**2, 0.0))


def _over_rows(values: FloatArray, replica: Replica) -> FloatArray:
    """Return values of a replica, one or as many as rows, over all rows."""
    return np.broadcast_to(values, np.broadcast_shapes(values.shape, replica.rows.shape))


def _one_by_one(
    iterations: FloatArray, rate: FloatArray, iteration_s: FloatArray, *, decode: FloatArray, own: FloatArray
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the least wait, and the first two moments of what exceeds it, where prompts run one at a time.

    Prompts are a queue with a constant service time and vacations (M/D/1): each holds the token budget for some
    iterations. The least wait is 0 where several prompts share an iteration.
    """
    service = iterations * decode + own
    free = np.maximum(1.0 - rate * service, 1e-6)
    queue = rate * service**2 / (2.0 * free)
    excess = 0.5 * iteration_s + queue
    variance = iteration_s**2 * _MOMENT_OF_UNIFORM + rate * service**3 / (3.0 * free) + queue**2
    return np.where(iterations > 0.0, service, 0.0), excess, variance + excess**2


def share_that_waits(
    load: ArrayLike, taken: ArrayLike, seats: ArrayLike, *, weight: float = SEATS_BY_LOAD
) -> FloatArray:
    """Return the share of requests that wait for a seat.

    Parameters
    ----------
    load, taken
        Rate over that at saturation, and mean share of the seats that are taken, in [0, 1].
    seats
        At least 1. All three broadcast.
    weight
        Weight of ``load``, and not of ``taken``.

    Examples
    --------
    >>> share_that_waits(0.7, 0.7, [1.0, 8.0, 64.0]).round(3).tolist()
    [0.7, 0.315, 0.024]
    """
    used = np.asarray(load) ** weight * np.asarray(taken) ** (1.0 - weight)
    return np.asarray(used ** (np.sqrt(2.0 * (np.asarray(seats) + 1.0)) - 1.0))


def _queue(
    replica: Replica, m: FloatArray, rate: FloatArray, full_per_s: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Return the share of requests that wait for a seat, and their mean wait."""
    full, seats = full_per_s[..., None], replica.max_rows[..., None]
    load, taken = (np.minimum(one, _FULL) for one in (rate / full, m / seats))
    waits = 0.5 * (1.0 + replica.cycles_cv[..., None] ** 2) / (full * (1.0 - load))
    return share_that_waits(load, taken, seats), np.broadcast_to(waits, rate.shape)


def curve(replica: Replica, mean_rows: ArrayLike, *, full_per_s: FloatArray | None = None) -> Curve:
    """Return the steady states of replicas at several mean numbers of decoding requests.

    Parameters
    ----------
    replica
        Seconds of the iterations.
    mean_rows
        Mean decoding requests per iteration, rising, at least 0, shape (..., loads). 0 is an unloaded replica.
    full_per_s
        Rate at saturation, shape (...); default: `saturation` of the replica.

    Examples
    --------
    >>> rows, flat, none = np.arange(1.0, 257.0), np.full(256, 0.03), np.array(0.0)
    >>> cycles = np.full(256, 199.0)
    >>> lengths = {"output_len": np.array(200.0), "max_rows": np.array(256.0), "cycles_cv": none}
    >>> one = Replica(rows, 0.005 + 5e-5 * rows, cycles, flat, flat, np.array(0.03), **lengths)
    >>> found = curve(one, [0.0, 16.0])
    >>> found.rate_per_s.round(1).tolist(), (1e3 * found.tpot_s).round(2).tolist(), found.ttft_s.round(3).tolist()
    ([0.0, 9.8], [5.05, 8.45], [0.03, 0.05])
    """
    m = in_range("mean_rows", np.atleast_1d(mean_rows), 0)
    loop = solve(replica, m)
    tokens = replica.output_len[..., None] - 1.0
    others, weights = two_nodes(np.maximum(m + loop.spread - 1.0, 0.0), loop.spread)
    work = mean_over(replica.work_s, replica.rows, (1.0 + others[0], 1.0 + others[1]), weights)
    stay = work / (1.0 - loop.share)
    # the own prompt makes one iteration longer, so more prompts follow in the first iteration of decoding
    stay = stay + loop.share * loop.prompt_s / ((1.0 - loop.share) * (1.0 - loop.share**2))
    per_rate = np.divide(loop.stay_s, loop.rate, out=np.zeros_like(loop.rate), where=loop.rate > 0.0)
    variance = per_rate * stay_variance(loop.share, loop.feedback)
    relative = np.sqrt(variance / loop.stay_s**2 + replica.cycles_cv[..., None] ** 2)
    wait, floor, deviation = _wait(replica, loop)
    luckiest = np.maximum(1.0 - _LUCK * replica.cycles_cv[..., None], 0.0)
    unloaded = luckiest * replica.work_s[..., :1] / tokens
    extra = np.maximum(loop.spread - 1.0, 1e-6)
    empty = np.exp(-m * np.log1p(extra) / extra)
    shape = loop.rate.shape
    queue, queue_s = _queue(replica, m, loop.rate, saturation(replica) if full_per_s is None else full_per_s)
    return Curve(
        rate_per_s=loop.rate,
        running=loop.rate * stay,
        prefill_share=loop.share,
        feedback=loop.feedback,
        spread=loop.spread,
        tail_rows=gamma_quantile(np.broadcast_to(m, shape), np.sqrt(m * loop.spread), 0.99),
        tpot_s=stay / tokens,
        tpot_floor_s=np.broadcast_to(unloaded, shape),
        tpot_deviation_s=relative * stay / tokens,
        wait_s=wait,
        wait_floor_s=np.broadcast_to(floor, shape),
        wait_deviation_s=deviation,
        idle=empty * (1.0 - loop.share),
        queue=queue,
        queue_s=queue_s,
        alone_s=np.broadcast_to(replica.alone_s[..., None], shape),
        output_tokens_per_s=loop.rate * (tokens + 1.0),
        max_rows=np.broadcast_to(replica.max_rows[..., None], shape),
    )


def saturation(replica: Replica) -> FloatArray:
    """Return the highest rate that a replica can serve, shape (...); at any higher rate its queue grows for ever.

    It is the largest of ``n / (K D(n) + n (P + A))`` over the rows up to ``max_rows``, with ``A`` for ``again_s``.
    """
    n = np.minimum(replica.rows, replica.max_rows[..., None])
    at = Lookup.of(replica.rows, n)
    work, iteration = at(replica.work_s), at(replica.cycle_s)
    first, further = at(replica.prompt_s), at(replica.next_prompt_s)
    together = n * iteration / np.maximum(work, 1e-300)
    prompt = further - (further - first) * -np.expm1(-together) / together
    prompt = prompt + at(_over_rows(replica.again_s, replica))
    return np.asarray((n / (work + n * prompt)).max(axis=-1))
