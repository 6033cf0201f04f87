"""State of a replica under load: its rate, the share of prompts, and how much its batch fluctuates.

`scylla_sim.serving.closed_form` derives latencies from it, and states all formulas.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from scylla_sim.checks import FloatArray, in_range
from scylla_sim.serving.load_loop import dispersion, two_nodes

ROUNDS = 4
"""Passes over the dispersion, which the rate needs and which needs the rate; the fifth changes below 0.1 %."""


@dataclass(frozen=True)
class Replica:
    """Seconds of one replica's iterations, by the number of requests that decode in them.

    Arrays end in an axis of ``rows`` where stated; all other axes are of replicas or loads, and broadcast.

    Attributes
    ----------
    rows
        Decoding requests, rising, shape (rows,).
    cycle_s
        Seconds of an iteration without prompts, shape (..., rows).
    cycles
        Mean iterations of a request after its first token, shape (..., rows).
    prompt_s, next_prompt_s
        Seconds that the first and each further prompt of an iteration add, shape (..., rows).
    alone_s
        Seconds to the first token in an idle replica, shape (...).
    output_len
        Tokens of each answer, at least 2, shape (...).
    max_rows
        Requests that run together at most, by seats or by the KV pool, shape (...).
    cycles_cv
        Standard deviation of the iterations of a request over their mean, shape (...).
    prompt_iterations
        Iterations of a prompt where the token budget holds one prompt at a time, at least 1; 0 where it holds
        several. Shape (..., rows).
    again_s
        Seconds of tokens that a request computes again at saturation, because it gave its place in a full KV pool
        up, shape (..., rows).
    """

    rows: FloatArray
    cycle_s: FloatArray
    cycles: FloatArray
    prompt_s: FloatArray
    next_prompt_s: FloatArray
    alone_s: FloatArray
    output_len: FloatArray
    max_rows: FloatArray
    cycles_cv: FloatArray
    prompt_iterations: FloatArray = field(default_factory=lambda: np.zeros(1))
    again_s: FloatArray = field(default_factory=lambda: np.zeros(1))

    def __post_init__(self) -> None:
        """Check the fields."""
        in_range("output_len", self.output_len, 2, hint="one token has no time per output token")
        in_range("max_rows", self.max_rows, 1)
        in_range("again_s", self.again_s, 0)

    @property
    def work_s(self) -> FloatArray:
        """Seconds of all iterations of a request, if ``rows`` requests decode in each, shape (..., rows)."""
        return self.cycles * self.cycle_s


@dataclass(frozen=True)
class Lookup:
    """Places of some requests ``n`` between the rows of a replica; beyond the ends, lines are prolonged."""

    upper: NDArray[np.intp]
    share: FloatArray

    @classmethod
    def of(cls, rows: FloatArray, n: FloatArray) -> Lookup:
        """Return the places of ``n``, shape (..., loads), between rising ``rows``; one row is that of any ``n``."""
        if rows.size == 1:
            return cls(np.zeros(np.shape(n), dtype=np.intp), np.zeros(np.shape(n)))
        upper = np.searchsorted(rows, n).clip(1, rows.size - 1)
        return cls(upper, (n - rows[upper - 1]) / (rows[upper] - rows[upper - 1]))

    def __call__(self, table: FloatArray) -> FloatArray:
        """Return the values of a table over the rows, shape (..., rows), at these places."""
        if self.upper.ndim == 1:
            low, high = table[..., self.upper - 1], table[..., self.upper]
        else:
            whole = np.broadcast_to(table, (*self.upper.shape[:-1], table.shape[-1]))
            low, high = (np.take_along_axis(whole, at, axis=-1) for at in (self.upper - 1, self.upper))
        return np.asarray(low + self.share * (high - low))


def joined(replicas: Sequence[Replica]) -> Replica:
    """Return several replicas, each of which has configurations along a first axis, as one, for their curves.

    Rows are those of all of them. Tables are lines between rows, so further rows change nothing but the rounding.
    Each replica has one number of iterations for all rows. Tokens that are computed again are left out: they belong
    to saturation, which is asked of each replica.
    """
    rows = np.unique(np.concatenate([one.rows for one in replicas]))

    def over_rows(one: Replica, name: str) -> FloatArray:
        table = np.broadcast_to(getattr(one, name), one.cycle_s.shape)
        return Lookup.of(one.rows, rows)(table)

    def of_each(one: Replica, name: str) -> FloatArray:
        return np.broadcast_to(getattr(one, name), one.cycle_s.shape[:-1])

    tables = ("cycle_s", "cycles", "prompt_s", "next_prompt_s", "prompt_iterations")
    values = ("alone_s", "output_len", "max_rows", "cycles_cv")
    found = {name: [over_rows(one, name) for one in replicas] for name in tables}
    found |= {name: [of_each(one, name) for one in replicas] for name in values}
    return Replica(rows=rows, **{name: np.concatenate(parts) for name, parts in found.items()})


Pair = tuple[FloatArray, FloatArray]
"""Two nodes of a distribution, or their weights."""


@dataclass(frozen=True)
class LoopState:
    """State of the loop at every load; arrays of shape (..., loads).

    Attributes
    ----------
    rate
        Requests per second.
    prompt_s
        Mean seconds that a prompt adds.
    share, feedback, spread
        As in `scylla_sim.serving.load_loop`: share of prompts, feedback, and variance over mean of the requests.
    stay_s
        Seconds of all iterations of a request at the mean of the batch.
    nodes, weights
        Two numbers of decoding requests that stand for their distribution.
    """

    rate: FloatArray
    prompt_s: FloatArray
    share: FloatArray
    feedback: FloatArray
    spread: FloatArray
    stay_s: FloatArray
    nodes: Pair
    weights: Pair


def mean_over(table: FloatArray, rows: FloatArray, nodes: Pair, weights: Pair) -> FloatArray:
    """Return the mean of a table over two nodes."""
    first, second = (weight * Lookup.of(rows, node)(table) for node, weight in zip(nodes, weights))
    return first + second


def solve(replica: Replica, m: FloatArray) -> LoopState:
    """Return the state of the loop with ``m`` decoding requests per iteration in the mean, shape (..., loads)."""
    at_mean = Lookup.of(replica.rows, np.maximum(m, 1.0))
    first, further = at_mean(replica.prompt_s), at_mean(replica.next_prompt_s)
    work = replica.work_s
    shape = np.broadcast_shapes(first.shape, (*work.shape[:-1], m.shape[-1]))
    spread, prompt = np.ones(shape), np.broadcast_to(first, shape)
    for _ in range(ROUNDS):
        nodes, weights = two_nodes(np.broadcast_to(m, shape), spread)
        low, high = (Lookup.of(replica.rows, node)(work) for node in nodes)
        mean = weights[0] * low + weights[1] * high
        rate = m / (mean + m * prompt)
        share = rate * prompt
        slope = np.maximum(high - low, 0.0) / np.maximum(nodes[1] - nodes[0], 1e-12)
        feedback = rate * slope / (1.0 - share)
        spread = dispersion(share, feedback)
        iteration = mean_over(replica.cycle_s, replica.rows, nodes, weights) / (1.0 - share)
        together = np.maximum(rate * iteration, 1e-12)
        prompt = further - (further - first) * -np.expm1(-together) / together
    return LoopState(rate, prompt, share, feedback, spread, mean / (1.0 - share), nodes, weights)
