"""The load of a closed loop: a number of requests in flight, their lengths, and how the scheduler takes them in."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import ArrayLike, NDArray

from scylla_sim.checks import FloatArray, fail, in_range

NO_LIMIT = 1e12
"""Number of tokens or requests that no run reaches."""


@dataclass(frozen=True)
class ClosedLoad:
    """A closed loop of requests, one element a loop; `closed_load` makes one from numbers.

    Attributes
    ----------
    concurrency
        Requests in flight.
    input_len, output_len
        Mean tokens of a prompt and of an answer.
    start_share
        Share of all requests that start together at the beginning, in [0, 1]; 0 is a long run.
    poll_iterations
        Iterations between which the scheduler takes in new requests.
    hold_iterations
        Iterations for which the scheduler holds prompts back to collect more of them.
    hold_tokens
        Prompt tokens that end the holding early.
    max_num_seqs
        Requests that the scheduler runs together, beside the limit of the model of iterations.
    cached_len
        Tokens of each prompt that the prefix cache holds, less than ``input_len``.
    prefill_first
        Whether prompts run in iterations of their own, while decoding waits.
    """

    concurrency: FloatArray
    input_len: FloatArray
    output_len: FloatArray
    start_share: FloatArray
    poll_iterations: FloatArray
    hold_iterations: FloatArray
    hold_tokens: FloatArray
    max_num_seqs: FloatArray
    cached_len: FloatArray
    prefill_first: NDArray[np.bool_]

    def __post_init__(self) -> None:
        """Check the fields."""
        for name in ("concurrency", "input_len", "poll_iterations", "max_num_seqs"):
            in_range(name, getattr(self, name), 1)
        in_range("output_len", self.output_len, 2, hint="one token has no time per output token")
        in_range("hold_iterations", self.hold_iterations, 0)
        in_range("start_share", self.start_share, 0, 1)
        in_range("cached_len", self.cached_len, 0)
        if np.any(self.cached_len >= self.input_len):
            raise fail("cached_len", float(np.max(self.cached_len)), "must be less than input_len in every loop")

    @property
    def new_len(self) -> FloatArray:
        """Tokens of a prompt that the engine reads."""
        return self.input_len - self.cached_len

    @property
    def context(self) -> FloatArray:
        """Mean context of decoding: the prompt and half of the answer."""
        return self.input_len + 0.5 * self.output_len

    def at(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> ClosedLoad:
        """Return some of the closed loops."""
        return ClosedLoad(*(getattr(self, item.name)[rows] for item in fields(self)))


def closed_load(
    concurrency: ArrayLike,
    input_len: ArrayLike,
    output_len: ArrayLike,
    *,
    start_share: ArrayLike = 0.0,
    poll_iterations: ArrayLike = 1.0,
    hold_iterations: ArrayLike = 0.0,
    hold_tokens: ArrayLike = NO_LIMIT,
    max_num_seqs: ArrayLike = NO_LIMIT,
    cached_len: ArrayLike = 0.0,
    prefill_first: ArrayLike = False,
) -> ClosedLoad:
    """Return closed loops from numbers or arrays that broadcast; see `ClosedLoad`.

    Examples
    --------
    >>> closed_load([1, 8], 1000, 200).output_len.tolist()
    [200.0, 200.0]
    """
    given = (concurrency, input_len, output_len, start_share, poll_iterations, hold_iterations, hold_tokens)
    numbers = [np.asarray(value, dtype=np.float64) for value in (*given, max_num_seqs, cached_len)]
    return ClosedLoad(*np.broadcast_arrays(*numbers, np.asarray(prefill_first, dtype=bool)))
