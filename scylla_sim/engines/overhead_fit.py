"""Overheads of an engine, fitted to measured decoding loops.

The time of a step or cycle is the time of its kernels plus overheads, and it is linear in the overheads. The fit is
a non-negative least-squares fit of the relative errors. The overheads belong to the code of the loop and to the
machine that ran it. Loops that were not fitted give the error of the fit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from scylla_sim.checks import FloatArray, fail
from scylla_sim.prediction.step_time import LAUNCH, Step
from scylla_sim.prediction.steps import Deployment
from scylla_sim.prediction.throughput import Prediction
from scylla_sim.specs.engine import OVERHEADS, Engine

MIN_FIT_ROWS = 6
"""Fewest measured times for a fit."""


@dataclass(frozen=True)
class Observation:
    """One measured step or cycle.

    Attributes
    ----------
    device_s
        Predicted seconds of its kernels.
    overhead_counts
        How many times each of `OVERHEADS` occurs; 0 for a name that is missing.
    measured_s
        Measured seconds.
    """

    device_s: float
    overhead_counts: Mapping[str, float]
    measured_s: float


def _counts(deployment: Deployment, overheads: Mapping[str, FloatArray], *steps: Step) -> dict[str, float]:
    """Return how many times each overhead occurs in some steps, launches included."""
    counts = {name: float(count) for name, count in overheads.items()}
    launches = sum(part.count for step in steps for part in step.parts if part.kind != LAUNCH)
    return {**counts, "launch_s": float(launches) if deployment.launches_add else 0.0}


def observations(out: Prediction, *, cycle_s: float, plain_step_s: float) -> list[Observation]:
    """Return the observations of one measured configuration: its autoregressive step and its cycle.

    Parameters
    ----------
    out
        Prediction without overheads.
    cycle_s, plain_step_s
        Measured seconds of a cycle and of an autoregressive step.
    """
    drafted = float(out.draft.seconds) + float(out.verify.seconds)
    plain = _counts(out.deployment, out.plain_cycle.overhead_counts, out.plain)
    return [
        Observation(float(out.plain.seconds), plain, plain_step_s),
        Observation(drafted, _counts(out.deployment, out.cycle.overhead_counts, out.verify, out.draft), cycle_s),
    ]


def fit_engine(name: str, observed: Sequence[Observation]) -> Engine:
    """Return the engine whose non-negative overheads minimize the relative errors of the predicted times.

    Parameters
    ----------
    name
        Name of the engine.
    observed
        Measured times.

    Raises
    ------
    InputError
        For fewer than `MIN_FIT_ROWS` times.

    Examples
    --------
    >>> batches = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0)
    >>> observed = [Observation(1e-3, {"host_s": 1.0, "token_s": b}, 2e-3 + b * 1e-5) for b in batches]
    >>> engine = fit_engine("mine", observed)
    >>> round(engine.host_s, 9), round(engine.token_s, 9)
    (0.001, 1e-05)
    """
    from scipy.optimize import nnls

    if len(observed) < MIN_FIT_ROWS:
        raise fail("rows", len(observed), f"must be at least {MIN_FIT_ROWS} to fit the overheads of a loop")
    measured = np.array([one.measured_s for one in observed])
    counts: FloatArray = (
        np.array([[one.overhead_counts.get(name, 0.0) for name in OVERHEADS] for one in observed])
        / measured[:, None]
    )
    missing = 1.0 - np.array([one.device_s for one in observed]) / measured
    scale = np.maximum(np.abs(counts).max(axis=0), 1e-300)
    values = nnls(counts / scale, missing)[0] / scale
    found = dict(zip(OVERHEADS, values.tolist()))
    return Engine(name, eager=found["launch_s"] > 0.0, **found)
