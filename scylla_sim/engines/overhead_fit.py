"""Overheads of an engine, fitted to measured decoding loops or to served runs.

The time of a step or cycle is the time of its kernels plus overheads, and it is linear in the overheads.
`fit_engine` is a non-negative least-squares fit of the relative errors of loops. The overheads belong to the
code of the loop and to the machine that ran it. Loops that were not fitted give the error of the fit.

`fitted_to_runs` starts from a preset: its intervals are the knowledge before the runs. A few runs move the
overheads that they contain, and leave the others where they were. Errors of the kernels on this deployment end up
in them too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from scylla_sim.checks import FloatArray, fail, positive
from scylla_sim.prediction.step_time import LAUNCH, Step
from scylla_sim.prediction.steps import Deployment
from scylla_sim.prediction.throughput import Prediction
from scylla_sim.specs.engine import OVERHEADS, Engine
from scylla_sim.specs.engine_support import FITTED
from scylla_sim.stats.quantiles import Z_90

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
    sd_s
        Standard deviation of what is not overhead: kernels and noise. 0 where it is not known.
    """

    device_s: float
    overhead_counts: Mapping[str, float]
    measured_s: float
    sd_s: float = 0.0

    def predicted_s(self, engine: Engine) -> float:
        """Return the seconds with the overheads of an engine."""
        return self.device_s + sum(
            count * float(getattr(engine, name)) for name, count in self.overhead_counts.items()
        )


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


def fitted_to_runs(preset: Engine, observed: Sequence[Observation], *, source: str) -> Engine:
    """Return an engine whose overheads are those of a preset, updated by served runs.

    The overheads minimize the squared differences to the measurements and to the preset, each in standard
    deviations. Their intervals are those of the minimum, widened where the runs scatter more than their errors say.
    Overheads that no run contains, and those that the preset states exactly, stay.

    Parameters
    ----------
    preset
        Engine that gives the values and intervals before the runs.
    observed
        Decoding cycles of the runs, with ``sd_s`` above 0.
    source
        Source of the fitted overheads.

    Raises
    ------
    InputError
        Without a run, and if no run contains an overhead with an interval.

    Examples
    --------
    >>> preset = Engine("x", host_s=1e-3, intervals={"host_s": (0.0, 2e-3)})
    >>> found = fitted_to_runs(preset, [Observation(5e-3, {"host_s": 1.0}, 7e-3, 1e-4)], source="a run")
    >>> round(found.host_s, 4), found.name, found.fitted_runs
    (0.002, 'x-fitted', 1)
    """
    from scipy.optimize import nnls

    positive("sd_s", [one.sd_s for one in observed])
    free = [
        name
        for name, (lower, upper) in preset.intervals.items()
        if lower < upper and any(one.overhead_counts.get(name, 0.0) > 0.0 for one in observed)
    ]
    if not free:
        raise fail("fit_overhead", len(observed), "must be runs that contain an overhead with an interval")
    prior = np.array([getattr(preset, name) for name in free])
    widths = np.array([np.subtract(*preset.intervals[name][::-1]) for name in free]) / (2.0 * Z_90)
    sd = np.array([one.sd_s for one in observed])
    counts = np.array([[one.overhead_counts.get(name, 0.0) for name in free] for one in observed])
    missing = np.array([one.measured_s - one.predicted_s(preset) for one in observed]) + counts @ prior
    # In units of the prior widths, so that microseconds and milliseconds weigh alike.
    design = np.vstack([counts * widths / sd[:, None], np.eye(len(free))])
    target = np.concatenate([missing / sd, prior / widths])
    found = nnls(design, target)[0]
    scatter = np.square((design @ found - target)[: len(observed)]).mean()
    spread = widths * np.sqrt(np.diag(np.linalg.inv(design.T @ design)) * max(1.0, float(scatter)))
    values = found * widths
    ends = {
        name: (max(float(value - Z_90 * one), 0.0), float(value + Z_90 * one))
        for name, value, one in zip(free, values, spread)
    }
    return replace(
        preset,
        **dict(zip(free, values.tolist())),
        name=f"{preset.name.removesuffix(FITTED)}{FITTED}",
        intervals={**preset.intervals, **ends},
        sources={**preset.sources, **dict.fromkeys(free, source)},
        theory=preset.theory - set(free),
        fitted_runs=len(observed),
    )


def errors_left_out(preset: Engine, observed: Sequence[Observation]) -> list[float]:
    """Return the relative error of each run, predicted with overheads that are fitted to the others.

    A single run has no others and is predicted with the preset.
    """
    errors = []
    for i, one in enumerate(observed):
        others = [*observed[:i], *observed[i + 1 :]]
        engine = fitted_to_runs(preset, others, source="") if others else preset
        errors.append(one.predicted_s(engine) / one.measured_s - 1.0)
    return errors
