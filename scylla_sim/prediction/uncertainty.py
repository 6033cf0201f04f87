"""How errors reach a rate: of one way of decoding, or of two ways that run the same kernels and err together.

Kernels of a step are priced by fitted forms, and what a form gets wrong about one weight or cache it gets wrong in
part with more rows too. The ratio of two steps is therefore surer than their errors, taken as independent, would
make it; how much surer was measured (`SHARED_EXPONENT`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from scylla_sim.checks import FloatArray
from scylla_sim.prediction.steps import EMPTY, LAUNCH, POWER, ErrorSource, Step
from scylla_sim.specs.engine import Engine

SHARED_EXPONENT = {"gemm": 1.0, "decode_attention": 0.5, LAUNCH: 0.0, POWER: 0.0}
"""Errors of one kernel at two numbers of query rows, r times apart, correlate as r to minus this power.

Chosen on the training rows of five GPUs (aiconfigurator-core). Of a GEMM at m and r m rows of one weight, up to 512
rows, the correlation is 0.3-0.7 at r = 2 and 0.1-0.6 at 4, most while weights stream and least once tiles fill. Of
attention, r times as many query heads on the same cache stand for r query tokens (kernels pack both into one tile):
0.5-0.96 at 2, 0-0.95 at 4. With these powers some nine of ten measured ratios lie in their interval. Kernels not
named here were not measured at two sizes on one weight or cache, and are taken as independent. Waiting for launches
errs by one constant of the engine, and the power limit by one of the GPU, at every size alike."""


@dataclass(frozen=True)
class Cycle:
    """One way of decoding: what a cycle yields, the steps and overheads it pays, its seconds.

    Attributes
    ----------
    tau, tau_lower, tau_upper
        Tokens a sequence gets from one cycle; 1 for plain decoding.
    scored, tokens
        The target's step, and the tokens of each sequence that it scores.
    drafted, width
        The draft's passes, and the candidates of each sequence in one of them.
    terms
        How often a cycle pays each overhead of the engine.
    seconds
        Of the whole cycle.
    """

    tau: float
    tau_lower: float
    tau_upper: float
    scored: Step
    tokens: int
    drafted: Step
    width: int
    terms: Mapping[str, FloatArray]
    seconds: FloatArray


NOTHING = np.asarray(0.0)
EXACT = Cycle(1.0, 1.0, 1.0, EMPTY, 1, EMPTY, 1, {}, np.asarray(1.0))
"""A pace that is known exactly: the ratio to it is a rate by itself."""
_NO_ERROR = ErrorSource("", NOTHING, NOTHING)

Squares = tuple[FloatArray, FloatArray]
"""Squared relative deviations of the ratio of our rate to theirs, down and up."""


def _correlation(kind: str, ratio: float) -> float:
    """Of the errors of one kernel at two sizes."""
    if ratio == 1.0:
        return 1.0
    exponent = SHARED_EXPONENT.get(kind)
    return 0.0 if exponent is None else max(ratio, 1.0 / ratio) ** -exponent


def _of_steps(mine: Step, others: Step, ratio: float, seconds: tuple[FloatArray, FloatArray]) -> Iterator[Squares]:
    """Of each source of error of two steps, whose query rows have this ratio.

    An error has a part that both steps share, and a part of each one's own. The shared part moves both the same
    way: it lowers our rate by what we lose more, or gain less, than they do.
    """
    for source in dict.fromkeys((*mine.errors, *others.errors)):
        a, b = mine.errors.get(source, _NO_ERROR), others.errors.get(source, _NO_ERROR)
        shared = _correlation(a.kind, ratio) if a.kind == b.kind else 0.0
        our_up, our_down = a.up / seconds[0], a.down / seconds[0]
        their_up, their_down = b.up / seconds[1], b.down / seconds[1]
        loss = np.maximum(np.maximum(our_up - their_up, their_down - our_down), 0.0)
        gain = np.maximum(np.maximum(their_up - our_up, our_down - their_down), 0.0)
        yield (
            (1.0 - shared) * (our_up**2 + their_down**2) + shared * loss**2,
            (1.0 - shared) * (our_down**2 + their_up**2) + shared * gain**2,
        )


def _of_engine(ours: Cycle, theirs: Cycle, engine: Engine) -> Iterator[Squares]:
    """Of each overhead of the engine, taken to either end of its interval: both ways pay the same one."""
    for name, ends in engine.intervals.items():
        if ends[0] == ends[1]:
            continue
        low, high = (
            (1.0 + change * theirs.terms.get(name, NOTHING) / theirs.seconds)
            / (1.0 + change * ours.terms.get(name, NOTHING) / ours.seconds)
            for change in (end - getattr(engine, name) for end in ends)
        )
        yield (
            np.maximum(1.0 / np.minimum(low, high) - 1.0, 0.0) ** 2,
            np.maximum(np.maximum(low, high) - 1.0, 0.0) ** 2,
        )


def _of_tau(ours: Cycle, theirs: Cycle) -> Squares:
    """Of tokens per cycle: drafts of one profile are accepted better, or worse, together."""
    low, high = (
        ours_end / ours.tau * theirs.tau / theirs_end
        for ours_end, theirs_end in ((ours.tau_lower, theirs.tau_lower), (ours.tau_upper, theirs.tau_upper))
    )
    return (
        np.asarray(max(1.0 - min(low, high), 0.0) ** 2),
        np.asarray(max(max(low, high) - 1.0, 0.0) ** 2),
    )


def interval(
    value: FloatArray, ours: Cycle, engine: Engine, theirs: Cycle = EXACT
) -> tuple[FloatArray, FloatArray]:
    """90 % interval of our rate, or of its ratio to theirs, whose estimate is ``value``.

    Deviations of different sources are added in quadrature: tokens per cycle, kernels, overheads of the engine.
    """
    seconds = (ours.seconds, theirs.seconds)
    pairs = [
        _of_tau(ours, theirs),
        *_of_steps(ours.scored, theirs.scored, ours.tokens / theirs.tokens, seconds),
        *_of_steps(ours.drafted, theirs.drafted, ours.width / theirs.width, seconds),
        *_of_engine(ours, theirs, engine),
    ]
    below, above = (sum((pair[end] for pair in pairs), NOTHING) for end in (0, 1))
    return value / (1.0 + np.sqrt(below)), value * (1.0 + np.sqrt(above))
