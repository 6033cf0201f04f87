"""Requests of a served load: their lengths, arrivals and classes.

A `Workload` describes requests, and `draw` makes `Requests` from it, one array per property. Arrivals are a Poisson
or gamma process, a trace, or a closed loop, in which a fixed number of clients wait for their answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from scylla_sim.checks import FloatArray, InputError, fail, in_range, positive, whole
from scylla_sim.units import parse_count

IntArray = NDArray[np.int64]

MAX_TOKENS = 10_000_000
"""Largest accepted length; it bounds mistakes, not models."""

MIN_BURSTINESS = 0.01
"""Least accepted burstiness; a run of a few thousand requests has no rate below it."""
FORMS = "300, uniform:LOW,HIGH or lognormal:MEAN,CV"
"""Accepted texts of `Lengths`."""


@dataclass(frozen=True)
class Lengths:
    """Distribution of a number of tokens.

    Attributes
    ----------
    kind
        ``constant``, ``uniform`` (both ends included) or ``lognormal``.
    first, second
        The constant (twice), the two ends, or mean and coefficient of variation.
    most
        Length to which longer ones are cut.
    """

    kind: str
    first: float
    second: float
    most: float = field(default=MAX_TOKENS, repr=False)

    @classmethod
    def parse(cls, name: str, text: str | float) -> Lengths:
        """Return the distribution of a text such as ``300``, ``uniform:800,1000`` or ``lognormal:1000,0.8``.

        Raises
        ------
        InputError
            If the text is none of these, or a number is out of range. The message starts with ``name``.

        Examples
        --------
        >>> Lengths.parse("input_len", "lognormal:1K,0.5")
        Lengths(kind='lognormal', first=1000.0, second=0.5)
        """
        kind, colon, rest = str(text).partition(":")
        parts = rest.split(",") if colon else [kind]
        kind = kind.strip() if colon else "constant"
        if kind not in ("constant", "uniform", "lognormal") or len(parts) != (1 if kind == "constant" else 2):
            raise fail(name, text, f"must be {FORMS}")
        try:
            values = [parse_count(part) for part in parts]
        except ValueError as error:
            raise fail(name, text, f"is not understood ({error})", f"give {FORMS}") from None
        if kind == "lognormal":
            in_range(name, values[0], 1, MAX_TOKENS)
            positive(name, values[1], hint="the second number is the coefficient of variation")
            return cls(kind, *values)
        low, high = (int(whole(name, value, 1, MAX_TOKENS)) for value in (values[0], values[-1]))
        if low > high:
            raise fail(name, text, "must have its ends in ascending order")
        return cls(kind, float(low), float(high))

    @property
    def mean(self) -> float:
        """Mean number of tokens; rounding of a lognormal length is left out."""
        return self.first if self.kind == "lognormal" else (self.first + self.second) / 2.0

    def draw(self, rng: np.random.Generator, count: int) -> IntArray:
        """Return ``count`` lengths, at least 1."""
        if self.kind == "constant":
            return np.full(count, int(self.first), dtype=np.int64)
        if self.kind == "uniform":
            return rng.integers(int(self.first), int(self.second), count, endpoint=True)
        spread = np.sqrt(np.log1p(self.second**2))
        drawn = rng.lognormal(np.log(self.first) - spread**2 / 2.0, spread, count)
        return np.clip(np.rint(drawn), 1, self.most).astype(np.int64)

    def describe(self) -> str:
        """Return the distribution in words.

        Examples
        --------
        >>> Lengths.parse("input_len", "uniform:80,100").describe()
        'uniform from 80 to 100'
        """
        if self.kind == "constant":
            return f"{self.first:g}"
        if self.kind == "uniform":
            return f"uniform from {self.first:g} to {self.second:g}"
        return f"lognormal with mean {self.first:g} and coefficient of variation {self.second:g}"


@dataclass(frozen=True)
class RequestClass:
    """Requests of one kind.

    Attributes
    ----------
    name
        Name of the class.
    input_len, output_len
        Tokens of prompts and answers.
    share
        Weight of the class among all requests.
    prefix_hit
        Share of each prompt that is in the KV cache already, in [0, 1].
    """

    name: str
    input_len: Lengths
    output_len: Lengths
    share: float = 1.0
    prefix_hit: float = 0.0

    def __post_init__(self) -> None:
        """Check the fields."""
        positive("share", self.share)
        in_range("prefix_hit", self.prefix_hit, 0, 1)


@dataclass(frozen=True)
class Requests:
    """Requests in the order of their arrivals; arrays of one shape.

    Attributes
    ----------
    arrival_s
        Ascending arrival times from 0; infinite for requests of a closed loop that wait for an earlier answer.
    input_tokens, cached_tokens, output_tokens
        Tokens of the prompt, those of them in the KV cache already, and tokens of the answer.
    class_index
        Index of the class of each request.
    """

    arrival_s: FloatArray
    input_tokens: IntArray
    cached_tokens: IntArray
    output_tokens: IntArray
    class_index: IntArray

    def __post_init__(self) -> None:
        """Check that times ascend and that lengths are possible."""
        whole("input_tokens", self.input_tokens, 1)
        whole("output_tokens", self.output_tokens, 1)
        whole("cached_tokens", self.cached_tokens, 0)
        if self.arrival_s.size == 0:
            raise fail("requests", 0, "must be at least 1")
        if np.any(self.cached_tokens >= self.input_tokens):
            raise fail("cached_tokens", "all of a prompt", "must leave one token to compute")
        if np.any(np.diff(self.arrival_s[np.isfinite(self.arrival_s)]) < 0):
            raise fail("arrival_s", "a trace", "must be in ascending order")

    @property
    def count(self) -> int:
        """Number of requests."""
        return int(self.arrival_s.size)

    def cut_to(self, longest: int) -> Requests:
        """Return the requests with at most ``longest`` tokens each, at least 2; prompts are cut first."""
        answers = np.minimum(self.output_tokens, longest - 1)
        prompts = np.minimum(self.input_tokens, longest - answers)
        cached = np.minimum(self.cached_tokens, prompts - 1)
        return replace(self, input_tokens=prompts, cached_tokens=cached, output_tokens=answers)

    @property
    def longest(self) -> int:
        """Largest number of tokens of a request, prompt and answer."""
        return int(np.max(self.input_tokens + self.output_tokens))

    @property
    def mean_context(self) -> float:
        """Mean tokens that a decoding sequence holds: the prompt and half of the answer, over all its tokens."""
        held = self.input_tokens + 0.5 * self.output_tokens
        return float(np.average(held, weights=self.output_tokens))


def cached_tokens(input_tokens: IntArray, prefix_hit: float) -> IntArray:
    """Return the tokens of prompts in the KV cache; the last token of a prompt is never among them.

    Examples
    --------
    >>> cached_tokens(np.array([1000, 1]), 0.6).tolist(), cached_tokens(np.array([8]), 1.0).tolist()
    ([600, 0], [7])
    """
    new = np.maximum(np.rint(input_tokens * (1.0 - prefix_hit)), 1).astype(np.int64)
    return np.asarray(input_tokens - new)


def gamma_arrivals(rng: np.random.Generator, count: int, *, rate: float, burstiness: float = 1.0) -> FloatArray:
    """Return arrival times whose gaps are gamma distributed; the first request arrives at 0.

    Parameters
    ----------
    rate
        Requests per second.
    burstiness
        Shape of the gamma distribution: 1 is a Poisson process, smaller values are burstier, and infinity gives
        equal gaps. The squared coefficient of variation of the gaps is its inverse.

    Notes
    -----
    Source of the parameter: option ``--burstiness`` of ``vllm bench serve``.
    """
    positive("rate", rate)
    check_burstiness(burstiness)
    gaps = np.full(count, 1.0 / rate)
    if np.isfinite(burstiness):
        gaps = rng.gamma(burstiness, 1.0 / (rate * burstiness), count)
    gaps[0] = 0.0
    return np.cumsum(gaps)


def check_burstiness(burstiness: float) -> None:
    """Raise for a burstiness of no real arrivals: below `MIN_BURSTINESS`, or not a number."""
    if not burstiness >= MIN_BURSTINESS:
        hint = f"at {MIN_BURSTINESS:g} the gaps vary by ten times their mean"
        raise fail("burstiness", burstiness, f"must be at least {MIN_BURSTINESS:g}", hint)


def closed_loop_arrivals(count: int, concurrency: int) -> FloatArray:
    """Return arrivals of a closed loop: the first ``concurrency`` at 0, each other one after an answer."""
    whole("concurrency", concurrency, 1)
    return np.where(np.arange(count) < concurrency, 0.0, np.inf)


def draw_lengths(
    rng: np.random.Generator, classes: Sequence[RequestClass], count: int
) -> tuple[IntArray, IntArray, IntArray, IntArray]:
    """Return input, cached and output tokens and the class of ``count`` requests."""
    if not classes:
        raise InputError("classes must name at least one class")
    weight = np.array([one.share for one in classes], dtype=np.float64)
    which = rng.choice(len(classes), count, p=weight / weight.sum()) if len(classes) > 1 else np.zeros(count)
    index = which.astype(np.int64)
    prompt, cached, answer = (np.empty(count, dtype=np.int64) for _ in range(3))
    for at, one in enumerate(classes):
        members = index == at
        prompt[members] = one.input_len.draw(rng, int(members.sum()))
        answer[members] = one.output_len.draw(rng, int(members.sum()))
        cached[members] = cached_tokens(prompt[members], one.prefix_hit)
    return prompt, cached, answer, index


def draw_cycles(rng: np.random.Generator, tokens: IntArray, distribution: FloatArray) -> IntArray:
    """Return the cycles in which sequences emit so many tokens, with independent cycles.

    Parameters
    ----------
    tokens
        Tokens to emit, at least 0, shape (sequences,).
    distribution
        Probabilities of 1, 2, ... tokens in a cycle, as
        `scylla_sim.acceptance.profiles.cycle_distribution` returns them.

    Examples
    --------
    >>> draw_cycles(np.random.default_rng(0), np.array([0, 5, 6]), np.array([0.0, 1.0])).tolist()
    [0, 3, 3]
    """
    if distribution.size == 1:
        return tokens.copy()
    edges = np.cumsum(distribution)[:-1]
    cycles = np.zeros(tokens.size, dtype=np.int64)
    active, left = np.flatnonzero(tokens > 0), tokens[tokens > 0]
    while active.size:
        cycles[active] += 1
        left = left - 1 - np.searchsorted(edges, rng.random(active.size), side="right")
        going = left > 0
        active, left = active[going], left[going]
    return cycles
