"""Host work that an engine adds to a step or a cycle.

An engine has an overhead in seconds for each of `scylla_sim.specs.engine.OVERHEADS`. Each overhead occurs a number
of times in a cycle. ``overhead_counts`` maps the name of an overhead to that number; `overhead_seconds` multiplies
both.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from scylla_sim.checks import FloatArray, positive
from scylla_sim.prediction import between_sources
from scylla_sim.prediction.step_time import Step
from scylla_sim.specs.draft import Draft
from scylla_sim.specs.engine import Engine
from scylla_sim.stats.estimate import Estimate, with_deviations


def step_overhead_counts(tokens: ArrayLike) -> dict[str, FloatArray]:
    """Return the number of times that each overhead occurs in one step of the target.

    Parameters
    ----------
    tokens
        All tokens of the step: batch times tokens per sequence.

    Examples
    --------
    >>> {name: float(count) for name, count in step_overhead_counts(8).items()}
    {'host_s': 1.0, 'token_s': 8.0}
    """
    return {"host_s": np.asarray(1.0), "token_s": positive("tokens", tokens)}


def cycle_overhead_counts(
    draft: Draft, *, tokens: ArrayLike, draft_len: int, top_k: int = 1
) -> dict[str, FloatArray]:
    """Return the number of times that each overhead occurs in one draft-verify cycle.

    Parameters
    ----------
    tokens
        All tokens that the target verifies: batch times verified tokens per sequence.
    draft_len, top_k
        Drafted tokens of a path, and candidates per depth; above 1 the draft is a tree.
    """
    counts = step_overhead_counts(tokens)
    if draft.kind == "none":
        return counts
    block = {"block_host_s": np.asarray(1.0)} if draft.kind == "block" else {}
    passes = 1 if draft.single_pass else draft_len if draft.kind != "ngram" else 0
    return {
        **counts,
        "draft_host_s": np.asarray(1.0),
        "draft_pass_host_s": np.asarray(float(passes)),
        "tree_host_s": np.asarray(float(top_k > 1)),
        **block,
    }


def overhead_seconds(engine: Engine, counts: Mapping[str, FloatArray]) -> FloatArray:
    """Return the total seconds of all overheads, each of which occurs ``counts`` times.

    Examples
    --------
    >>> float(overhead_seconds(Engine("x", host_s=1e-3, token_s=1e-5), step_overhead_counts(100)))
    0.002
    """
    return sum((getattr(engine, name) * count for name, count in counts.items()), np.asarray(0.0))


def with_overheads(step: Step, engine: Engine, counts: Mapping[str, FloatArray]) -> Estimate:
    """Return the seconds of a step and its overheads, with their 90 % interval.

    The errors of kernels and overheads, and what differs between published deployments, are independent.
    """
    seconds, down, up = step.seconds, [step.time.down], [step.time.up]
    for name, count in counts.items():
        one = engine.overhead(name)
        seconds = seconds + one.value * count
        down.append(one.down * count)
        up.append(one.up * count)
    between = between_sources.deviation(engine, between_sources.RATE)
    down.append(seconds * (1.0 - 1.0 / (1.0 + between)))
    up.append(seconds * between)
    return with_deviations(seconds, down, up)
