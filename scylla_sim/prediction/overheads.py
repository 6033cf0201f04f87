"""Overheads that an engine adds to the kernels of a step or a cycle."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike

from scylla_sim.checks import FloatArray, positive
from scylla_sim.prediction.steps import Step
from scylla_sim.specs.draft import Draft
from scylla_sim.specs.engine import Engine


def step_terms(tokens: ArrayLike) -> dict[str, FloatArray]:
    """How often one step of the target pays each overhead of an engine; ``tokens`` as in `host_terms`."""
    return {"host_s": np.asarray(1.0), "token_s": positive("tokens", tokens)}


def host_terms(draft: Draft, *, tokens: ArrayLike, draft_len: int, top_k: int = 1) -> dict[str, FloatArray]:
    """How often a cycle pays each overhead of an engine: a step, each token scored, draft, draft pass and tree.

    ``tokens`` counts all tokens handed to the target (batch times tokens scored per sequence).
    """
    terms = step_terms(tokens)
    if draft.kind == "none":
        return terms
    passes = 1 if draft.kind == "medusa" else draft_len if draft.kind != "ngram" else 0
    return {
        **terms,
        "draft_host_s": np.asarray(1.0),
        "draft_pass_host_s": np.asarray(float(passes)),
        "tree_host_s": np.asarray(float(top_k > 1)),
    }


def host_seconds(engine: Engine, draft: Draft, *, tokens: ArrayLike, draft_len: int, top_k: int = 1) -> FloatArray:
    """Seconds an engine adds to one cycle; arguments as in `host_terms`."""
    return paid(engine, host_terms(draft, tokens=tokens, draft_len=draft_len, top_k=top_k))


def paid(engine: Engine, terms: Mapping[str, FloatArray]) -> FloatArray:
    """Seconds of overheads that are paid so often."""
    return sum((getattr(engine, name) * often for name, often in terms.items()), np.asarray(0.0))


def with_host(
    step: Step, engine: Engine, terms: Mapping[str, FloatArray]
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Seconds of a step with its engine's overheads, and their 90 % interval, deviations in quadrature."""
    seconds, down, up = step.seconds, (step.seconds - step.lower) ** 2, (step.upper - step.seconds) ** 2
    for name, often in terms.items():
        value = getattr(engine, name)
        lower, upper = engine.intervals.get(name, (value, value))
        seconds = seconds + value * often
        down, up = down + ((value - lower) * often) ** 2, up + ((upper - value) * often) ** 2
    return seconds, seconds - np.sqrt(down), seconds + np.sqrt(up)
