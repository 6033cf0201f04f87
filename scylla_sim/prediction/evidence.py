"""Evidence behind a cycle: the share of its seconds at each level, and the level of its weakest large part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from scylla_sim.checks import FloatArray
from scylla_sim.prediction.cycle import Cycle
from scylla_sim.specs.engine import Engine

WEAKEST_FIRST = ("theory", "transferred", "published", "given", "small-scale", "silicon", "recorded", "live")
"""Levels of evidence of kernels and overheads, from the weakest to the strongest."""

LARGE_SHARE = 0.1
"""Share of a cycle from which on its weakest parts decide the evidence of a row."""

_CODES = 1000.0 ** np.arange(len(WEAKEST_FIRST))
"""Weights with which whole percentages of all levels add to one number."""


def overhead_evidence(engine: Engine, name: str) -> str:
    """Return the level of evidence of an overhead: ``theory`` or ``published``, or ``given`` if it is exact."""
    if name in engine.theory:
        return "theory"
    lower, upper = engine.intervals.get(name, (0.0, 0.0))
    return "published" if lower < upper else "given"


def shares(cycle: Cycle, engine: Engine) -> dict[str, FloatArray]:
    """Return the share of a cycle's seconds at each level of evidence that occurs, the weakest level first.

    Prefills of a served load are left out; their interval has a source of its own.

    Examples
    --------
    >>> from scylla_sim.prediction.step_time import EMPTY
    >>> from scylla_sim.stats.estimate import exact
    >>> engine = Engine("x", host_s=1.0, intervals={"host_s": (0.5, 2.0)})
    >>> one = Cycle(exact(1.0), EMPTY, 1, EMPTY, 1, {"host_s": np.array(1.0)}, np.array(4.0))
    >>> {level: float(share) for level, share in shares(one, engine).items()}
    {'published': 0.25}
    """
    seconds: dict[str, FloatArray] = {}
    for part in (*cycle.draft.parts, *cycle.verify.parts):
        seconds[part.evidence] = seconds.get(part.evidence, np.asarray(0.0)) + part.seconds
    for name, count in cycle.overhead_counts.items():
        cost = getattr(engine, name)
        if cost > 0.0:
            level = overhead_evidence(engine, name)
            seconds[level] = seconds.get(level, np.asarray(0.0)) + cost * count
    return {level: seconds[level] / cycle.decoding.seconds for level in WEAKEST_FIRST if level in seconds}


def weakest(found: Mapping[str, FloatArray], shape: tuple[int, ...]) -> list[str]:
    """Return the evidence of each point of a flattened grid: the level of its weakest large part.

    It is the weakest level at which, together with weaker ones, at least `LARGE_SHARE` of the cycle stands.

    Parameters
    ----------
    found
        Result of `shares`.
    shape
        Shape of the grid.

    Examples
    --------
    >>> weakest({"theory": np.array([0.2, 0.04]), "silicon": np.array([0.8, 0.96])}, (2,))
    ['theory', 'silicon']
    """
    if not found:
        return [WEAKEST_FIRST[0]] * int(np.prod(shape))
    levels = list(found)
    total = np.cumsum([np.broadcast_to(share, shape).reshape(-1) for share in found.values()], axis=0)
    return [levels[at] for at in np.argmax(total >= LARGE_SHARE, axis=0).tolist()]


def words_of_each(found: Mapping[str, FloatArray], shape: tuple[int, ...]) -> list[str]:
    """Return `shares_in_words` of each point of a flattened grid; ``found`` and ``shape`` are as in `weakest`.

    Examples
    --------
    >>> words_of_each({"theory": np.array([0.2, 0.04]), "silicon": np.array([0.8, 0.96])}, (2,))
    ['silicon 80 %, theory 20 %', 'silicon 96 %, theory 4 %']
    """
    if not found:
        return [""] * int(np.prod(shape))
    percents = np.rint([100.0 * np.broadcast_to(share, shape).reshape(-1) for share in found.values()])
    codes = (_CODES[: len(found)] @ percents).tolist()
    distinct = dict(zip(codes, range(len(codes))))
    texts = {
        code: shares_in_words([dict(zip(found, (percents[:, at] / 100.0).tolist()))])
        for code, at in distinct.items()
    }
    return [texts[code] for code in codes]


def percentages(rows: Sequence[Mapping[str, float]]) -> dict[str, str]:
    """Return the percentage of one or several cycles at each level of evidence, the largest first, as a range.

    Examples
    --------
    >>> percentages([{"published": 0.25, "silicon": 0.75}, {"published": 0.1, "silicon": 0.9}])
    {'silicon': '75-90', 'published': '10-25'}
    """
    ranges = {}
    for level in WEAKEST_FIRST:
        values = [round(100.0 * row.get(level, 0.0)) for row in rows]
        if max(values) > 0:
            ranges[level] = (min(values), max(values))
    ordered = sorted(ranges, key=lambda level: -sum(ranges[level]))
    return {
        level: f"{low}-{high}" if low < high else f"{low}" for level in ordered for low, high in (ranges[level],)
    }


def shares_in_words(rows: Sequence[Mapping[str, float]]) -> str:
    """Return `percentages` as text.

    Examples
    --------
    >>> shares_in_words([{"published": 0.25, "silicon": 0.75}, {"published": 0.1, "silicon": 0.9}])
    'silicon 75-90 %, published 10-25 %'
    """
    return ", ".join(f"{level} {percent} %" for level, percent in percentages(rows).items())
