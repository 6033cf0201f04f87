"""Interval of a throughput or a speed-up, with correlated kernel errors.

Use `with_interval`; `Prediction.speedup_estimate` and `Prediction.tokens_per_s_estimate` call it. Errors of a
kernel model on one weight or cache are correlated between different numbers of query rows. These errors cancel in
the ratio of two steps. `OpKind.correlation_exponent` determines how much of them cancels. A named source of error
is fully correlated between all operations and steps; `scylla_sim.prediction.step_time` says how to add one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

import numpy as np

from scylla_sim.checks import FloatArray
from scylla_sim.kernels.registry import op_kind
from scylla_sim.prediction import between_sources
from scylla_sim.prediction.cycle import EXACT, NO_LOAD, Cycle
from scylla_sim.prediction.step_time import LAUNCH, NAMED, ErrorSource, Step
from scylla_sim.specs.engine import Engine
from scylla_sim.stats.estimate import Estimate, exact, root_sum

_SAME_AT_EVERY_SIZE = (LAUNCH, NAMED)
"""Kinds of error sources with full correlation: an engine has one launch time, and named sources are shared."""

SERVED_LOAD = "served load"
"""Named source of error of the prefills, which are the same with and without speculation."""

_ZERO = np.asarray(0.0)
_NO_ERROR = ErrorSource("", _ZERO, _ZERO)

Squares = tuple[FloatArray, FloatArray]
"""Squared relative deviations of the ratio of two rates, downwards and upwards."""


def _correlation(kind: str, ratio: float) -> float:
    """Return the correlation between errors of one kernel at query rows of this ratio."""
    if ratio == 1.0:
        return 1.0
    exponent = 0.0 if kind in _SAME_AT_EVERY_SIZE else op_kind(kind).correlation_exponent
    return 0.0 if exponent is None else max(ratio, 1.0 / ratio) ** -exponent


def _split(step: Step) -> tuple[dict[str, ErrorSource], dict[str, ErrorSource]]:
    """Return the errors of the kernel fits of a step, and its named sources."""
    kernels = {name: one for name, one in step.errors.items() if one.kind != NAMED}
    return kernels, {name: one for name, one in step.errors.items() if one.kind == NAMED}


def _named(cycle: Cycle) -> dict[str, ErrorSource]:
    """Return the named sources of a cycle, which move verification, draft and prefills together."""
    found = _split(cycle.verify)[1]
    for name, one in _split(cycle.draft)[1].items():
        other = found.get(name, _NO_ERROR)
        found[name] = ErrorSource(NAMED, one.down + other.down, one.up + other.up)
    if cycle.load is not NO_LOAD:
        found[SERVED_LOAD] = ErrorSource(NAMED, cycle.load.down, cycle.load.up)
    return found


def _error_deviations(
    ours: Mapping[str, ErrorSource],
    theirs: Mapping[str, ErrorSource],
    ratio: float,
    seconds: tuple[FloatArray, FloatArray],
) -> Iterator[Squares]:
    """Yield the deviations of each source of error of two steps, whose query rows have this ratio.

    An error has a part that both steps share and a part of each step alone. The shared part moves both rates the
    same way, so it changes the ratio only by the difference of the two losses.
    """
    for source in dict.fromkeys((*ours, *theirs)):
        a, b = ours.get(source, _NO_ERROR), theirs.get(source, _NO_ERROR)
        shared = _correlation(a.kind, ratio) if a.kind == b.kind else 0.0
        our_up, our_down = a.up / seconds[0], a.down / seconds[0]
        if b is _NO_ERROR:
            yield our_up**2, our_down**2
            continue
        their_up, their_down = b.up / seconds[1], b.down / seconds[1]
        if shared == 0.0:
            yield our_up**2 + their_down**2, our_down**2 + their_up**2
            continue
        loss = np.maximum(np.maximum(our_up - their_up, their_down - our_down), 0.0)
        gain = np.maximum(np.maximum(their_up - our_up, our_down - their_down), 0.0)
        yield (
            (1.0 - shared) * (our_up**2 + their_down**2) + shared * loss**2,
            (1.0 - shared) * (our_down**2 + their_up**2) + shared * gain**2,
        )


def _engine_deviations(ours: Cycle, theirs: Cycle, engine: Engine) -> Iterator[Squares]:
    """Yield the deviations of each overhead, moved to either end of its interval in both cycles."""
    for name, (lower, upper) in engine.intervals.items():
        our_count, their_count = (cycle.overhead_counts.get(name, _ZERO) for cycle in (ours, theirs))
        if lower == upper or not (our_count.any() or their_count.any()):
            continue
        our_share, their_share = our_count / ours.seconds, their_count / theirs.seconds
        low, high = (
            (1.0 + change * their_share) / (1.0 + change * our_share)
            for change in (end - getattr(engine, name) for end in (lower, upper))
        )
        yield (
            np.maximum(1.0 / np.minimum(low, high) - 1.0, 0.0) ** 2,
            np.maximum(np.maximum(low, high) - 1.0, 0.0) ** 2,
        )


def _rate_change(cycle: Cycle, tau: FloatArray) -> FloatArray:
    """Return the relative rate of a cycle at other tokens per cycle; prefills per token stay the same."""
    change = tau / cycle.tokens_per_cycle.value
    if cycle.load is NO_LOAD:
        return change
    share = cycle.load.value / cycle.seconds
    return np.asarray(change / (1.0 - share + share * change))


def _acceptance_deviations(ours: Cycle, theirs: Cycle) -> Squares:
    """Return the deviations by errors of the tokens per cycle, which are fully correlated."""
    mine, other = ours.tokens_per_cycle, theirs.tokens_per_cycle
    low, high = (
        _rate_change(ours, our_end) / _rate_change(theirs, their_end)
        for our_end, their_end in ((mine.lower, other.lower), (mine.upper, other.upper))
    )
    return np.maximum(1.0 - np.minimum(low, high), 0.0) ** 2, np.maximum(np.maximum(low, high) - 1.0, 0.0) ** 2


def _wait_deviations(ours: Cycle, theirs: Cycle) -> Squares:
    """Return the deviations by the waits for the slowest sequences, which the same prompts cause in both cycles."""
    if ours.wait is None and theirs.wait is None:
        return _ZERO, _ZERO
    our, their = (exact(1.0) if one is None else one for one in (ours.wait, theirs.wait))
    low, high = (
        (their_end / their.value) / (our_end / our.value)
        for our_end, their_end in ((our.upper, their.upper), (our.lower, their.lower))
    )
    return np.maximum(1.0 / np.minimum(low, high) - 1.0, 0.0) ** 2, np.maximum(
        np.maximum(low, high) - 1.0, 0.0
    ) ** 2


def _between_sources(ours: Cycle, theirs: Cycle, engine: Engine) -> Squares:
    """Return the deviations by what differs between deployments without a term of its own.

    Two cycles that both speculate, or both do not, share it.
    """
    if theirs is EXACT:
        size = between_sources.deviation(engine, between_sources.RATE)
    elif (ours.verify_tokens > 1) != (theirs.verify_tokens > 1):
        size = between_sources.deviation(engine, between_sources.speedup_of(engine))
    else:
        size = 0.0
    return np.asarray(size**2), np.asarray(size**2)


def with_interval(value: FloatArray, ours: Cycle, engine: Engine, theirs: Cycle = EXACT) -> Estimate:
    """Return the rate of a cycle, or its ratio to the rate of another cycle, with its 90 % interval.

    The deviations of tokens per cycle, kernels, engine overheads, named sources, waits and what differs between
    published deployments are independent of each other.

    Parameters
    ----------
    value
        The rate or the ratio.
    ours
        Cycle of the rate.
    engine
        Engine of both cycles.
    theirs
        Cycle of the rate in the denominator; default: none, ``value`` is a rate.
    """
    seconds = (ours.seconds, theirs.seconds)
    pairs = [
        _acceptance_deviations(ours, theirs),
        *_error_deviations(
            _split(ours.verify)[0], _split(theirs.verify)[0], ours.verify_tokens / theirs.verify_tokens, seconds
        ),
        *_error_deviations(
            _split(ours.draft)[0], _split(theirs.draft)[0], ours.draft_width / theirs.draft_width, seconds
        ),
        *_error_deviations(_named(ours), _named(theirs), 1.0, seconds),
        *_engine_deviations(ours, theirs, engine),
        _wait_deviations(ours, theirs),
        _between_sources(ours, theirs, engine),
    ]
    below, above = (root_sum(pair[end] for pair in pairs) for end in (0, 1))
    return Estimate(value, value / (1.0 + below), value * (1.0 + above))


def speedup_interval(value: FloatArray, ours: Cycle, engine: Engine, plain: Cycle) -> Estimate:
    """Return the speed-up of a cycle over plain decoding with its 90 % interval.

    A cycle never takes less time than a plain step, so the upper end is at most that of the tokens per cycle.

    Parameters
    ----------
    value
        The speed-up.
    ours, plain
        Cycles with and without speculation.
    engine
        Engine of both cycles.
    """
    found = with_interval(value, ours, engine, plain)
    return Estimate(value, found.lower, np.minimum(found.upper, np.maximum(value, ours.tokens_per_cycle.upper)))


def seconds_interval(cycle: Cycle, engine: Engine) -> Estimate:
    """Return the seconds of a cycle with their 90 % interval, whatever its tokens are."""
    rate = with_interval(1.0 / cycle.seconds, replace(cycle, tokens_per_cycle=exact(1.0), wait=None), engine)
    return Estimate(1.0 / rate.value, 1.0 / rate.upper, 1.0 / rate.lower)
