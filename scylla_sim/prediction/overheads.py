"""Host work that an engine adds to a step or a cycle.

An engine has an overhead in seconds for each of `scylla_sim.specs.engine.OVERHEADS`. Each overhead occurs a number
of times in a cycle. ``overhead_counts`` maps the name of an overhead to that number; `overhead_seconds` multiplies
both.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from scylla_sim.checks import FloatArray, in_range
from scylla_sim.prediction import between_sources
from scylla_sim.prediction.step_time import Step
from scylla_sim.specs.draft import Draft
from scylla_sim.specs.engine import Engine
from scylla_sim.stats.estimate import Estimate, with_deviations

_ONCE = np.asarray(1.0)


def step_overhead_counts(tp: int = 1, *, verified: ArrayLike = 0.0) -> dict[str, FloatArray]:
    """Return the number of times that each overhead occurs in one step of the target.

    Parameters
    ----------
    tp
        TP ranks of the target.
    verified
        All tokens that the step verifies; 0 in autoregressive decoding, which pays nothing per token.

    Examples
    --------
    >>> {name: float(count) for name, count in step_overhead_counts(2, verified=8).items()}
    {'host_s': 1.0, 'token_s': 8.0, 'tp_host_s': 1.0}
    """
    return {
        "host_s": _ONCE,
        "token_s": in_range("verified", verified, 0),
        "tp_host_s": np.asarray(float(tp > 1)),
    }


def cycle_overhead_counts(
    draft: Draft,
    *,
    tokens: ArrayLike,
    draft_len: int,
    top_k: int = 1,
    tp: int = 1,
    draft_tp: int | None = None,
    step_s: ArrayLike = 0.0,
    piecewise: bool = False,
) -> dict[str, FloatArray]:
    """Return the number of times that each overhead occurs in one draft-verify cycle.

    Parameters
    ----------
    tokens
        All tokens that the target verifies: batch times verified tokens per sequence.
    draft_len, top_k
        Drafted tokens of a path, and candidates per depth; above 1 the draft is a tree. A draft length of 0 is a
        loaded draft that drafts nothing.
    tp, draft_tp
        TP ranks of the target, and of the draft; default: those of the target.
    step_s
        Seconds of a step without a draft, of which ``idle_draft`` is a share.
    piecewise
        Whether the attention backend leaves verification in piecewise CUDA graphs and the draft without graphs.
    """
    if draft.kind == "none":
        return step_overhead_counts(tp)
    if draft_len == 0:
        return {**step_overhead_counts(tp), "idle_draft": np.asarray(step_s, dtype=np.float64)}
    counts = step_overhead_counts(tp, verified=tokens)
    if draft.kind == "ngram":
        return {**counts, "ngram_host_s": _ONCE, "tp_ngram_host_s": np.asarray(float(tp > 1))}
    passes = float(1 if draft.single_pass else draft_len)
    block = {"block_host_s": _ONCE} if draft.kind == "block" else {}
    fused = not draft.single_pass and draft.kind == "head" and draft.fused_features > 1
    return {
        **counts,
        "draft_host_s": _ONCE,
        "draft_pass_host_s": np.asarray(passes),
        "fused_pass_host_s": np.asarray(passes * fused),
        "tree_host_s": np.asarray(float(top_k > 1)),
        "tp_draft_host_s": np.asarray(float(tp > 1)),
        "tp_draft_pass_s": np.asarray(passes * ((tp if draft_tp is None else draft_tp) > 1)),
        **({"piecewise_pass_s": np.asarray(passes)} if piecewise else {}),
        **block,
    }


def overhead_seconds(engine: Engine, counts: Mapping[str, FloatArray]) -> FloatArray:
    """Return the total seconds of all overheads, each of which occurs ``counts`` times.

    Examples
    --------
    >>> float(overhead_seconds(Engine("x", host_s=1e-3, token_s=1e-5), step_overhead_counts(verified=100)))
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
